//! The condition of one model at one channel: whether it rests because it failed.

use std::time::Duration;

use crate::canon::FailureKind;
use crate::config::Channel;

use super::breaker::{Admission, CircuitBreaker, Verdict};

/// Its cool-down and its breaker.
#[derive(Debug, Default)]
pub struct Condition {
    breaker: CircuitBreaker,
    cools_until: Duration,
}

/// What the end of an attempt says about the channel.
pub fn verdict(failure: Option<FailureKind>) -> Verdict {
    match failure {
        None | Some(FailureKind::Rejected | FailureKind::ContextTooLong | FailureKind::ContentFiltered) => {
            Verdict::Good
        }
        Some(kind) if kind.blames_channel() => Verdict::Bad,
        Some(_) => Verdict::Unknown,
    }
}

impl Condition {
    /// Until when the model rests, if it does.
    pub fn rests_until(&self, now: Duration) -> Option<Duration> {
        let open_until = match self.breaker.admits(now) {
            Admission::No { until } => Some(until),
            Admission::Yes | Admission::Probe => None,
        };
        let cools_until = (self.cools_until > now).then_some(self.cools_until);
        open_until.max(cools_until)
    }

    /// An attempt begins, also one in spite of a rest. Says whether it is a probe.
    pub fn enter(&mut self, settings: &Channel, now: Duration) -> bool {
        settings.breaker.as_ref().is_some_and(|thresholds| self.breaker.enter(now, thresholds))
    }

    /// An answer has begun, which ends a rest. It may still break, so failures in a row are only
    /// forgotten when it has ended well.
    pub fn begun(&mut self, is_probe: bool, settings: &Channel, now: Duration) {
        self.cools_until = Duration::ZERO;
        if is_probe && let Some(thresholds) = &settings.breaker {
            self.breaker.settled(Verdict::Good, is_probe, now, thresholds);
        }
    }

    /// An attempt has ended.
    pub fn settled(&mut self, verdict: Verdict, is_probe: bool, settings: &Channel, now: Duration) {
        if let Some(thresholds) = &settings.breaker {
            self.breaker.settled(verdict, is_probe, now, thresholds);
        }
        match verdict {
            Verdict::Good => self.cools_until = Duration::ZERO,
            Verdict::Bad => self.cools_until = now.saturating_add(settings.rests.channel),
            Verdict::Unknown => {}
        }
    }

    /// Whether nothing is known against it, so that it need not be remembered.
    pub fn is_clear(&self, now: Duration) -> bool {
        self.breaker.is_clear() && self.cools_until <= now
    }
}

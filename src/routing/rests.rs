//! Which keys or regions of a channel rest, for which model, and until when.

use std::sync::Arc;
use std::time::Duration;

use crate::canon::FailureKind;
use crate::config::Rests as Settings;

use super::plan::{Rest, Why};

/// The rest of a key whose rate is limited when nobody says for how long.
const LIMITED: Duration = Duration::from_secs(3);
/// The rest of a key that was refused.
const REFUSED: Duration = Duration::from_secs(300);
/// The rest of a key whose quota is spent.
const SPENT: Duration = Duration::from_secs(1800);
/// The rest of whoever may be asked again at once. Without it a request could ask again and again.
const AT_ONCE: Duration = Duration::from_millis(250);

/// The rests of one channel.
#[derive(Debug, Default)]
pub struct Rests {
    /// By position of the key or region. Few of them rest at any time.
    slots: Vec<Vec<SlotRest>>,
}

#[derive(Debug)]
struct SlotRest {
    /// `None`: for every model.
    model: Option<Arc<str>>,
    rest: Rest,
}

/// A failure, as far as rests depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// What went wrong.
    pub kind: FailureKind,
    /// The upstream does not know the key at all.
    pub is_unauthorized: bool,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// When a key or region whose rate is limited may be asked again; `None` where nobody says and the
/// settings want no rest.
pub fn limited_for(retry_after: Option<Duration>, settings: &Settings) -> Option<Duration> {
    let configured = settings.limited_key.or(settings.key);
    let time = retry_after.map(not_at_once).max(configured).unwrap_or(LIMITED);
    (!time.is_zero()).then_some(time)
}

/// When to ask again an upstream that says when.
pub fn not_at_once(retry_after: Duration) -> Duration {
    retry_after.max(AT_ONCE)
}

impl Rests {
    /// Why and until when this slot rests for this model, if it does.
    pub fn of(&self, slot: usize, model: &str, now: Duration) -> Option<Rest> {
        let concerned = |rest: &&SlotRest| rest.model.as_deref().is_none_or(|other| other == model);
        let rests = self.slots.get(slot)?.iter().filter(concerned).map(|slot| slot.rest);
        rests.filter(|rest| rest.until > now).max_by_key(|rest| rest.until)
    }

    /// Takes note of a failure of this slot with this model. `is_only` one: resting it would rest
    /// the channel, which other settings are for, unless the upstream demands it.
    pub fn failed(
        &mut self,
        (slot, model): (usize, &Arc<str>),
        cause: Cause,
        settings: &Settings,
        is_only: bool,
        now: Duration,
    ) {
        let for_model = Some(Arc::clone(model));
        let (model, time, why) = match cause.kind {
            // Who sets it to nothing wants no rest, whatever the upstream says.
            FailureKind::RateLimited if settings.limited_key == Some(Duration::ZERO) => return,
            FailureKind::RateLimited => {
                (for_model, limited_for(cause.retry_after, settings).unwrap_or_default(), Why::Limited)
            }
            FailureKind::Overloaded if cause.retry_after.is_some() => {
                (for_model, cause.retry_after.map(not_at_once).unwrap_or_default(), Why::Limited)
            }
            FailureKind::QuotaSpent => (None, settings.spent_key.or(settings.key).unwrap_or(SPENT), Why::Failing),
            FailureKind::KeyRefused => {
                // 403 is often said of a model that the key may not use.
                let model = if cause.is_unauthorized { None } else { for_model };
                (model, settings.key.unwrap_or(REFUSED), Why::Failing)
            }
            kind if kind.blames_channel() && !is_only => (None, settings.key.unwrap_or_default(), Why::Failing),
            _ => return,
        };
        if time.is_zero() {
            return;
        }
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, Vec::new);
        }
        if let Some(rests) = self.slots.get_mut(slot) {
            rests.retain(|slot| slot.rest.until > now && slot.model != model);
            rests.push(SlotRest { model, rest: Rest { until: now.saturating_add(time), why } });
        }
    }

    /// This slot has answered with this model, so neither rests any more.
    pub fn succeeded(&mut self, slot: usize, model: &str) {
        if let Some(rests) = self.slots.get_mut(slot).filter(|rests| !rests.is_empty()) {
            rests.retain(|rest| rest.model.as_deref().is_some_and(|other| other != model));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn cause(kind: FailureKind) -> Cause {
        Cause { kind, is_unauthorized: false, retry_after: None }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Seconds that key 0 of several rests after a failure with "m": for "m", and for another model.
    fn rests_after(cause: Cause, settings: Settings, is_only: bool) -> [u64; 2] {
        let mut rests = Rests::default();
        rests.failed((0, &"m".into()), cause, &settings, is_only, NOW);
        assert_eq!(rests.of(1, "m", NOW), None, "another key");
        ["m", "other"].map(|model| rests.of(0, model, NOW).map_or(0, |rest| (rest.until - NOW).as_secs()))
    }

    #[test]
    fn each_failure_has_its_rest() {
        let default = Settings::default();
        for (kind, expected) in [
            (FailureKind::RateLimited, [3, 0]),
            (FailureKind::QuotaSpent, [1800, 1800]),
            (FailureKind::KeyRefused, [300, 0]),
            (FailureKind::Overloaded, [0, 0]),
            (FailureKind::UpstreamStatus, [0, 0]),
            (FailureKind::Rejected, [0, 0]),
        ] {
            assert_eq!(rests_after(cause(kind), default, false), expected, "{kind:?}");
        }
        let unknown = Cause { is_unauthorized: true, ..cause(FailureKind::KeyRefused) };
        assert_eq!(rests_after(unknown, default, true), [300, 300]);
    }

    #[test]
    fn an_upstream_says_how_long_and_settings_may_ask_for_more() {
        let limited = |after| Cause { retry_after: Some(seconds(after)), ..cause(FailureKind::RateLimited) };
        let settings = |limited| Settings { limited_key: Some(seconds(limited)), ..Settings::default() };
        assert_eq!(rests_after(limited(40), Settings::default(), true), [40, 0]);
        assert_eq!(rests_after(limited(40), settings(10), true), [40, 0]);
        assert_eq!(rests_after(limited(40), settings(60), true), [60, 0]);
        assert_eq!(rests_after(limited(40), settings(7 * 86_400), true), [7 * 86_400, 0]);
        assert_eq!(rests_after(limited(40), settings(0), true), [0, 0], "switched off");
        assert_eq!(rests_after(cause(FailureKind::RateLimited), settings(0), true), [0, 0]);
        let overloaded = Cause { kind: FailureKind::Overloaded, ..limited(7) };
        assert_eq!(rests_after(overloaded, Settings::default(), true), [7, 0]);
    }

    #[test]
    fn a_period_for_keys_counts_where_there_are_several() {
        let settings = Settings { key: Some(seconds(20)), ..Settings::default() };
        assert_eq!(rests_after(cause(FailureKind::UpstreamStatus), settings, false), [20, 20]);
        assert_eq!(rests_after(cause(FailureKind::UpstreamStatus), settings, true), [0, 0]);
        assert_eq!(rests_after(cause(FailureKind::KeyRefused), settings, true), [20, 0]);
        let off = Settings { key: Some(Duration::ZERO), ..Settings::default() };
        assert_eq!(rests_after(cause(FailureKind::KeyRefused), off, false), [0, 0]);
    }

    #[test]
    fn an_answer_ends_a_rest_and_so_does_time() {
        let mut rests = Rests::default();
        rests.failed((2, &"m".into()), cause(FailureKind::RateLimited), &Settings::default(), true, NOW);
        assert!(rests.of(2, "m", NOW + seconds(2)).is_some());
        assert!(rests.of(2, "m", NOW + seconds(3)).is_none());
        rests.failed((2, &"other".into()), cause(FailureKind::RateLimited), &Settings::default(), true, NOW);
        rests.succeeded(2, "m");
        assert!(rests.of(2, "m", NOW).is_none() && rests.of(2, "other", NOW).is_some());
    }
}

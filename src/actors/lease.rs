//! The right to make one attempt at one channel with one key.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::canon::{Failure, FailureKind, Next};
use crate::config::{Channel, TimeLimits};
use crate::metrics::{ProviderSeries, Series};
use crate::routing::{limited_for, not_at_once};
use crate::upstream::Target;

use super::slot::Slot;

/// The pause before what has failed for no lasting reason is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not yet, but its answer has begun.
    Begun,
    /// With a whole answer.
    Succeeded,
    /// With a failure of this kind.
    Failed(FailureKind),
    /// The client went away, or the worker lost interest.
    Cancelled,
}

/// A slot at a channel that gives itself back: [`Lease::settle`] says how the attempt ended, and a
/// lease that is dropped without it counts as cancelled.
pub struct Lease {
    line: Arc<Line>,
    slot: Slot,
    limits: TimeLimits,
    upstream_model: Arc<str>,
    /// Whether a model that kept failing is tried again with it.
    is_probe: bool,
    /// Whether its request has failed at the channel before.
    is_repeated: bool,
    outcome: Outcome,
    is_unauthorized: bool,
    retry_after: Option<Duration>,
}

/// What became of a lease. Sent exactly once with an outcome that is final, at the latest when the
/// lease is dropped.
pub struct Settle {
    /// How the attempt ended.
    pub outcome: Outcome,
    /// The position of its key or region.
    pub slot: usize,
    /// The model's name at the channel.
    pub model: Arc<str>,
    /// The serial of its access token, if it had one.
    pub token: Option<u64>,
    /// Whether a model that kept failing was tried again with it.
    pub is_probe: bool,
    /// Whether the same request had failed at the channel before.
    pub is_repeated: bool,
    /// The upstream does not know the key, or did not accept the token.
    pub is_unauthorized: bool,
    /// When the upstream wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// What all leases of a channel share.
pub struct Line {
    /// The channel.
    pub channel: Arc<Channel>,
    /// What counts for its models.
    pub series: ProviderSeries,
    /// Where leases go back. A queue that its owner looks into before every decision, and not its
    /// mailbox: an outcome matters to the next decision only, and waking a thread for each costs
    /// more than the rest of it. It holds what was settled since the last look, a second ago at most.
    pub settled: UnboundedSender<Settle>,
}

impl Lease {
    /// A lease on one slot, for one model.
    pub(super) fn new(
        line: Arc<Line>,
        slot: Slot,
        limits: TimeLimits,
        upstream_model: Arc<str>,
        is_probe: bool,
        is_repeated: bool,
    ) -> Self {
        Self {
            line,
            slot,
            limits,
            upstream_model,
            is_probe,
            is_repeated,
            outcome: Outcome::Cancelled,
            is_unauthorized: false,
            retry_after: None,
        }
    }

    /// The channel that answers.
    pub fn channel(&self) -> &Channel {
        &self.line.channel
    }

    /// What counts for the model of this alias at the channel.
    pub fn series(&self, alias: &str) -> &Arc<Series> {
        self.line.series.of(alias)
    }

    /// The position of the key in the channel's ring, or of the region among the channel's.
    pub fn key(&self) -> usize {
        self.slot.key
    }

    /// How the key appears in the statistics, if there is one.
    pub fn key_label(&self) -> Option<&Arc<str>> {
        self.slot.label.as_ref()
    }

    /// The region, if there is one.
    pub fn region(&self) -> Option<&Arc<str>> {
        self.slot.region.as_ref()
    }

    /// The model's name at this channel.
    pub fn upstream_model(&self) -> &Arc<str> {
        &self.upstream_model
    }

    /// Where to send the request.
    pub fn target(&self) -> &Target {
        &self.slot.target
    }

    /// The time limits of the attempt.
    pub fn limits(&self) -> &TimeLimits {
        &self.limits
    }

    /// Whether another attempt makes sense after this failure, and where. A region is a key of its
    /// own to whatever limits or lacks it; what the account may not do, it may not do anywhere.
    pub fn next_after(&self, failure: &Failure) -> Next {
        match failure.kind {
            _ if self.slot.token.is_none() => failure.kind.next(),
            FailureKind::KeyRefused if failure.upstream_status == Some(401) => Next::SameKey,
            FailureKind::KeyRefused => Next::OtherChannel,
            FailureKind::UpstreamNotFound
            | FailureKind::RateLimited
            | FailureKind::QuotaSpent
            | FailureKind::Overloaded
            | FailureKind::Connect
            | FailureKind::ConnectionLost => Next::Key,
            kind => kind.next(),
        }
    }

    /// After which time the same key may be tried again by the same request, if at all. A failure
    /// that may well have passed by then counts only `for_once`.
    pub(super) fn again_after(&self, failure: &Failure, for_once: bool) -> Option<Duration> {
        match failure.kind {
            FailureKind::RateLimited => limited_for(failure.retry_after, &self.line.channel.rests),
            FailureKind::Overloaded if failure.retry_after.is_some() => failure.retry_after.map(not_at_once),
            FailureKind::Overloaded
            | FailureKind::ConnectionLost
            | FailureKind::ErrorInAnswer
            | FailureKind::EmptyAnswer
            | FailureKind::CutAnswer => for_once.then_some(PAUSE),
            FailureKind::UpstreamStatus => {
                let is_passing = failure.upstream_status.is_some_and(|status| status >= 500 || status == 408);
                (for_once && is_passing).then_some(PAUSE)
            }
            _ => None,
        }
    }

    /// Says that the answer has begun, which may be long before it ends.
    pub fn begun(&self) {
        self.report(Outcome::Begun);
    }

    /// Gives the slot back and says how the attempt ended.
    pub fn settle(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Gives the slot back after a failure.
    pub fn failed(mut self, failure: &Failure) {
        self.outcome = Outcome::Failed(failure.kind);
        self.is_unauthorized = failure.upstream_status == Some(401);
        self.retry_after = failure.retry_after;
    }

    fn report(&self, outcome: Outcome) {
        // An owner that is gone has no use for the outcome.
        let _ = self.line.settled.send(Settle {
            outcome,
            slot: self.slot.key,
            model: Arc::clone(&self.upstream_model),
            token: self.slot.token,
            is_probe: self.is_probe,
            is_repeated: self.is_repeated,
            is_unauthorized: self.is_unauthorized,
            retry_after: self.retry_after,
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.report(self.outcome);
    }
}

//! The right to make one attempt at one channel with one key.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use crate::canon::{Failure, FailureKind, Next};
use crate::config::Channel;
use crate::upstream::Target;

use super::slot::Slot;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
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
    upstream_model: Arc<str>,
    outcome: Outcome,
    is_unauthorized: bool,
}

/// A lease gives itself back; sent exactly once.
pub struct Settle {
    /// How the attempt ended.
    pub outcome: Outcome,
    /// What it tried, where there was an access token.
    pub tried: Option<Tried>,
}

/// An attempt in one region with one access token.
pub struct Tried {
    /// The region's position.
    pub region: usize,
    /// The model's name there.
    pub model: Arc<str>,
    /// The serial of the token.
    pub token: u64,
    /// The upstream did not accept the token.
    pub is_unauthorized: bool,
}

/// What all leases of a channel share.
pub struct Line {
    /// The channel.
    pub channel: Arc<Channel>,
    /// Where leases go back. A queue that its owner looks into before every decision, and not its
    /// mailbox: an outcome matters to the next decision only, and waking a thread for each costs
    /// more than the rest of it. It holds what was settled since the last look, a second ago at most.
    pub settled: UnboundedSender<Settle>,
}

impl Lease {
    /// A lease on one slot, for one model.
    pub(super) fn new(line: Arc<Line>, slot: Slot, upstream_model: Arc<str>) -> Self {
        Self { line, slot, upstream_model, outcome: Outcome::Cancelled, is_unauthorized: false }
    }

    /// The channel that answers.
    pub fn channel(&self) -> &Channel {
        &self.line.channel
    }

    /// The position of the key in the channel's ring, or of the region among the channel's.
    pub fn key(&self) -> usize {
        self.slot.key
    }

    /// How the key or the region appears in the statistics.
    pub fn key_label(&self) -> Option<Arc<str>> {
        self.slot.label.clone()
    }

    /// The model's name at this channel.
    pub fn upstream_model(&self) -> &str {
        &self.upstream_model
    }

    /// Where to send the request.
    pub fn target(&self) -> &Target {
        &self.slot.target
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

    /// Gives the slot back and says how the attempt ended.
    pub fn settle(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Gives the slot back after a failure.
    pub fn failed(mut self, failure: &Failure) {
        self.outcome = Outcome::Failed(failure.kind);
        self.is_unauthorized = failure.upstream_status == Some(401);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let tried = self.slot.token.map(|token| Tried {
            region: self.slot.key,
            model: Arc::clone(&self.upstream_model),
            token,
            is_unauthorized: self.is_unauthorized,
        });
        // An owner that is gone has no use for the outcome.
        let _ = self.line.settled.send(Settle { outcome: self.outcome, tried });
    }
}

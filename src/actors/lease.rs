//! The right to make one attempt at one channel with one key.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use crate::canon::FailureKind;
use crate::config::Channel;
use crate::upstream::Target;

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
    key: usize,
    key_label: Option<Arc<str>>,
    target: Arc<Target>,
    upstream_model: Arc<str>,
    outcome: Outcome,
}

/// A lease gives itself back; sent exactly once.
pub struct Settle {
    /// How the attempt ended.
    pub outcome: Outcome,
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
    /// A lease on one key, by its position in the channel's ring, for one model.
    pub(super) fn new(
        line: Arc<Line>,
        key: usize,
        key_label: Option<Arc<str>>,
        target: Arc<Target>,
        upstream_model: Arc<str>,
    ) -> Self {
        Self { line, key, key_label, target, upstream_model, outcome: Outcome::Cancelled }
    }

    /// The channel that answers.
    pub fn channel(&self) -> &Channel {
        &self.line.channel
    }

    /// The position of the key in the channel's ring.
    pub fn key(&self) -> usize {
        self.key
    }

    /// How the key appears in the statistics.
    pub fn key_label(&self) -> Option<Arc<str>> {
        self.key_label.clone()
    }

    /// The model's name at this channel.
    pub fn upstream_model(&self) -> &str {
        &self.upstream_model
    }

    /// Where to send the request.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Gives the slot back and says how the attempt ended.
    pub fn settle(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // An owner that is gone has no use for the outcome.
        let _ = self.line.settled.send(Settle { outcome: self.outcome });
    }
}

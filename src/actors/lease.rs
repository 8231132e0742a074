//! The right to make one attempt at one channel with one key.

use std::sync::Arc;
use std::time::Instant;

use actix::Addr;

use crate::canon::FailureKind;
use crate::config::Channel;
use crate::upstream::Target;

use super::messages::Settle;
use super::provider::ProviderActor;

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
    upstream_model: Arc<str>,
    owner: Arc<Addr<ProviderActor>>,
    granted: Instant,
    outcome: Outcome,
}

/// A channel with a target for each of its keys.
pub struct Line {
    /// The channel.
    pub channel: Arc<Channel>,
    /// By position in the key ring.
    pub targets: Vec<KeyTarget>,
}

/// The endpoint for one key.
pub struct KeyTarget {
    /// Where to send a chat request.
    pub chat: Target,
    /// How the key appears in the statistics; `None` for a channel without keys.
    pub key_label: Option<Arc<str>>,
}

impl Lease {
    pub(super) fn new(
        line: Arc<Line>,
        key: usize,
        upstream_model: Arc<str>,
        owner: Arc<Addr<ProviderActor>>,
        now: Instant,
    ) -> Self {
        Self { line, key, upstream_model, owner, granted: now, outcome: Outcome::Cancelled }
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
        self.line.targets.get(self.key)?.key_label.clone()
    }

    /// The model's name at this channel.
    pub fn upstream_model(&self) -> &str {
        &self.upstream_model
    }

    /// Where to send the request.
    pub fn target(&self) -> Option<&Target> {
        self.line.targets.get(self.key).map(|target| &target.chat)
    }

    /// Gives the slot back and says how the attempt ended.
    pub fn settle(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.owner.do_send(Settle { outcome: self.outcome, took: self.granted.elapsed() });
    }
}

//! The live health of every channel, for whoever wants to look.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::config::ChannelId;

use super::lease::Outcome;

/// All channels. Written by the ProviderActors, read by anyone at any time.
pub type HealthBoard = DashMap<ChannelId, Arc<ChannelHealth>, RandomState>;

/// How one channel is doing. Only its ProviderActor writes here.
#[derive(Debug, Default)]
pub struct ChannelHealth {
    granted: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    resting: ArcSwap<Vec<Resting>>,
}

/// A model that is left alone, as its breaker is open or it cools down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resting {
    /// Its name at the upstream.
    pub model: Arc<str>,
    /// Until when, as [`Control::now`](super::Control::now) counts.
    pub until: Duration,
}

impl ChannelHealth {
    pub(super) fn grant(&self) {
        self.granted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn settle(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Begun => return,
            Outcome::Succeeded => &self.succeeded,
            Outcome::Failed(kind) if !kind.is_unsent() => &self.failed,
            Outcome::Failed(_) | Outcome::Cancelled => &self.cancelled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rest(&self, resting: Vec<Resting>) {
        self.resting.store(Arc::new(resting));
    }

    /// The models that rest at this time, those that rest longest first.
    pub fn resting(&self, now: Duration) -> Vec<Resting> {
        let resting = self.resting.load();
        let mut resting: Vec<Resting> = resting.iter().filter(|model| model.until > now).cloned().collect();
        resting.sort_by(|one, other| (other.until, &one.model).cmp(&(one.until, &other.model)));
        resting
    }

    /// Attempts that are under way.
    pub fn in_flight(&self) -> u64 {
        let settled = self.succeeded() + self.failed() + self.cancelled();
        self.granted.load(Ordering::Relaxed).saturating_sub(settled)
    }

    /// Attempts that ended with a whole answer.
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Attempts that failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Attempts that ended because the client went away, or for want of anything to send.
    pub fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }
}

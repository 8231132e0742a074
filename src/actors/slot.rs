//! What a channel grants to a request.

use std::sync::Arc;
use std::time::Duration;

use crate::canon::Failure;
use crate::routing::{Rest, Why};
use crate::upstream::{InvalidTarget, Target};

use super::messages::Ticket;

/// What a lease is for.
pub(super) struct Slot {
    /// The position of the key in the channel's ring, or of the region among the channel's.
    pub key: usize,
    /// How the key appears in the statistics.
    pub label: Option<Arc<str>>,
    /// The region, where there are regions.
    pub region: Option<Arc<str>>,
    /// Where to send the request.
    pub target: Arc<Target>,
    /// The serial of the access token, where there is one.
    pub token: Option<u64>,
}

/// Why there is no slot for a request.
pub(super) enum Without {
    /// All keys or regions of the channel were tried, lack the model, or rest until then.
    Slot(Option<Rest>),
    /// The address of the model cannot be put on the wire.
    Target(InvalidTarget),
    /// There is no access token yet.
    Token,
    /// There is no slot, for this reason.
    Failure(Box<Failure>),
}

/// A request that wants a slot.
#[derive(Clone, Copy)]
pub(super) struct Applicant<'a> {
    /// The request.
    pub ticket: &'a Ticket,
    /// The model's name at the channel.
    pub model: &'a Arc<str>,
    /// The time, as [`Control::now`](super::Control::now) has it.
    pub now: Duration,
}

impl Applicant<'_> {
    /// Whether a slot has to be granted although it rests.
    pub fn insists(&self) -> bool {
        self.ticket.plan.as_ref().is_some_and(|plan| plan.insists())
    }

    /// Of the slots that are left, where none is free, the one that wakes first. Whoever insists has
    /// it, unless a limit of our own is in the way; whoever does not is told until when it rests.
    pub fn first_to_wake(
        &self,
        left: impl Iterator<Item = usize>,
        rest_of: impl Fn(usize) -> Option<Rest>,
    ) -> Result<usize, Without> {
        let resting = left.filter_map(|slot| Some((slot, rest_of(slot)?)));
        let first = resting.min_by_key(|(_, rest)| (rest.why == Why::Full, rest.until));
        match first {
            Some((slot, rest)) if self.insists() && rest.why != Why::Full => Ok(slot),
            first => Err(Without::Slot(first.map(|(_, rest)| rest))),
        }
    }
}

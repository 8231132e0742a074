//! What a channel grants to a request.

use std::sync::Arc;

use crate::canon::Failure;
use crate::upstream::{InvalidTarget, Target};

/// What a lease is for.
pub(super) struct Slot {
    /// The position of the key in the channel's ring, or of the region among the channel's.
    pub key: usize,
    /// How that appears in the statistics.
    pub label: Option<Arc<str>>,
    /// Where to send the request.
    pub target: Arc<Target>,
    /// The serial of the access token, where there is one.
    pub token: Option<u64>,
}

/// Why there is no slot for a request.
pub(super) enum Without {
    /// All keys or regions of the channel were tried, or lack the model.
    Slot,
    /// The address of the model cannot be put on the wire.
    Target(InvalidTarget),
    /// There is no access token yet.
    Token,
    /// There is no access token, for this reason.
    Access(Box<Failure>),
}

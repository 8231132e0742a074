//! How often something may be done: `60/min`, `15/min,1500/day`, `100000/tpr`.

use std::time::Duration;

/// All conditions that hold at the same time. None of them: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// How many requests in which time.
    pub rates: Vec<Rate>,
    /// `tpr`: how many tokens one request may have, as estimated from the length of its text.
    pub tokens_per_request: Option<u64>,
}

/// At most so many requests in any span of that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; positive.
    pub requests: u32,
    /// How long; positive.
    pub window: Duration,
}

impl RateLimit {
    /// So many requests a minute.
    pub fn per_minute(requests: u32) -> Self {
        Self { rates: vec![Rate { requests, window: Duration::from_secs(60) }], tokens_per_request: None }
    }
}

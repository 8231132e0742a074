//! The candidates of one request and how far through them it has come.

use std::sync::Arc;

use crate::canon::Next;
use crate::config::ChannelId;

/// One channel that may answer a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which channel.
    pub channel: ChannelId,
    /// The model's name there.
    pub upstream_model: Arc<str>,
}

/// One attempt that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// The channel it went to.
    pub channel: ChannelId,
    /// The key it used, by its position in the channel's ring.
    pub key: usize,
    /// What its failure says about the next attempt.
    pub next: Next,
}

/// A walk round the ring of candidates. Starts anywhere, ends when a whole round was declined.
#[derive(Clone, Debug)]
pub struct Plan {
    candidates: Arc<[Candidate]>,
    /// Position of the candidate that is asked now.
    at: usize,
    /// How many candidates in a row have declined.
    declined: usize,
}

impl Plan {
    /// Begins at position `start` of the ring.
    pub fn new(candidates: Arc<[Candidate]>, start: usize) -> Self {
        let at = start.checked_rem(candidates.len()).unwrap_or(0);
        Self { candidates, at, declined: 0 }
    }

    /// How many channels there are to try.
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether there is no channel to try.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// The candidate to ask now; `None` when a whole round was declined.
    pub fn current(&self) -> Option<&Candidate> {
        if self.declined >= self.candidates.len() { None } else { self.candidates.get(self.at) }
    }

    /// Goes on after a failed attempt at the current candidate.
    pub fn failed(&mut self, next: Next) {
        self.declined = 0;
        if next != Next::Key {
            self.step();
        }
    }

    /// Goes on after the current candidate has declined: it has no key left for this request.
    pub fn declined(&mut self) {
        self.declined += 1;
        self.step();
    }

    fn step(&mut self) {
        self.at = (self.at + 1).checked_rem(self.candidates.len()).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(channels: usize, start: usize) -> Plan {
        let candidates = (0..channels).map(|id| Candidate { channel: ChannelId(id), upstream_model: "m".into() });
        Plan::new(candidates.collect(), start)
    }

    fn now(plan: &Plan) -> Option<usize> {
        plan.current().map(|candidate| candidate.channel.0)
    }

    #[test]
    fn a_failed_channel_hands_over_to_the_next_in_the_ring() {
        let mut plan = plan(3, 2);
        assert_eq!(now(&plan), Some(2));
        plan.failed(Next::Channel);
        assert_eq!(now(&plan), Some(0));
    }

    #[test]
    fn a_failed_key_stays_at_its_channel() {
        let mut plan = plan(2, 0);
        plan.failed(Next::Key);
        assert_eq!(now(&plan), Some(0));
    }

    #[test]
    fn a_round_of_declines_ends_the_walk() {
        let mut plan = plan(2, 0);
        plan.declined();
        assert_eq!(now(&plan), Some(1));
        plan.declined();
        assert_eq!(now(&plan), None);
    }

    #[test]
    fn an_empty_ring_has_nothing_to_try() {
        let mut plan = plan(0, 5);
        assert_eq!(now(&plan), None);
        plan.declined();
        assert_eq!(now(&plan), None);
    }
}

//! The candidates of one request and how far through them it has come.

use std::sync::Arc;

use crate::canon::Next;
use crate::config::{ChannelId, Retries};

/// How many attempts with further keys a request gets beyond one for each channel, when
/// `AUTO_RETRY` sets no number. Bounds what a channel with hundreds of dead keys can cost.
const EXTRA_ATTEMPTS: usize = 10;

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
    /// The key or the region it used, by its position in the channel's ring.
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

impl Attempted {
    /// Whether it shows that this key of this channel is of no more use for the request.
    pub fn spent(&self, channel: ChannelId, key: usize) -> bool {
        self.channel == channel && self.key == key && self.next != Next::SameKey
    }
}

impl Plan {
    /// Begins at position `start` of the ring.
    pub fn new(candidates: Arc<[Candidate]>, start: usize) -> Self {
        let at = start.checked_rem(candidates.len()).unwrap_or(0);
        Self { candidates, at, declined: 0 }
    }

    /// The candidate to ask now; `None` when a whole round was declined.
    pub fn current(&self) -> Option<&Candidate> {
        if self.declined >= self.candidates.len() { None } else { self.candidates.get(self.at) }
    }

    /// Passes over the candidates that `attempts` have shown to be of no use for this request and
    /// gives the one to ask; `None` when there is none, or when `retries` are used up.
    pub fn advance(&mut self, attempts: &[Attempted], retries: Retries) -> Option<&Candidate> {
        let only_new_channels = match retries {
            Retries::AtMost(retries) if attempts.len() > usize::try_from(retries).unwrap_or(usize::MAX) => return None,
            Retries::AtMost(_) => false,
            Retries::UntilExhausted => extra_attempts(attempts) >= EXTRA_ATTEMPTS,
        };
        let is_out = |channel| is_ruled_out(channel, attempts) || (only_new_channels && was_tried(channel, attempts));
        while self.current().is_some_and(|now| is_out(now.channel)) {
            self.declined();
        }
        self.current()
    }

    /// Goes on after a failed attempt at the current candidate.
    pub fn failed(&mut self, next: Next) {
        self.declined = 0;
        if !matches!(next, Next::Key | Next::SameKey) {
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

fn is_ruled_out(channel: ChannelId, attempts: &[Attempted]) -> bool {
    attempts.iter().any(|attempt| attempt.channel == channel && attempt.next == Next::OtherChannel)
}

fn was_tried(channel: ChannelId, attempts: &[Attempted]) -> bool {
    attempts.iter().any(|attempt| attempt.channel == channel)
}

/// Attempts at a channel that had been tried before.
fn extra_attempts(attempts: &[Attempted]) -> usize {
    let is_extra =
        |(at, attempt): &(usize, &Attempted)| attempts.iter().take(*at).any(|before| before.channel == attempt.channel);
    attempts.iter().enumerate().filter(is_extra).count()
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
    fn a_key_that_is_to_be_tried_again_is_not_spent() {
        let mut plan = plan(2, 0);
        plan.failed(Next::SameKey);
        assert_eq!(now(&plan), Some(0));
        assert!(!attempted(0, Next::SameKey).spent(ChannelId(0), 0));
        assert!(attempted(0, Next::Key).spent(ChannelId(0), 0));
        assert!(!attempted(0, Next::Key).spent(ChannelId(1), 0) && !attempted(0, Next::Key).spent(ChannelId(0), 1));
    }

    #[test]
    fn a_round_of_declines_ends_the_walk() {
        let mut plan = plan(2, 0);
        plan.declined();
        assert_eq!(now(&plan), Some(1));
        plan.declined();
        assert_eq!(now(&plan), None);
    }

    fn attempted(channel: usize, next: Next) -> Attempted {
        Attempted { channel: ChannelId(channel), key: 0, next }
    }

    #[test]
    fn a_channel_that_cannot_be_reached_is_not_asked_again() {
        let mut plan = plan(2, 0);
        let attempts = [attempted(0, Next::OtherChannel), attempted(1, Next::Channel)];
        plan.failed(Next::OtherChannel);
        plan.failed(Next::Channel);
        assert_eq!(plan.advance(&attempts, Retries::UntilExhausted).map(|now| now.channel.0), Some(1));
        let both = [attempts[0], attempted(1, Next::OtherChannel)];
        assert_eq!(plan.advance(&both, Retries::UntilExhausted), None);
    }

    #[test]
    fn retries_are_limited_by_number() {
        let attempts = [attempted(0, Next::Channel); 2];
        assert!(plan(3, 0).advance(&attempts[..0], Retries::AtMost(0)).is_some());
        assert!(plan(3, 0).advance(&attempts[..1], Retries::AtMost(0)).is_none());
        assert!(plan(3, 0).advance(&attempts, Retries::AtMost(2)).is_some());
    }

    #[test]
    fn a_channel_full_of_dead_keys_leaves_the_others_their_attempt() {
        let attempts = [attempted(0, Next::Key); 11];
        let next =
            |plan: &mut Plan, made| plan.advance(&attempts[..made], Retries::UntilExhausted).map(|now| now.channel.0);
        assert_eq!(next(&mut plan(2, 0), 10), Some(0));
        assert_eq!(next(&mut plan(2, 0), 11), Some(1));
        assert_eq!(next(&mut plan(1, 0), 11), None);
    }

    #[test]
    fn an_empty_ring_has_nothing_to_try() {
        let mut plan = plan(0, 5);
        assert_eq!(now(&plan), None);
        plan.declined();
        assert_eq!(now(&plan), None);
    }
}

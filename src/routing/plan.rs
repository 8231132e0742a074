//! The candidates of one request and how far through them it has come.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::canon::Next;
use crate::config::{ChannelId, Retries};

/// How many attempts at channels that were tried before a request gets, when `AUTO_RETRY` sets no
/// number. Bounds what a channel with hundreds of dead keys can cost.
const EXTRA_ATTEMPTS: usize = 10;
/// A request waits at most this long in all for limits to pass, …
const MAX_WAIT: Duration = Duration::from_secs(10);
/// … and so often.
const MAX_WAITS: u8 = 2;

/// One channel that may answer a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which channel.
    pub channel: ChannelId,
    /// The model's name there.
    pub upstream_model: Arc<str>,
}

/// One attempt that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// The channel it went to.
    pub channel: ChannelId,
    /// The key or the region it used, by its position in the channel's ring.
    pub key: usize,
    /// The model's name there.
    pub upstream_model: Arc<str>,
    /// What its failure says about the next attempt.
    pub next: Next,
    /// From when on the same may be tried again, if that makes sense.
    pub again: Option<Duration>,
}

/// Why a channel does not want a request now, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Until when.
    pub until: Duration,
    /// Why.
    pub why: Why,
}

/// What a rest is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has failed. When nothing else is left, it is asked all the same.
    Failing,
    /// The upstream has said so. A short rest is waited for; for want of anything else, it is asked.
    Limited,
    /// Our own limit is reached, which holds in any case.
    Full,
}

/// What to do next for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To ask this channel.
    Ask(ChannelId),
    /// To wait until then.
    Wait(Duration),
    /// Nothing: nothing is left. `full_until`: only a limit of our own is in the way.
    Over {
        /// When the first limit of our own ends.
        full_until: Option<Duration>,
    },
}

/// What a step depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The attempts so far.
    pub attempts: &'a [Attempted],
    /// How many further ones there may be.
    pub retries: Retries,
    /// The time.
    pub now: Duration,
    /// When the request has to have begun to be answered.
    pub deadline: Duration,
}

/// So many that rest because they failed a request may ask, where nothing else is left: enough for one
/// of them to be well again, and few enough that requests do not queue for what is down altogether. Of
/// those that are limited, one: more of it is what they have asked not to get.
const MAX_INSISTED: usize = 3;

/// A walk round the ring of candidates. Starts anywhere, ends when a whole round was declined.
#[derive(Clone, Debug)]
pub struct Plan {
    candidates: Arc<[Candidate]>,
    /// Position of the candidate that is asked now.
    at: usize,
    /// How many candidates in a row have declined.
    declined: usize,
    /// Those of them that rest, by position.
    resting: Vec<(usize, Rest)>,
    /// The candidate asked now has to forget that it rests.
    insists: bool,
    /// How many had to.
    insisted: usize,
    waits: u8,
    waited: Duration,
}

impl Attempted {
    /// Whether it shows that this key of this channel is of no more use for the request now.
    pub fn spent(&self, channel: ChannelId, key: usize, now: Duration) -> bool {
        let is_again = self.next == Next::SameKey || self.again.is_some_and(|again| again <= now);
        self.channel == channel && self.key == key && !is_again
    }

    fn rules_out(&self, candidate: &Candidate) -> bool {
        match self.next {
            Next::OtherChannel => self.channel == candidate.channel,
            Next::OtherModel => self.upstream_model == candidate.upstream_model,
            _ => false,
        }
    }
}

impl Plan {
    /// Begins at position `start` of the ring.
    pub fn new(candidates: Arc<[Candidate]>, start: usize) -> Self {
        let at = start.checked_rem(candidates.len()).unwrap_or(0);
        Self {
            candidates,
            at,
            declined: 0,
            resting: Vec::new(),
            insists: false,
            insisted: 0,
            waits: 0,
            waited: Duration::ZERO,
        }
    }

    /// All candidates, in the order in which they are tried.
    pub fn in_order(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().cycle().skip(self.at).take(self.candidates.len())
    }

    /// The candidate to ask now; `None` when a whole round was declined.
    pub fn current(&self) -> Option<&Candidate> {
        if self.declined >= self.candidates.len() { None } else { self.candidates.get(self.at) }
    }

    /// Whether the candidate that is asked now has to grant although it rests.
    pub fn insists(&self) -> bool {
        self.insists
    }

    /// What to do next: passes over the candidates that were shown to be of no use for this request,
    /// and at the end of a round comes back to those that rest.
    pub fn step(&mut self, situation: Situation<'_>) -> Step {
        let Situation { attempts, retries, now, deadline } = situation;
        let over = Step::Over { full_until: self.earliest(|why| why == Why::Full) };
        let only_new_channels = match retries {
            Retries::AtMost(retries) if attempts.len() > usize::try_from(retries).unwrap_or(usize::MAX) => return over,
            Retries::AtMost(_) => false,
            Retries::UntilExhausted => attempts.len() > EXTRA_ATTEMPTS && extra_attempts(attempts) >= EXTRA_ATTEMPTS,
        };
        let is_out = |candidate: &Candidate| {
            attempts.iter().any(|attempt| attempt.rules_out(candidate))
                || (only_new_channels && attempts.iter().any(|attempt| attempt.channel == candidate.channel))
        };
        if let Some(asked) = self.pass_over(is_out) {
            return Step::Ask(asked);
        }
        if let Some(asked) = self.insist(Why::Failing, attempts, MAX_INSISTED) {
            return Step::Ask(asked);
        }
        let again = attempts.iter().filter(|attempt| !only_new_channels && !self.is_hopeless(attempt, is_out));
        let again = again.filter_map(|attempt| attempt.again).filter(|again| *again > now).min();
        let awake = self.earliest(|why| why != Why::Failing);
        if let Some(until) = again.into_iter().chain(awake).min()
            && self.waits < MAX_WAITS
            && self.waited + until.saturating_sub(now) <= MAX_WAIT
            && until < deadline
        {
            self.waits += 1;
            self.waited += until.saturating_sub(now);
            self.begin_round();
            return Step::Wait(until);
        }
        if let Some(asked) = self.insist(Why::Limited, attempts, 1) {
            return Step::Ask(asked);
        }
        over
    }

    /// Goes on after a failed attempt at the current candidate.
    pub fn failed(&mut self, next: Next) {
        self.begin_round();
        if !matches!(next, Next::Key | Next::SameKey) {
            self.pass();
        }
    }

    /// Goes on after the current candidate has declined: it has no key left for this request, or
    /// none that does not rest.
    pub fn declined(&mut self, rest: Option<Rest>) {
        self.insists = false;
        self.declined += 1;
        if let Some(rest) = rest {
            self.resting.push((self.at, rest));
        }
        self.pass();
    }

    fn begin_round(&mut self) {
        self.declined = 0;
        self.insists = false;
        self.resting.clear();
    }

    fn pass(&mut self) {
        self.at = (self.at + 1).checked_rem(self.candidates.len()).unwrap_or(0);
    }

    /// The next candidate that is not out.
    fn pass_over(&mut self, is_out: impl Fn(&Candidate) -> bool) -> Option<ChannelId> {
        while let Some(now) = self.current() {
            if !is_out(now) {
                return Some(now.channel);
            }
            self.declined += 1;
            self.pass();
        }
        None
    }

    /// When the first of those wakes that rest for a reason.
    fn earliest(&self, is_meant: impl Fn(Why) -> bool) -> Option<Duration> {
        self.resting.iter().filter(|(_, rest)| is_meant(rest.why)).map(|(_, rest)| rest.until).min()
    }

    /// Goes to the candidate that wakes first of those that rest for this reason, unless it went to so many
    /// that rest; after the first one, only where this request has attempted nothing yet.
    fn insist(&mut self, why: Why, attempts: &[Attempted], at_most: usize) -> Option<ChannelId> {
        if self.insisted >= at_most {
            return None;
        }
        let is_new = |position: &usize| {
            let candidate = self.candidates.get(*position);
            let was_attempted = |channel| attempts.iter().any(|attempt| attempt.channel == channel);
            self.insisted == 0 || candidate.is_some_and(|candidate| !was_attempted(candidate.channel))
        };
        let resting = self.resting.iter().filter(|(position, rest)| rest.why == why && is_new(position));
        let (position, _) = *resting.min_by_key(|(_, rest)| rest.until)?;
        let channel = self.candidates.get(position)?.channel;
        self.begin_round();
        self.insisted += 1;
        (self.at, self.insists) = (position, true);
        Some(channel)
    }

    /// Whether no candidate is left for what was attempted.
    fn is_hopeless(&self, attempt: &Attempted, is_out: impl Fn(&Candidate) -> bool) -> bool {
        let candidate = self.candidates.iter().find(|candidate| candidate.channel == attempt.channel);
        candidate.is_none_or(is_out)
    }
}

/// Attempts at a channel that had been tried before.
fn extra_attempts(attempts: &[Attempted]) -> usize {
    let channels: HashSet<ChannelId> = attempts.iter().map(|attempt| attempt.channel).collect();
    attempts.len() - channels.len()
}

#[cfg(test)]
mod tests;

//! The access token of one channel: when there is one, when to get another, and when not to ask.

use std::time::{Duration, Instant};

use crate::canon::{Failure, FailureKind};
use crate::config::Secret;
use crate::upstream::Token;

/// A token is replaced this long before it ends, while it still serves; one that does not live long,
/// in the last quarter of its life.
const EARLY: Duration = Duration::from_secs(300);
/// The pause after a first failed exchange; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// What is known of the token. Decides, and leaves the exchange itself to its owner.
#[derive(Default)]
pub(super) struct Access {
    held: Option<Held>,
    is_fetching: bool,
    /// Until when no exchange is tried, and why.
    rest: Option<(Instant, Failure)>,
    /// Exchanges in a row that came to nothing.
    failures: u32,
    last_serial: u64,
}

/// A token in use.
pub(super) struct Held {
    /// The token.
    pub value: Secret,
    /// Tells it from those before and after it.
    pub serial: u64,
    refresh_at: Instant,
    ends_at: Instant,
    /// The upstream has accepted it before.
    is_proven: bool,
}

/// What a request that needs the token is told.
pub(super) enum Entry<'a> {
    /// To use this one.
    Granted(&'a Held),
    /// To wait for the exchange that is under way.
    Wait,
    /// To go elsewhere: the last exchange failed like this.
    Refused(Failure),
}

impl Access {
    /// Whether its owner has to start an exchange now. Says so once for each.
    pub fn must_fetch(&mut self, now: Instant) -> bool {
        let is_due = self.held.as_ref().is_none_or(|held| now >= held.refresh_at);
        let is_resting = self.rest.as_ref().is_some_and(|(until, _)| now < *until);
        let must = is_due && !is_resting && !self.is_fetching;
        self.is_fetching |= must;
        must
    }

    /// What to do with a request; to be asked after [`Access::must_fetch`].
    pub fn enter(&self, now: Instant) -> Entry<'_> {
        match (&self.held, &self.rest) {
            (Some(held), _) if now < held.ends_at => Entry::Granted(held),
            (_, Some((until, why))) if now < *until && !self.is_fetching => Entry::Refused(why.clone()),
            _ => Entry::Wait,
        }
    }

    /// Takes in what came of the exchange.
    pub fn arrived(&mut self, answer: Result<Token, Failure>, now: Instant) {
        self.is_fetching = false;
        match answer {
            Ok(Token { value, lifetime }) => {
                self.last_serial += 1;
                self.rest = None;
                self.held = Some(Held {
                    value,
                    serial: self.last_serial,
                    refresh_at: now + lifetime.saturating_sub(EARLY.min(lifetime / 4)),
                    ends_at: now + lifetime,
                    is_proven: false,
                });
            }
            Err(why) => self.rest(why, now),
        }
    }

    /// The upstream accepted the token of this serial.
    pub fn accepted(&mut self, serial: u64) {
        if let Some(held) = self.held.as_mut().filter(|held| held.serial == serial) {
            held.is_proven = true;
            self.failures = 0;
        }
    }

    /// The upstream refused the token of this serial as not valid. One that it accepted before has
    /// been revoked, and another one helps; but to one that was refused from the beginning there
    /// is no sense in fetching successors without pause.
    pub fn refused(&mut self, serial: u64, now: Instant) {
        let Some(held) = self.held.take_if(|held| held.serial == serial) else { return };
        if !held.is_proven {
            let message = "the upstream refused an access token that was just issued; check that base_url and \
                           token_uri belong together";
            self.rest(Failure::new(FailureKind::KeyRefused, message), now);
        }
    }

    /// Nothing will come of an exchange that is under way, and who waited for it is gone.
    pub fn forget_exchange(&mut self) {
        self.is_fetching = false;
    }

    fn rest(&mut self, why: Failure, now: Instant) {
        let pause = MIN_PAUSE.saturating_mul(2u32.saturating_pow(self.failures.min(16))).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.rest = Some((now + pause, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn token(lifetime: Duration) -> Result<Token, Failure> {
        Ok(Token { value: Secret::new("token"), lifetime })
    }

    fn failure() -> Result<Token, Failure> {
        Err(Failure::new(FailureKind::KeyRefused, "no"))
    }

    /// Holds a token of an hour since `start`.
    fn with_token(start: Instant) -> Access {
        let mut access = Access::default();
        assert!(access.must_fetch(start));
        access.arrived(token(HOUR), start);
        access
    }

    fn serial(access: &Access, now: Instant) -> Option<u64> {
        match access.enter(now) {
            Entry::Granted(held) => Some(held.serial),
            _ => None,
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn requests_wait_for_one_exchange() {
        let start = Instant::now();
        let mut access = Access::default();
        assert!(access.must_fetch(start));
        assert!(matches!(access.enter(start), Entry::Wait));
        assert!(!access.must_fetch(start), "one exchange for all");
        access.arrived(token(HOUR), start);
        assert_eq!(serial(&access, start), Some(1));
        assert!(!access.must_fetch(start));
    }

    #[test]
    fn a_token_is_replaced_early_and_serves_meanwhile() {
        let start = Instant::now();
        let mut access = with_token(start);
        assert!(!access.must_fetch(start + HOUR - EARLY - seconds(1)));
        assert!(access.must_fetch(start + HOUR - EARLY));
        assert_eq!(serial(&access, start + HOUR - EARLY), Some(1));
        access.arrived(token(HOUR), start + HOUR - EARLY);
        assert_eq!(serial(&access, start + HOUR), Some(2));
    }

    #[test]
    fn a_token_of_a_short_life_serves_for_most_of_it() {
        let start = Instant::now();
        let mut access = Access::default();
        access.arrived(token(seconds(100)), start);
        assert!(!access.must_fetch(start + seconds(74)));
        assert!(access.must_fetch(start + seconds(75)));
        assert!(matches!(access.enter(start + seconds(100)), Entry::Wait));
    }

    #[test]
    fn a_token_outlives_a_failed_replacement() {
        let start = Instant::now();
        let mut access = with_token(start);
        let late = start + HOUR - EARLY;
        assert!(access.must_fetch(late));
        access.arrived(failure(), late);
        assert_eq!(serial(&access, late), Some(1));
        assert!(!access.must_fetch(late));
        assert!(access.must_fetch(late + MIN_PAUSE));
    }

    #[test]
    fn failed_exchanges_are_repeated_at_growing_intervals() {
        let mut now = Instant::now();
        let mut access = Access::default();
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(access.must_fetch(now));
            access.arrived(failure(), now);
            let before = now + seconds(pause) - Duration::from_millis(1);
            assert!(!access.must_fetch(before));
            assert!(matches!(access.enter(before), Entry::Refused(why) if why.message == "no"));
            now += seconds(pause);
        }
        assert!(access.must_fetch(now));
        access.arrived(token(HOUR), now);
        access.accepted(1);
        let ended = now + HOUR;
        assert!(access.must_fetch(ended));
        access.arrived(failure(), ended);
        assert!(access.must_fetch(ended + MIN_PAUSE), "a success begins the intervals anew");
    }

    #[test]
    fn a_revoked_token_is_replaced_at_once() {
        let start = Instant::now();
        let mut access = with_token(start);
        access.accepted(1);
        access.refused(1, start);
        assert!(access.must_fetch(start));
        access.arrived(token(HOUR), start);
        access.refused(1, start);
        assert_eq!(serial(&access, start), Some(2), "the new one is not to blame");
    }

    #[test]
    fn a_token_refused_from_the_beginning_is_not_replaced_without_pause() {
        let mut now = Instant::now();
        let mut access = Access::default();
        for (count, pause) in [(1, 1), (2, 2), (3, 4)] {
            assert!(access.must_fetch(now));
            access.arrived(token(HOUR), now);
            access.refused(count, now);
            assert!(matches!(access.enter(now), Entry::Refused(_)));
            assert!(!access.must_fetch(now + seconds(pause) - Duration::from_millis(1)));
            now += seconds(pause);
        }
    }

    #[test]
    fn an_exchange_that_is_forgotten_is_started_again() {
        let start = Instant::now();
        let mut access = Access::default();
        assert!(access.must_fetch(start));
        access.forget_exchange();
        assert!(access.must_fetch(start));
    }
}

//! How many retries a channel bears: a part of its first attempts, and a few besides for channels
//! that are seldom asked. So an outage that makes every attempt fail does not double the load.
//!
//! The measure is Linkerd's ("Retries and timeouts", retry budgets): over ten seconds, a fifth of
//! the first attempts plus ten a second.

use std::time::Duration;

/// Over how many seconds is counted.
const SECONDS: u64 = 10;
/// So many first attempts pay for a retry.
const FIRST_ATTEMPTS_PER_RETRY: u32 = 5;
/// So many retries are free over that time.
const FREE_RETRIES: u32 = 100;

/// The attempts of the last ten seconds.
#[derive(Debug, Default)]
pub struct RetryBudget {
    /// Each second's attempts, at its number modulo ten.
    seconds: [Attempts; 10],
}

#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    /// In which second.
    second: u64,
    first: u32,
    retries: u32,
}

impl RetryBudget {
    /// Counts the first attempt of a request.
    pub fn first_attempt(&mut self, now: Duration) {
        if let Some(attempts) = self.at(now) {
            attempts.first = attempts.first.saturating_add(1);
        }
    }

    /// Whether there is budget for a retry.
    pub fn has_retry(&self, now: Duration) -> bool {
        let recent = self.seconds.iter().filter(|attempts| attempts.second + SECONDS > now.as_secs());
        let (first, retries) = recent.fold((0_u32, 0_u32), |(first, retries), attempts| {
            (first.saturating_add(attempts.first), retries.saturating_add(attempts.retries))
        });
        retries < FREE_RETRIES.saturating_add(first / FIRST_ATTEMPTS_PER_RETRY)
    }

    /// Counts a retry.
    pub fn retry(&mut self, now: Duration) {
        if let Some(attempts) = self.at(now) {
            attempts.retries = attempts.retries.saturating_add(1);
        }
    }

    /// The attempts of this second.
    fn at(&mut self, now: Duration) -> Option<&mut Attempts> {
        let second = now.as_secs();
        let attempts = self.seconds.get_mut(usize::try_from(second % SECONDS).ok()?)?;
        if attempts.second != second {
            *attempts = Attempts { second, ..Attempts::default() };
        }
        Some(attempts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn try_retry(budget: &mut RetryBudget, now: Duration) -> bool {
        let has_retry = budget.has_retry(now);
        if has_retry {
            budget.retry(now);
        }
        has_retry
    }

    fn retries(budget: &mut RetryBudget, now: Duration) -> usize {
        (0..10_000).take_while(|_| try_retry(budget, now)).count()
    }

    #[test]
    fn a_channel_that_is_seldom_asked_may_be_retried_ten_times_a_second() {
        let mut budget = RetryBudget::default();
        assert_eq!(retries(&mut budget, at(7)), 100);
        assert_eq!(retries(&mut budget, at(16)), 0);
        assert_eq!(retries(&mut budget, at(17)), 100);
    }

    #[test]
    fn a_fifth_of_the_first_attempts_may_be_retried_besides() {
        let mut budget = RetryBudget::default();
        for millisecond in 0..5000 {
            budget.first_attempt(Duration::from_millis(millisecond));
        }
        assert_eq!(retries(&mut budget, at(5)), 1100);
    }

    #[test]
    fn what_is_not_used_is_not_saved_up() {
        let mut budget = RetryBudget::default();
        for second in 0..10_000 {
            budget.first_attempt(at(second));
        }
        assert_eq!(retries(&mut budget, at(9_999)), 102);
        assert_eq!(retries(&mut budget, at(100_000)), 100);
    }

    #[test]
    fn an_outage_adds_a_fifth_to_the_load() {
        let mut budget = RetryBudget::default();
        let mut retried = 0;
        for millisecond in 0..100_000 {
            let now = Duration::from_millis(millisecond);
            budget.first_attempt(now);
            retried += usize::from(try_retry(&mut budget, now));
        }
        assert!((20_000..=21_000).contains(&retried), "{retried} of 100000");
    }

    proptest! {
        #[test]
        fn no_ten_seconds_have_more_retries_than_they_pay_for(pauses in vec((0..4_u64, 0..40_u32, 0..150_u32), 1..40)) {
            let (mut budget, mut now) = (RetryBudget::default(), 1);
            let mut log: Vec<(u64, u32, u32)> = Vec::new();
            for (pause, first, retries) in pauses {
                now += pause;
                (0..first).for_each(|_| budget.first_attempt(at(now)));
                let retries = (0..retries).filter(|_| try_retry(&mut budget, at(now))).count();
                log.push((now, first, retries.try_into().unwrap()));
                let recent = || log.iter().filter(|(second, ..)| second + SECONDS > now);
                let (first, retries): (u32, u32) = (recent().map(|at| at.1).sum(), recent().map(|at| at.2).sum());
                // Those before may have been paid for by attempts that do not count any more.
                let last = log.last().unwrap().2;
                prop_assert!(last == 0 || retries <= FREE_RETRIES + first / FIRST_ATTEMPTS_PER_RETRY);
            }
        }
    }
}

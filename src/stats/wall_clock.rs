//! Whether the time of day can be believed. Clocks are set: by a machine that learns the time after
//! it has started, by a virtual machine that was suspended, by hand and wrongly. Rows merely get the
//! time that was told. But what is deleted by a clock that is years ahead is gone when it is set right.

use std::time::{Duration, Instant, SystemTime};

/// A clock that gains as much has not just been adjusted.
const LEAP: Duration = Duration::from_secs(3600);
/// After a leap ahead it is not believed for so long: time to set it right.
const DOUBT: Duration = Duration::from_secs(3600);

/// Compares the time of day with the time that has passed.
#[derive(Default)]
pub struct WallClock {
    last: Option<(Instant, SystemTime)>,
    doubted_until: Option<Instant>,
}

/// What is to be thought of the time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credit {
    /// Nothing speaks against it.
    Given,
    /// It has just leapt ahead by so much.
    Leapt(Duration),
    /// It has leapt not long ago.
    Withheld,
}

impl WallClock {
    /// Looks at both clocks. The more often, the surer a leap is noticed.
    pub fn look(&mut self, now: Instant, time_of_day: SystemTime) -> Credit {
        let (then, time_then) = self.last.replace((now, time_of_day)).unwrap_or((now, time_of_day));
        let passed = time_of_day.duration_since(time_then).unwrap_or_default();
        let ahead = passed.saturating_sub(now.duration_since(then));
        if ahead >= LEAP {
            self.doubted_until = Some(now + DOUBT);
            return Credit::Leapt(ahead);
        }
        match self.doubted_until.is_some_and(|until| now < until) {
            true => Credit::Withheld,
            false => Credit::Given,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

    /// What is thought of it after each of these steps: what has passed, and where it stands behind its beginning.
    fn credits<const N: usize>(steps: [(Duration, Duration); N]) -> [Credit; N] {
        let (mut now, start) = (Instant::now(), SystemTime::UNIX_EPOCH + YEARS);
        let mut clock = WallClock::default();
        assert_eq!(clock.look(now, start), Credit::Given);
        steps.map(|(passed, time)| {
            now += passed;
            clock.look(now, start + time)
        })
    }

    #[test]
    fn one_that_goes_as_time_does_is_believed() {
        assert_eq!(credits([(MINUTE, MINUTE), (MINUTE, 2 * MINUTE)]), [Credit::Given; 2]);
        let adjusted = 30 * MINUTE;
        assert_eq!(credits([(MINUTE, adjusted), (MINUTE, MINUTE)]), [Credit::Given; 2]);
        assert_eq!(credits([(600 * MINUTE, 600 * MINUTE)]), [Credit::Given]);
    }

    #[test]
    fn one_that_leaps_ahead_is_doubted_for_an_hour() {
        let leapt = Credit::Leapt(YEARS);
        assert_eq!(
            credits([
                (MINUTE, YEARS + MINUTE),
                (MINUTE, YEARS + 2 * MINUTE),
                (58 * MINUTE, YEARS + 60 * MINUTE),
                (MINUTE, YEARS + 61 * MINUTE)
            ]),
            [leapt, Credit::Withheld, Credit::Withheld, Credit::Given]
        );
    }

    #[test]
    fn one_that_is_set_right_is_still_doubted_and_not_again() {
        assert_eq!(
            credits([(MINUTE, YEARS + MINUTE), (MINUTE, 2 * MINUTE), (60 * MINUTE, 62 * MINUTE)]),
            [Credit::Leapt(YEARS), Credit::Withheld, Credit::Given]
        );
    }

    #[test]
    fn one_that_is_set_back_is_believed_for_it_deletes_nothing() {
        let mut clock = WallClock::default();
        let (now, time) = (Instant::now(), SystemTime::UNIX_EPOCH + YEARS);
        clock.look(now, time);
        assert_eq!(clock.look(now + MINUTE, SystemTime::UNIX_EPOCH), Credit::Given);
        assert_eq!(clock.look(now + 2 * MINUTE, time + 2 * MINUTE), Credit::Leapt(YEARS + MINUTE));
    }
}

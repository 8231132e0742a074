//! The circuit breaker of one model of one channel.
//!
//! Closed, it lets every attempt through, and opens after so many failures in a row. Open, it lets
//! none through for a while, then one: the probe. If that does well the breaker closes, otherwise it
//! opens again.
//!
//! Ask [`CircuitBreaker::admits`] before an attempt is made, tell [`CircuitBreaker::enter`] when
//! it is, and [`CircuitBreaker::settled`] how it went. A caller who has nothing else left may
//! enter in spite of a no.

use std::time::Duration;

use crate::config::Breaker;

/// How long to leave a breaker alone whose probe is under way, and may be back at any time.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// Whether an attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Yes,
    /// It may, and will be the one that decides.
    Probe,
    /// It should not be.
    No {
        /// When to ask again.
        until: Duration,
    },
}

/// What an attempt says about whether the next one would do well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did well.
    Good,
    /// It failed in a way that the next one may well, too.
    Bad,
    /// Nothing, such as that of a client who left.
    Unknown,
}

/// The state of a breaker. Its thresholds are told each time, so that they may change.
#[derive(Debug)]
pub struct CircuitBreaker {
    state: State,
}

#[derive(Debug)]
enum State {
    Closed {
        /// In a row.
        failures: u32,
    },
    Open {
        until: Duration,
    },
    /// A probe is under way. One that has not reported by then is forgotten.
    HalfOpen {
        until: Duration,
    },
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { state: State::Closed { failures: 0 } }
    }
}

impl CircuitBreaker {
    /// Whether an attempt may be made now.
    pub fn admits(&self, now: Duration) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Yes,
            State::Open { until } | State::HalfOpen { until } if until <= now => Admission::Probe,
            State::Open { until } => Admission::No { until },
            State::HalfOpen { until } => Admission::No { until: until.min(now + PROBE_PATIENCE) },
        }
    }

    /// Whether it is as one that has seen nothing.
    pub fn is_clear(&self) -> bool {
        matches!(self.state, State::Closed { failures: 0 })
    }

    /// An attempt begins, whether it is admitted or not. Gives whether it is a probe.
    pub fn enter(&mut self, now: Duration, thresholds: &Breaker) -> bool {
        let is_probe = !matches!(self.state, State::Closed { .. });
        if is_probe {
            self.state = State::HalfOpen { until: now + thresholds.open };
        }
        is_probe
    }

    /// An attempt is over. Unless the breaker is closed only probes count: the others began before
    /// it opened, and say nothing new.
    pub fn settled(&mut self, verdict: Verdict, is_probe: bool, now: Duration, thresholds: &Breaker) {
        let opened = State::Open { until: now + thresholds.open };
        match (&mut self.state, verdict) {
            (State::Closed { .. }, Verdict::Unknown) => {}
            (State::Closed { failures }, Verdict::Good) => *failures = 0,
            (State::Closed { failures }, Verdict::Bad) => {
                *failures += 1;
                if *failures >= thresholds.failures {
                    self.state = opened;
                }
            }
            _ if !is_probe => {}
            (_, Verdict::Good) => self.state = State::Closed { failures: 0 },
            (_, Verdict::Bad) => self.state = opened,
            (State::HalfOpen { .. }, Verdict::Unknown) => self.state = State::Open { until: now },
            (State::Open { .. }, Verdict::Unknown) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::Admission::{No, Probe, Yes};
    use super::Verdict::{Bad, Good, Unknown};
    use super::*;

    const THRESHOLDS: Breaker = Breaker { failures: 3, open: Duration::from_secs(30) };

    /// What happens to a breaker, each at a time in seconds.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// An attempt begins; whether it is a probe.
        Enter(bool),
        /// One that is no probe is over.
        Settled(Verdict),
        /// A probe is.
        Probed(Verdict),
        /// What it then says.
        Admits(Admission),
    }
    use Event::{Admits, Enter, Probed, Settled};

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn no(until: u64) -> Event {
        Admits(No { until: at(until) })
    }

    fn play(events: &[(u64, Event)]) {
        let mut breaker = CircuitBreaker::default();
        for (second, event) in events {
            let now = at(*second);
            match *event {
                Enter(is_probe) => assert_eq!(breaker.enter(now, &THRESHOLDS), is_probe, "{second}: {events:?}"),
                Settled(verdict) => breaker.settled(verdict, false, now, &THRESHOLDS),
                Probed(verdict) => breaker.settled(verdict, true, now, &THRESHOLDS),
                Admits(admission) => assert_eq!(breaker.admits(now), admission, "{second}: {events:?}"),
            }
        }
    }

    /// Open since second 2, until second 32.
    const OPENED: [(u64, Event); 6] = [
        (0, Admits(Yes)),
        (0, Enter(false)),
        (0, Settled(Bad)),
        (1, Settled(Bad)),
        (1, Admits(Yes)),
        (2, Settled(Bad)),
    ];

    fn play_opened(events: &[(u64, Event)]) {
        play(&[&OPENED, events].concat());
    }

    #[test]
    fn failures_in_a_row_open_it_until_it_is_time_for_a_probe() {
        play_opened(&[(2, no(32)), (31, no(32)), (32, Admits(Probe)), (99, Admits(Probe))]);
    }

    #[test]
    fn a_success_in_between_begins_the_count_anew_and_an_unknown_result_does_not() {
        let (bad, unknown) = ((0, Settled(Bad)), (0, Settled(Unknown)));
        play(&[bad, bad, (0, Settled(Good)), bad, bad, (0, Admits(Yes))]);
        play(&[bad, unknown, bad, unknown, (0, Admits(Yes)), bad, (0, no(30))]);
    }

    #[test]
    fn there_is_one_probe_at_a_time() {
        play_opened(&[(40, Enter(true)), (40, no(41)), (50, no(51))]);
    }

    #[test]
    fn a_good_probe_closes_it_and_the_count_begins_anew() {
        let bad = (43, Settled(Bad));
        play_opened(&[(40, Enter(true)), (42, Probed(Good)), (42, Admits(Yes)), (42, Enter(false))]);
        play_opened(&[(40, Enter(true)), (42, Probed(Good)), bad, bad, (43, Admits(Yes)), bad, (43, no(73))]);
    }

    #[test]
    fn a_bad_probe_opens_it_again() {
        play_opened(&[(40, Enter(true)), (42, Probed(Bad)), (42, no(72)), (72, Admits(Probe))]);
    }

    #[test]
    fn a_probe_that_says_nothing_makes_way_for_the_next() {
        play_opened(&[(40, Enter(true)), (42, Probed(Unknown)), (42, Admits(Probe)), (42, Enter(true)), (42, no(43))]);
    }

    #[test]
    fn a_probe_that_never_reports_is_forgotten() {
        play_opened(&[(40, Enter(true)), (69, no(70)), (70, Admits(Probe)), (70, Enter(true)), (71, no(72))]);
        play_opened(&[(40, Enter(true)), (70, Enter(true)), (75, Probed(Good)), (75, Admits(Yes))]);
    }

    #[test]
    fn results_of_attempts_from_before_neither_close_nor_prolong_it() {
        for late in [Good, Bad, Unknown] {
            play_opened(&[(10, Settled(late)), (10, no(32)), (32, Settled(late)), (32, Admits(Probe))]);
            play_opened(&[(40, Enter(true)), (42, Settled(late)), (42, no(43)), (70, Admits(Probe))]);
        }
    }

    #[test]
    fn whoever_enters_in_spite_of_a_no_is_a_probe() {
        play_opened(&[(10, Enter(true)), (11, Probed(Good)), (11, Admits(Yes))]);
        play_opened(&[(10, Enter(true)), (11, Probed(Bad)), (11, no(41))]);
        play_opened(&[(40, Enter(true)), (41, Enter(true)), (42, Probed(Bad)), (43, Probed(Good)), (43, Admits(Yes))]);
    }

    #[test]
    fn lower_thresholds_count_from_the_next_result_on() {
        let mut breaker = CircuitBreaker::default();
        let lower = Breaker { failures: 1, open: at(5) };
        breaker.settled(Bad, false, at(0), &THRESHOLDS);
        assert_eq!(breaker.admits(at(0)), Yes);
        breaker.settled(Bad, false, at(0), &lower);
        assert_eq!(breaker.admits(at(0)), No { until: at(5) });
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![Just(Good), Just(Bad), Just(Unknown)]
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![Just(Enter(true)), verdict().prop_map(Settled), verdict().prop_map(Probed)]
    }

    proptest! {
        /// Whatever happens, in whatever order: left alone for a while it admits an attempt, and
        /// what it says until then is kept.
        #[test]
        fn it_never_gets_stuck(events in vec((0..20_u64, event()), 0..60), failures in 1..5_u32) {
            let thresholds = Breaker { failures, ..THRESHOLDS };
            let (mut breaker, mut now) = (CircuitBreaker::default(), at(0));
            for (pause, event) in events {
                now += at(pause);
                match event {
                    Enter(_) => _ = breaker.enter(now, &thresholds),
                    Settled(verdict) => breaker.settled(verdict, false, now, &thresholds),
                    Probed(verdict) => breaker.settled(verdict, true, now, &thresholds),
                    Admits(_) => {}
                }
                if let No { until } = breaker.admits(now) {
                    prop_assert!(until > now && until <= now + thresholds.open);
                }
                let is_refused = matches!(breaker.admits(now + thresholds.open), No { .. });
                prop_assert!(!is_refused);
            }
        }

        /// While it is not closed and nobody insists, one attempt at a time goes through.
        #[test]
        fn attempts_go_through_one_at_a_time_until_one_does_well(results in vec((0..30_u64, verdict()), 1..40)) {
            let (mut breaker, mut now) = (CircuitBreaker::default(), at(0));
            for _ in 0..THRESHOLDS.failures {
                breaker.settled(Bad, false, now, &THRESHOLDS);
            }
            for (took, verdict) in results {
                while let No { until } = breaker.admits(now) {
                    now = until;
                }
                prop_assert_eq!(breaker.admits(now), Probe);
                prop_assert!(breaker.enter(now, &THRESHOLDS));
                let is_refused = matches!(breaker.admits(now), No { .. });
                prop_assert!(is_refused);
                now += at(took);
                breaker.settled(verdict, true, now, &THRESHOLDS);
                if verdict == Good {
                    prop_assert_eq!(breaker.admits(now), Yes);
                    break;
                }
            }
        }
    }
}

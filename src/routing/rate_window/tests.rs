use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::config::Rate;

use super::{Bucket, Buckets, FEW, Quota};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn rate(requests: u32, window: Duration) -> Rate {
    Rate { requests, window }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Whether the log of admissions leaves room for one more under each of these rates.
fn has_room(log: &[Duration], rates: &[Rate], now: Duration) -> bool {
    rates.iter().all(|rate| {
        let counting = log.iter().rev().take_while(|admission| **admission + rate.window > now).count();
        counting < usize::try_from(rate.requests).unwrap()
    })
}

/// The most admissions that any span of this length has.
fn most_in(log: &[Duration], window: Duration) -> usize {
    let in_span = |(place, first): (usize, &Duration)| log[place..].partition_point(|time| *time < *first + window);
    log.iter().enumerate().map(in_span).max().unwrap_or(0)
}

#[test]
fn one_more_is_admitted_when_the_oldest_has_left_the_window() {
    let (mut buckets, rates) = (Buckets::<u8>::default(), [rate(2, MINUTE)]);
    let quota = |remaining, wait, reset| Quota { limit: 2, remaining, wait: at(wait), reset: at(reset) };
    assert_eq!(buckets.look(&1, &rates, at(0)), Some(quota(2, 0, 0)));
    assert_eq!(buckets.take(&1, &rates, at(0)), Ok(Some(quota(1, 0, 60))));
    assert_eq!(buckets.take(&1, &rates, at(20)), Ok(Some(quota(0, 40, 60))));
    assert_eq!(buckets.take(&1, &rates, at(59)), Err(quota(0, 1, 21)));
    assert_eq!(buckets.take(&1, &rates, at(60)), Ok(Some(quota(0, 20, 60))));
    assert_eq!(buckets.look(&1, &rates, at(60)), Some(quota(0, 20, 60)));
    assert_eq!(buckets.look(&2, &rates, at(60)), Some(quota(2, 0, 0)), "another key has a bucket of its own");
}

#[test]
fn without_rates_nothing_is_limited_and_no_bucket_made() {
    let mut buckets = Buckets::<String>::default();
    assert_eq!(buckets.look("key", &[], at(0)), None);
    assert_eq!(buckets.take("key", &[], at(0)), Ok(None));
    assert!(buckets.is_empty());
}

#[test]
fn what_one_rate_refuses_no_other_counts() {
    let (mut buckets, rates) = (Buckets::<u8>::default(), [rate(1, SECOND), rate(3, HOUR)]);
    for _ in 0..5 {
        let _ = buckets.take(&1, &rates, at(0));
    }
    assert_eq!(buckets.look(&1, &rates[1..], at(0)).unwrap().remaining, 2);
}

#[test]
fn the_tightest_rate_is_told_and_of_spent_ones_the_longest_wait() {
    let (mut buckets, rates) = (Buckets::<u8>::default(), [rate(3, SECOND), rate(3, HOUR), rate(9, MINUTE)]);
    assert_eq!(buckets.take(&1, &rates, at(0)).unwrap().unwrap().limit, 3);
    assert_eq!(buckets.look(&1, &[rate(9, MINUTE), rate(2, SECOND)], at(0)).unwrap().limit, 2);
    let _ = buckets.take(&1, &rates, at(0));
    let quota = buckets.take(&1, &rates, at(0)).unwrap().unwrap();
    assert_eq!(quota, Quota { limit: 3, remaining: 0, wait: HOUR, reset: HOUR });
}

#[test]
fn counts_survive_other_rates_over_the_same_time() {
    let mut buckets = Buckets::<u8>::default();
    for _ in 0..5 {
        buckets.take(&1, &[rate(5, MINUTE)], at(0)).unwrap();
    }
    assert_eq!(buckets.take(&1, &[rate(7, MINUTE), rate(7, HOUR)], at(1)).unwrap().unwrap().remaining, 1);
    assert_eq!(buckets.take(&1, &[rate(4, MINUTE)], at(2)).unwrap_err().wait, at(58));
    assert!(buckets.take(&1, &[rate(9, HOUR)], at(3)).is_ok());
    assert_eq!(buckets.look(&1, &[rate(7, MINUTE)], at(3)).unwrap().remaining, 1);
}

#[test]
fn two_rates_over_the_same_time_are_the_lower_one() {
    let (mut buckets, rates) = (Buckets::<u8>::default(), [rate(900, MINUTE), rate(2, MINUTE)]);
    assert!(buckets.take(&1, &rates, at(0)).is_ok());
    assert_eq!(buckets.take(&1, &rates, at(0)).unwrap().unwrap().limit, 2);
    assert!(buckets.take(&1, &rates, at(59)).is_err());
}

#[test]
fn idle_buckets_are_dropped() {
    let (mut buckets, rates) = (Buckets::<u64>::default(), [rate(5, MINUTE)]);
    for key in 0..10_000 {
        buckets.take(&key, &rates, Duration::from_millis(key)).unwrap();
    }
    assert_eq!(buckets.len(), 10_000, "none is idle yet");
    buckets.take(&10_000, &rates, HOUR).unwrap();
    assert_eq!(buckets.len(), 1);
    for second in 0..10_000 {
        buckets.take(&second, &rates, HOUR + at(second)).unwrap();
        assert!(buckets.len() <= FEW.max(2 * 61), "{}", buckets.len());
    }
}

#[test]
fn a_bucket_that_still_counts_is_not_dropped() {
    let mut buckets = Buckets::<u64>::default();
    buckets.take(&0, &[rate(1, HOUR)], at(0)).unwrap();
    for key in 1..10_000 {
        buckets.take(&key, &[rate(1, SECOND)], at(key / 3)).unwrap();
        assert_eq!(buckets.take(&0, &[rate(1, HOUR)], at(key / 3)).unwrap_err().remaining, 0);
    }
}

#[test]
fn a_high_limit_is_reached_but_not_passed() {
    let (mut bucket, rates) = (Bucket::default(), [rate(999_999, MINUTE)]);
    let mut admitted: Vec<Duration> = Vec::new();
    let arrivals = |from: u64, to: u64, step| (from * 1_000_000..to * 1_000_000).step_by(step);
    for microseconds in arrivals(0, 11, 10).chain(arrivals(11, 59, 1000)).chain(arrivals(59, 62, 5)) {
        let now = Duration::from_micros(microseconds);
        if !bucket.quota(&rates, now).unwrap().is_spent() {
            bucket.admit(&rates, now);
            admitted.push(now);
        }
    }
    assert_eq!(admitted.iter().filter(|time| **time < at(60)).count(), 999_999);
    assert_eq!(most_in(&admitted, MINUTE), 999_999);
    let again = admitted.len() - 999_999;
    assert!(again > 100_000, "as much as in the first seconds, but only {again}");
}

#[test]
fn a_high_limit_costs_little_memory() {
    let (mut bucket, rates) = (Bucket::default(), [rate(999_999, MINUTE)]);
    for milliseconds in (0..200_000).step_by(10) {
        bucket.admit(&rates, Duration::from_millis(milliseconds));
    }
    let entries = bucket.windows[0].entries();
    assert!((100..=130).contains(&entries), "{entries}");
}

fn rates(requests: std::ops::Range<u32>) -> impl Strategy<Value = Vec<Rate>> {
    let rate = (requests, 1..5000_u64).prop_map(|(requests, ms)| rate(requests, Duration::from_millis(ms)));
    vec(rate, 1..4)
}

/// Crowds that arrive at the same time, each some time after the one before: a short time, a long
/// one, or until exactly when a window ends.
fn arrivals() -> impl Strategy<Value = Vec<(Gap, usize)>> {
    let gap = prop_oneof![
        6 => (0..50_u64).prop_map(|ms| Gap::Time(Duration::from_millis(ms))),
        1 => (0..6_000_000_000_u64).prop_map(|ns| Gap::Time(Duration::from_nanos(ns))),
        3 => Just(Gap::UntilOneMore),
        1 => Just(Gap::UntilEmpty),
    ];
    let size = prop_oneof![3 => 1..3_usize, 2 => 1..80_usize];
    vec((gap, size), 1..60)
}

#[derive(Clone, Copy, Debug)]
enum Gap {
    Time(Duration),
    UntilOneMore,
    UntilEmpty,
}

/// When somebody arrived, and whether he was admitted.
type Arrival = (Duration, bool);

/// Lets the crowds in, as far as the rates allow. Gives all arrivals, and how many entries a window
/// needed.
fn let_in(rates: &[Rate], crowds: &[(Gap, usize)]) -> (Vec<Arrival>, usize) {
    let (mut buckets, mut now) = (Buckets::<u8>::default(), Duration::from_secs(1000));
    let (mut arrivals, mut entries) = (Vec::new(), 0);
    for (gap, size) in crowds {
        let before = buckets.look(&1, rates, now).unwrap();
        now += match gap {
            Gap::Time(time) => *time,
            Gap::UntilOneMore => before.wait,
            Gap::UntilEmpty => before.reset,
        };
        arrivals.extend((0..*size).map(|_| (now, is_admitted(&mut buckets, rates, now))));
        let windows = buckets.buckets.values().flat_map(|bucket| &bucket.windows);
        entries = entries.max(windows.map(|window| window.entries()).max().unwrap_or(0));
    }
    (arrivals, entries)
}

/// Whether one more is admitted. Checks that what the bucket says before and after agrees.
fn is_admitted(buckets: &mut Buckets<u8>, rates: &[Rate], now: Duration) -> bool {
    let before = buckets.look(&1, rates, now).unwrap();
    match buckets.take(&1, rates, now) {
        Ok(after) => {
            assert!(!before.is_spent() && after.unwrap().remaining < before.remaining);
            true
        }
        Err(quota) => {
            assert_eq!((quota, buckets.look(&1, rates, now)), (before, Some(before)));
            assert!(before.is_spent() && !before.wait.is_zero() && before.wait <= before.reset);
            let just_before = now + before.wait - Duration::from_nanos(1);
            assert!(buckets.look(&1, rates, just_before).unwrap().is_spent());
            assert!(!buckets.look(&1, rates, now + before.wait).unwrap().is_spent());
            false
        }
    }
}

proptest! {
    #[test]
    fn no_window_ever_admits_more_than_its_limit(rates in rates(1..400), crowds in arrivals()) {
        let (arrivals, entries) = let_in(&rates, &crowds);
        let admitted: Vec<_> = arrivals.iter().filter(|(_, is_admitted)| *is_admitted).map(|(time, _)| *time).collect();
        for rate in &rates {
            prop_assert!(most_in(&admitted, rate.window) <= usize::try_from(rate.requests).unwrap());
        }
        prop_assert!(entries <= 130, "{} entries", entries);
    }

    #[test]
    fn up_to_128_all_is_admitted_that_has_room(rates in rates(1..129), crowds in arrivals()) {
        let mut log = Vec::new();
        for (now, is_admitted) in let_in(&rates, &crowds).0 {
            prop_assert_eq!(is_admitted, has_room(&log, &rates, now));
            if is_admitted {
                log.push(now);
            }
        }
    }

    #[test]
    fn above_128_all_is_admitted_that_has_room_in_a_little_more_than_the_window(
        rates in rates(129..400),
        crowds in arrivals(),
    ) {
        let longer: Vec<_> = rates.iter().map(|rate| Rate { window: rate.window + rate.window / 128, ..*rate }).collect();
        let mut log = Vec::new();
        for (now, is_admitted) in let_in(&rates, &crowds).0 {
            prop_assert!(is_admitted || !has_room(&log, &longer, now));
            if is_admitted {
                log.push(now);
            }
        }
    }
}

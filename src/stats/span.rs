//! Spans of time in whole seconds since 1970, as rows have them.

use std::time::SystemTime;

use chrono::{DateTime, NaiveDateTime, Utc};

/// An hour in seconds.
pub const HOUR: i64 = 3600;
/// A day in seconds.
pub const DAY: i64 = 24 * HOUR;

/// From a second on, up to but without another; the other one is about now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first second.
    pub from: i64,
    /// The one after the last.
    pub to: i64,
}

impl Span {
    /// The hours before `now`, with the second that `now` is in.
    pub fn last(hours: u16, now: SystemTime) -> Self {
        let to = second_of(now) + 1;
        Self { from: to - i64::from(hours) * HOUR, to }
    }
}

/// The second of a time.
pub fn second_of(time: SystemTime) -> i64 {
    DateTime::<Utc>::from(time).timestamp()
}

/// The beginning of the step, an hour or a day, that a second is in.
pub fn floor(second: i64, step: i64) -> i64 {
    second - second.rem_euclid(step)
}

/// A second as rows have it.
pub fn stored(second: i64) -> NaiveDateTime {
    DateTime::from_timestamp(second, 0).unwrap_or_default().naive_utc()
}

/// The length of the name of an hour.
pub const HOUR_NAME: usize = "2026-11-22 09".len();
/// The length of the name of a day.
pub const DAY_NAME: usize = "2026-11-22".len();

/// The name of the hour that a second is in: how the times of its rows begin.
pub fn hour_name(second: i64) -> String {
    stored(second).format("%Y-%m-%d %H").to_string()
}

/// The name of the day that a second is in.
pub fn day_name(second: i64) -> String {
    stored(second).format("%Y-%m-%d").to_string()
}

/// The first second of the hour or the day of this name.
pub fn start_of(period: &str) -> Option<i64> {
    let rest = if period.len() == DAY_NAME { " 00:00:00" } else { ":00:00" };
    let first = NaiveDateTime::parse_from_str(&format!("{period}{rest}"), "%Y-%m-%d %H:%M:%S");
    first.ok().map(|first| first.and_utc().timestamp())
}

/// A second in ISO 8601.
pub fn written(second: i64) -> String {
    DateTime::from_timestamp(second, 0).unwrap_or_default().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_hours_end_with_the_second_of_now() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(10 * 3_600_000 + 5_500);
        assert_eq!(Span::last(2, now), Span { from: 8 * HOUR + 6, to: 10 * HOUR + 6 });
    }

    #[test]
    fn seconds_are_written_in_iso_8601() {
        assert_eq!(written(1_763_850_804), "2025-11-22T22:33:24Z");
        assert_eq!(stored(1_763_850_804).to_string(), "2025-11-22 22:33:24");
    }

    #[test]
    fn periods_have_names() {
        assert_eq!(hour_name(1_763_850_804), "2025-11-22 22");
        assert_eq!(start_of("2025-11-22 22"), Some(floor(1_763_850_804, HOUR)));
        assert_eq!(start_of(&day_name(1_763_850_804)), Some(floor(1_763_850_804, DAY)));
        assert_eq!(start_of("yesterday"), None);
    }
}

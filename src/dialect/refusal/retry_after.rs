//! When an upstream wants to be asked again.
//!
//! Headers that tell when a whole window of a rate limit begins anew (`x-ratelimit-reset-…`,
//! `anthropic-ratelimit-…-reset`) are not read: there is one for each limit, none says which limit
//! was hit, and whoever sends them sends `retry-after` as well.

use std::time::{Duration, UNIX_EPOCH};

/// Nobody is believed who wants to be left alone for longer, in seconds.
const MAX_SECONDS: f64 = 3600.0;

/// What `retry-after-ms` (OpenAI, Azure) or `retry-after` says: a number, fractions included, or an
/// HTTP date (RFC 9110, section 5.6.7).
pub(super) fn in_headers(milliseconds: Option<&str>, retry_after: Option<&str>, now_unix_s: u64) -> Option<Duration> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    milliseconds
        .and_then(number)
        .and_then(|milliseconds| delay(milliseconds / 1000.0))
        .or_else(|| delay(number(retry_after?)?))
        .or_else(|| {
            let date = httpdate::parse_http_date(retry_after?.trim()).ok()?;
            let date = date.duration_since(UNIX_EPOCH).ok()?;
            delay(date.saturating_sub(Duration::from_secs(now_unix_s)).as_secs_f64())
        })
}

/// The time until a moment, in milliseconds since 1970.
pub(super) fn until(unix_ms: u64, now_unix_s: u64) -> Option<Duration> {
    delay(Duration::from_millis(unix_ms).saturating_sub(Duration::from_secs(now_unix_s)).as_secs_f64())
}

/// The time in a sentence like "Please try again in 1m2.5s." or "Please retry after 6 seconds".
pub(super) fn in_sentence(sentence: &str) -> Option<Duration> {
    let sentence = sentence.to_ascii_lowercase();
    ["try again in ", "retry in ", "retry after ", "try again after "].iter().find_map(|lead| {
        let at = sentence.find(lead)?;
        in_units(sentence.get(at + lead.len()..)?)
    })
}

/// The time at the beginning of a text: numbers with their units, such as `1h2m`, `34.5s`, `120ms`
/// or `6 seconds`. Google's `retryDelay` is one of them.
pub(super) fn in_units(text: &str) -> Option<Duration> {
    let mut rest = text.trim_start();
    let mut seconds = None;
    while let Some((value, behind)) = leading_value(rest) {
        seconds = Some(seconds.unwrap_or(0.0) + value);
        rest = behind.trim_start();
    }
    delay(seconds?)
}

/// The first number with its unit, in seconds, and what stands behind it.
fn leading_value(text: &str) -> Option<(f64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, behind) = text.split_at_checked(digits)?;
    let behind = behind.trim_start();
    let letters = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
    let (unit, behind) = behind.split_at_checked(letters)?;
    let unit = match unit {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86400.0,
        _ => return None,
    };
    Some((number.parse::<f64>().ok()? * unit, behind))
}

fn delay(seconds: f64) -> Option<Duration> {
    if !seconds.is_finite() {
        return None;
    }
    Duration::try_from_secs_f64(seconds.min(MAX_SECONDS)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 6 November 1994, 08:49:37 UTC, the example of RFC 9110.
    const THEN: u64 = 784_111_777;

    #[test]
    fn headers_give_numbers_and_dates() {
        let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
        for (milliseconds, retry_after, expected) in [
            (None, None, None),
            (None, Some("7"), seconds(7.0)),
            (None, Some(" 0.25 "), seconds(0.25)),
            (None, Some("0"), seconds(0.0)),
            (Some("1500"), Some("7"), seconds(1.5)),
            (Some("soon"), Some("7"), seconds(7.0)),
            (Some("-5"), Some("7"), seconds(7.0)),
            (None, Some("99999"), seconds(3600.0)),
            (None, Some("1e300"), seconds(3600.0)),
            (None, Some("-1e300"), None),
            (None, Some("-1"), None),
            (None, Some("NaN"), None),
            (None, Some("inf"), None),
            (None, Some("later"), None),
            (None, Some(""), None),
            (None, Some("Sun, 06 Nov 1994 08:50:07 GMT"), seconds(30.0)),
            (None, Some("Sunday, 06-Nov-94 08:50:07 GMT"), seconds(30.0)),
            (None, Some("Sun Nov  6 08:50:07 1994"), seconds(30.0)),
            (None, Some("Sun, 06 Nov 1994 08:49:07 GMT"), seconds(0.0)),
            (None, Some("Mon, 07 Nov 1994 08:49:37 GMT"), seconds(3600.0)),
            (None, Some("Sun, 06 Nov 1994 25:00:00 GMT"), None),
        ] {
            assert_eq!(in_headers(milliseconds, retry_after, THEN), expected, "{milliseconds:?}, {retry_after:?}");
        }
    }

    #[test]
    fn sentences_give_times_with_units() {
        for (sentence, expected) in [
            ("Rate limit reached. Please try again in 6.3s. Visit us.", Some(6.3)),
            ("Please try again in 20s.", Some(20.0)),
            ("Please try again in 245ms.", Some(0.245)),
            ("Please try again in 1m2s. Need more?", Some(62.0)),
            ("Please try again in 9m38.016s.", Some(578.016)),
            ("try again in 1h2m3s", Some(3600.0)),
            ("Please retry after 6 seconds.", Some(6.0)),
            ("Please retry after 1 second. To increase", Some(1.0)),
            ("Please retry in 36.5s.", Some(36.5)),
            ("PLEASE TRY AGAIN IN 2 MINUTES", Some(120.0)),
            ("try again in 3 days", Some(3600.0)),
            ("try again in a while", None),
            ("try again in 5", None),
            ("try again in 1.2.3s", None),
            ("try again in .s", None),
            ("try again later", None),
            ("try again in \u{661}s", None),
        ] {
            assert_eq!(in_sentence(sentence), expected.map(Duration::from_secs_f64), "{sentence}");
        }
    }

    #[test]
    fn a_moment_in_the_past_is_now() {
        assert_eq!(until((THEN + 5) * 1000, THEN), Some(Duration::from_secs(5)));
        assert_eq!(until((THEN - 5) * 1000, THEN), Some(Duration::ZERO));
        assert_eq!(until(u64::MAX, THEN), Some(Duration::from_secs(3600)));
    }
}

//! Spans of time, as `api.yaml` has them: in seconds, whole or with a decimal point.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer};

use super::typed::scalar;

/// Longer times can only be a mistake.
const MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// A span of time that may be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

/// A span of time that is longer than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositiveSeconds(pub Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer, "a number of seconds, up to a year", |text| span(text).map(Self))
    }
}

impl<'de> Deserialize<'de> for PositiveSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer, "a number of seconds, more than 0 and up to a year", |text| {
            span(text).filter(|span| !span.is_zero()).map(Self)
        })
    }
}

fn span(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|span| *span <= MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    #[test]
    fn seconds_are_whole_or_decimal() {
        for (value, millis) in [(json!(0), 0), (json!(30), 30_000), (json!(0.5), 500), (json!(" 1.5 "), 1500)] {
            assert_eq!(from_value::<Seconds>(value.clone()).unwrap().0, Duration::from_millis(millis), "{value}");
            let positive = from_value::<PositiveSeconds>(value.clone());
            assert_eq!(
                positive.map(|span| span.0).ok(),
                (millis > 0).then_some(Duration::from_millis(millis)),
                "{value}"
            );
        }
        let year = 365 * 24 * 3600;
        assert!(from_value::<Seconds>(json!(year)).is_ok());
        let wrong: [Value; 8] =
            [json!(-1), json!("30s"), json!(""), json!(true), json!("nan"), json!("inf"), json!(year + 1), json!([1])];
        for value in wrong {
            assert!(from_value::<Seconds>(value.clone()).is_err(), "{value}");
            assert!(from_value::<PositiveSeconds>(value.clone()).is_err(), "{value}");
        }
    }
}

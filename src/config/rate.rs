//! How often something may be done: `60/min`, `15/min,1500/day`, `100000/tpr`.
//!
//! ```text
//! limit = rate {"," rate}              all of them hold; a YAML list says the same
//! rate  = count ["/" unit]             a bare count is per minute
//! unit  = s | min | hour | day | month (30 days) | year (365 days)
//!       | tpr                          tokens of one request
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::suggest::closest;

/// All conditions that hold at the same time. None of them: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// How many requests in which time.
    pub rates: Vec<Rate>,
    /// `tpr`: how many tokens one request may have, as estimated from the length of its text.
    pub tokens_per_request: Option<u64>,
}

/// At most so many requests in any span of that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; positive.
    pub requests: u32,
    /// How long; positive.
    pub window: Duration,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Units of time in seconds, each by all its names; the first one is printed.
const UNITS: [(&[&str], u64); 6] = [
    (&["s", "sec", "second"], 1),
    (&["min", "m", "minute"], MINUTE),
    (&["hour", "h", "hr"], HOUR),
    (&["day", "d"], DAY),
    (&["month", "mo"], 30 * DAY),
    (&["year", "y", "yr"], 365 * DAY),
];

const TOKENS_PER_REQUEST: &str = "tpr";

const EXPECTED: &str = "a rate such as 60/min, or several of them";

impl RateLimit {
    /// So many requests a minute.
    pub fn per_minute(requests: u32) -> Self {
        Self { rates: vec![Rate { requests, window: Duration::from_secs(MINUTE) }], tokens_per_request: None }
    }

    /// Both at once.
    fn and(mut self, other: Self) -> Self {
        self.rates.extend(other.rates);
        self.tokens_per_request = self.tokens_per_request.into_iter().chain(other.tokens_per_request).min();
        self
    }
}

/// Why a text is no limit. Does not repeat the text, which could be a key in the wrong place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRate {
    /// It has another form.
    #[error("expected {EXPECTED}")]
    Form,
    /// Nothing would be allowed.
    #[error("a rate of zero allows nothing; to block something, take away the rule that allows it")]
    Zero,
    /// What is behind the slash is no unit.
    #[error("unknown unit{}; there are {}", hint(.meant), unit_names().collect::<Vec<_>>().join(", "))]
    Unit {
        /// The closest unit there is.
        meant: Option<&'static str>,
    },
}

fn hint(meant: &Option<&'static str>) -> String {
    meant.map(|name| format!(", did you mean {name}?")).unwrap_or_default()
}

/// Every unit by the name it is printed with.
fn unit_names() -> impl Iterator<Item = &'static str> {
    UNITS.iter().filter_map(|(names, _)| names.first().copied()).chain([TOKENS_PER_REQUEST])
}

/// The length of a unit of time in seconds.
fn seconds(unit: &str) -> Option<u64> {
    let find = |unit: &str| UNITS.iter().find(|(names, _)| names.contains(&unit)).map(|(_, seconds)| *seconds);
    // Of more than one letter, because `ms` is not minutes.
    let singular = unit.strip_suffix('s').filter(|name| name.len() > 1);
    find(unit).or_else(|| singular.and_then(find))
}

impl FromStr for RateLimit {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        text.split(',').try_fold(Self::default(), |limit, rate| Ok(limit.and(one(rate)?)))
    }
}

fn one(text: &str) -> Result<RateLimit, InvalidRate> {
    let (count, unit) = text.split_once('/').unwrap_or((text, "min"));
    let (count, unit) = (count.trim(), unit.trim().to_lowercase());
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidRate::Form);
    }
    // So many that they do not fit are as good as no limit.
    let count: u64 = count.parse().unwrap_or(u64::MAX);
    let limit = if unit == TOKENS_PER_REQUEST {
        RateLimit { rates: Vec::new(), tokens_per_request: Some(count) }
    } else {
        let meant =
            || closest(&unit, UNITS.iter().flat_map(|(names, _)| *names).copied().filter(|name| name.len() > 2));
        let window = seconds(&unit).ok_or_else(|| InvalidRate::Unit { meant: meant() })?;
        let requests = u32::try_from(count).unwrap_or(u32::MAX);
        RateLimit { rates: vec![Rate { requests, window: Duration::from_secs(window) }], tokens_per_request: None }
    };
    if count == 0 { Err(InvalidRate::Zero) } else { Ok(limit) }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, seconds)| self.window == Duration::from_secs(*seconds));
        match unit.and_then(|(names, _)| names.first()) {
            Some(unit) => write!(f, "{}/{unit}", self.requests),
            None => write!(f, "{}/{} s", self.requests, self.window.as_secs_f64()),
        }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.tokens_per_request.map(|tokens| format!("{tokens}/{TOKENS_PER_REQUEST}"));
        let all: Vec<String> = self.rates.iter().map(ToString::to_string).chain(tokens).collect();
        f.write_str(if all.is_empty() { "none" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

impl<'de> Deserialize<'de> for RateLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rates;

        impl<'de> Visitor<'de> for Rates {
            type Value = RateLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<RateLimit, E> {
                value.parse().map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<RateLimit, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RateLimit, A::Error> {
                let mut all = items.next_element::<RateLimit>()?.ok_or_else(|| A::Error::custom(InvalidRate::Form))?;
                while let Some(more) = items.next_element()? {
                    all = all.and(more);
                }
                Ok(all)
            }
        }

        deserializer.deserialize_any(Rates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        text.parse().map(|limit: RateLimit| limit.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_of_a_rate_is_read_and_printed_in_one() {
        for (written, printed) in [
            ("60/min", "60/min"),
            ("60", "60/min"),
            ("2/m", "2/min"),
            ("2/minutes", "2/min"),
            ("5/S", "5/s"),
            ("5/sec", "5/s"),
            ("5/Seconds", "5/s"),
            ("7/h", "7/hour"),
            ("7/hrs", "7/hour"),
            ("7/HOURS", "7/hour"),
            ("8/d", "8/day"),
            ("8/days", "8/day"),
            ("9/mo", "9/month"),
            ("9/mos", "9/month"),
            ("9/months", "9/month"),
            ("1/y", "1/year"),
            ("1/years", "1/year"),
            (" 15 / min , 1500/Day ", "15/min, 1500/day"),
            ("100000/tpr,15/min,1500/day", "15/min, 1500/day, 100000/tpr"),
            ("500/TPR, 400/tpr", "400/tpr"),
            ("99999999999/min", "4294967295/min"),
            ("99999999999999999999999/tpr", "18446744073709551615/tpr"),
        ] {
            assert_eq!(parse(written).as_deref(), Ok(printed), "{written}");
            assert_eq!(parse(printed).as_deref(), Ok(printed), "what is printed is read again");
        }
    }

    #[test]
    fn units_have_their_length() {
        let windows = |text: &str| -> Vec<u64> {
            let limit: RateLimit = text.parse().unwrap();
            limit.rates.iter().map(|rate| rate.window.as_secs()).collect()
        };
        assert_eq!(
            windows("1/s,1/min,1/h,1/d,1/mo,1/y"),
            [1, 60, 3600, 86_400, 30 * 86_400, 365 * 86_400],
            "seconds of each unit"
        );
        assert_eq!("60".parse(), Ok(RateLimit::per_minute(60)));
    }

    #[test]
    fn what_is_no_rate_is_an_error() {
        for form in ["", " ", "min", "/min", "-5/min", "1.5/min", "+5", "15/min,", "15/min,,1/d", "6o/min", "1_000"] {
            assert_eq!(form.parse::<RateLimit>(), Err(InvalidRate::Form), "{form}");
        }
        for zero in ["0", "0/min", "000/day", "15/min, 0/day", "0/tpr"] {
            assert_eq!(zero.parse::<RateLimit>(), Err(InvalidRate::Zero), "{zero}");
        }
        for unit in ["5/", "5/ms", "5/fortnight", "5/min/day", "0/week"] {
            assert_eq!(unit.parse::<RateLimit>(), Err(InvalidRate::Unit { meant: None }), "{unit}");
        }
    }

    #[test]
    fn an_unknown_unit_is_answered_with_all_there_are() {
        let there_are = "there are s, min, hour, day, month, year, tpr";
        assert_eq!(parse("5/fortnight"), Err(format!("unknown unit; {there_are}")));
        assert_eq!(parse("5/minuets"), Err(format!("unknown unit, did you mean minute?; {there_are}")));
    }

    #[test]
    fn a_limit_without_conditions_is_none() {
        assert_eq!(RateLimit::default().to_string(), "none");
        let odd = Rate { requests: 3, window: Duration::from_millis(1500) };
        assert_eq!(odd.to_string(), "3/1.5 s");
    }
}

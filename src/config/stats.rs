//! `preferences.stats`: what the statistics keep, and for how long.

use serde::de::{Deserialize, Deserializer};
use serde_json::Value;

use super::diagnostic::Report;
use super::path::KeyPath;
use super::preferences::{one_of, or_else};
use super::raw::{RawStats, STATS};
use super::typed::{kind, scalar};

/// What the statistics keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatsSettings {
    /// `store_api_keys: full`: keys are stored as they are, instead of masked with a short hash.
    pub keeps_whole_keys: bool,
    /// `text`: as many characters of the last user message are kept.
    pub text_chars: usize,
    /// `retention_days`: rows are deleted after so many days; `None`: never.
    pub retention_days: Option<u32>,
}

impl Default for StatsSettings {
    fn default() -> Self {
        Self { keeps_whole_keys: false, text_chars: 2000, retention_days: Some(90) }
    }
}

/// `text`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextChars(pub usize);

impl<'de> Deserialize<'de> for TextChars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer, "full, off, or a number of characters such as 2000", |text| {
            match text.trim().to_ascii_lowercase().as_str() {
                "full" => Some(usize::MAX),
                // What YAML readers may make of `off`.
                "off" | "false" | "no" => Some(0),
                number => number.parse().ok(),
            }
            .map(Self)
        })
    }
}

/// `retention_days`; `None` is `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionDays(pub Option<u32>);

/// Longer times can only be a mistake.
const MAX_DAYS: u32 = 36_500;

impl<'de> Deserialize<'de> for RetentionDays {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer, "a number of days from 1 to 36500, or off", |text| {
            match text.trim().to_ascii_lowercase().as_str() {
                "off" | "false" | "no" => Some(Self(None)),
                number => number.parse().ok().filter(|days| (1..=MAX_DAYS).contains(days)).map(|days| Self(Some(days))),
            }
        })
    }
}

/// `stats` in the preferences at `place`. A mistake must neither store more than was meant nor
/// delete anything.
pub(super) fn resolve(value: &Value, place: &KeyPath, report: &mut Report) -> StatsSettings {
    let place = &place.key("stats");
    let default = StatsSettings::default();
    let careful = StatsSettings { keeps_whole_keys: false, text_chars: 0, retention_days: None };
    let raw = match value {
        Value::Null => return default,
        Value::Object(_) => RawStats::deserialize(value).unwrap_or_default(),
        other => {
            let found = kind(other);
            report.error(
                place,
                format!(
                    "expected a mapping with store_api_keys, text and retention_days, found {found}; keys are stored \
                     masked, no text is stored, and nothing is deleted (DISABLE_DATABASE=true switches statistics off)"
                ),
            );
            return careful;
        }
    };
    STATS.check(&raw.others, place, report);
    let is_left_out = [raw.text.is_absent(), raw.retention_days.is_absent()];
    let [no_text, no_days] = is_left_out;
    StatsSettings {
        keeps_whole_keys: or_else("keys are stored masked", report, |report| {
            let all = [(false, "masked"), (true, "full")];
            one_of(raw.store_api_keys, "store_api_keys", &all, place, report).unwrap_or(careful.keeps_whole_keys)
        }),
        text_chars: or_else("no text is stored", report, |report| {
            let written = raw.text.take("text", place, report).map(|TextChars(chars)| chars);
            written.unwrap_or(if no_text { default.text_chars } else { careful.text_chars })
        }),
        retention_days: or_else("nothing is deleted", report, |report| {
            let written = raw.retention_days.take("retention_days", place, report).map(|RetentionDays(days)| days);
            written.unwrap_or(if no_days { default.retention_days } else { careful.retention_days })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> (StatsSettings, Vec<String>) {
        let mut report = Report::default();
        let settings = resolve(&value, &KeyPath::default(), &mut report);
        let told = report.into_findings().into_iter().map(|finding| format!("{}: {}", finding.path, finding.message));
        (settings, told.collect())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let default = StatsSettings { keeps_whole_keys: false, text_chars: 2000, retention_days: Some(90) };
        for value in [json!(null), json!({}), json!({"text": null, "store_api_keys": "masked"})] {
            assert_eq!(read(value), (default, Vec::new()));
        }
    }

    #[test]
    fn every_word_is_understood() {
        for (value, expected) in [
            (json!({"store_api_keys": "Full", "text": "full"}), (true, usize::MAX, Some(90))),
            (json!({"text": "off", "retention_days": "off"}), (false, 0, None)),
            (json!({"text": false, "retention_days": false}), (false, 0, None)),
            (json!({"text": 100, "retention_days": 1}), (false, 100, Some(1))),
            (json!({"text": "0", "retention_days": "365"}), (false, 0, Some(365))),
        ] {
            let (settings, told) = read(value.clone());
            let found = (settings.keeps_whole_keys, settings.text_chars, settings.retention_days);
            assert_eq!((found, told.len()), (expected, 0), "{value}");
        }
    }

    #[test]
    fn a_mistake_is_told_and_neither_stores_more_nor_deletes() {
        let (settings, told) = read(json!({"store_api_keys": "ful", "text": "some", "retention_days": 0}));
        assert_eq!((settings.keeps_whole_keys, settings.text_chars, settings.retention_days), (false, 0, None));
        assert_eq!(
            told,
            [
                "stats.store_api_keys: unknown word \"ful\", did you mean \"full\"? (there are masked, full); \
                 keys are stored masked",
                "stats.text: expected full, off, or a number of characters such as 2000; no text is stored",
                "stats.retention_days: expected a number of days from 1 to 36500, or off; nothing is deleted",
            ]
        );
        let (settings, told) = read(json!("off"));
        assert_eq!((settings.text_chars, settings.retention_days, told.len()), (0, None, 1));
        assert!(told[0].contains("DISABLE_DATABASE=true"), "{told:?}");
        let (_, told) = read(json!({"retention": 30, "texts": "off"}));
        assert!(told[0].contains("did you mean \"retention_days\"?") && told[1].contains("\"text\""), "{told:?}");
    }
}

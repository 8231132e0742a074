//! Keys that have no place where they are written, or no effect.

use serde_json::Value;

use super::diagnostic::Report;
use super::path::KeyPath;
use super::rate::RateLimit;
use super::raw::{Others, Vocabulary};
use super::suggest::{closest, quoted};

impl Vocabulary {
    /// What somebody who wrote `key` most likely meant.
    pub fn meant_by(&self, key: &str) -> Option<&'static str> {
        let folded = key.to_lowercase().replace([' ', '-'], "_");
        let synonym =
            |(synonym, _): &&(&str, &str)| synonym.eq_ignore_ascii_case(key) || synonym.eq_ignore_ascii_case(&folded);
        if let Some((_, meant)) = self.synonyms.iter().find(synonym) {
            return Some(meant);
        }
        closest(&folded, self.used.iter().chain(self.without_effect).copied())
    }

    /// Warns about every key that is unknown or without effect.
    pub(super) fn check(&self, others: &Others, place: &KeyPath, report: &mut Report) {
        for (key, value) in others {
            // A place for YAML anchors, as in other formats.
            if key.starts_with("x-") || key.starts_with('.') {
                continue;
            }
            let at = place.key(key);
            if self.without_effect.contains(&key.as_str()) {
                if !matches!(value, Value::Null | Value::Bool(false)) {
                    report.warning(&at, "has no effect yet");
                }
                continue;
            }
            // `{RATE_LIMIT: 15/min,1500/day}`: ignoring half of a limit would allow more than was meant.
            if value.is_null() && key.contains('/') && key.parse::<RateLimit>().is_ok() {
                report
                    .error(&at, "looks like half of a rate; between braces, a comma in it needs quotes around it all");
                continue;
            }
            let hint = self.meant_by(key).map(|meant| format!(", did you mean \"{meant}\"?")).unwrap_or_default();
            report.warning(&at, format!("unknown key, it is ignored{hint}"));
        }
    }

    /// Notes that a required key is missing, and which of the unknown ones it could be.
    pub(super) fn missing(&self, key: &'static str, others: &Others, place: &KeyPath, report: &mut Report) {
        let hint = others.keys().find(|other| self.meant_by(other) == Some(key));
        let hint = hint.map(|other| format!("; there is {}, did you mean \"{key}\"?", quoted(other)));
        report.error(&place.key(key), format!("missing{}", hint.unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::{API_KEY_PREFERENCES, PROVIDER};

    #[test]
    fn synonyms_and_misspellings_are_understood() {
        for (written, meant) in [
            ("key", Some("api")),
            ("API_KEY", Some("api")),
            ("api-key", Some("api")),
            ("apis", Some("api")),
            ("base-url", Some("base_url")),
            ("baseUrl", Some("base_url")),
            ("models", Some("model")),
            ("provder", Some("provider")),
            ("temperature", None),
        ] {
            assert_eq!(PROVIDER.meant_by(written), meant, "{written}");
        }
        assert_eq!(API_KEY_PREFERENCES.meant_by("scheduling_algorithm"), Some("SCHEDULING_ALGORITHM"));
    }
}

//! Settings that providers take over from the `preferences` at the top.

use serde::Deserialize;

use super::diagnostic::Report;
use super::expand::Unset;
use super::path::KeyPath;
use super::providers::empty_because;
use super::raw::Written;
use super::typed::{Text, Typed};

/// What is written behind such a key.
pub(super) enum Setting<T> {
    /// The key is not there.
    Absent,
    /// Nothing, or an empty text: there is to be none.
    Off,
    /// A good value.
    Is(T),
    /// A mistake, which was reported.
    Wrong,
}

impl<T: Clone> Setting<T> {
    /// Reads a text at `key` of the mapping at `place`. `meaning` says what it means, or what is wrong.
    ///
    /// A variable without a value is a mistake, not the wish to have none.
    pub fn read(
        written: &Written,
        (place, key): (&KeyPath, &str),
        unset: &[Unset],
        report: &mut Report,
        meaning: impl FnOnce(&str) -> Result<T, String>,
    ) -> Self {
        let Some(value) = written else { return Self::Absent };
        let Ok(text) = Typed::<Text>::deserialize(value) else { return Self::Wrong };
        if text.is_absent() {
            return Self::Off;
        }
        let Some(Text(text)) = text.take(key, place, report) else { return Self::Wrong };
        let at = place.key(key);
        let is_unset = || unset.iter().any(|unset| unset.path == at);
        if text.trim().is_empty() && !is_unset() {
            return Self::Off;
        }
        let meant = match text.trim() {
            "" => Err(format!("{}; write null to have none", empty_because(&at, unset))),
            text => meaning(text),
        };
        meant.map_or_else(
            |message| {
                report.error(&at, message);
                Self::Wrong
            },
            Self::Is,
        )
    }

    /// What holds for a provider that says this, where `all` is said at the top. What cannot be taken
    /// over is reported at `key` of the mapping at `place`.
    pub fn over(self, all: &Self, (place, key): (&KeyPath, &str), report: &mut Report) -> Option<T> {
        match (self, all) {
            (Self::Is(value), _) => Some(value),
            (Self::Absent, Self::Is(value)) => Some(value.clone()),
            (Self::Absent, Self::Wrong) => {
                report.error(&place.key(key), format!("there is none here, and preferences.{key} at the top is wrong"));
                None
            }
            (Self::Off | Self::Wrong | Self::Absent, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::Config;
    use crate::config::load::parse;

    /// The configuration with these preferences at the top and of its only provider, and what is wrong with it.
    fn load(top: &str, own: &str) -> (Option<Config>, String) {
        let text = format!(
            "providers: [{{provider: p, base_url: 'http://h/v1', preferences: {own}}}]\n\
             api_keys: [{{api: sk-client}}]\npreferences: {top}\n"
        );
        let env = |name: &str| (name == "EMPTY").then(String::new);
        let loaded = parse(&text, "api.yaml", &env, Duration::from_secs(100));
        let said: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        (loaded.config, said.join("\n"))
    }

    fn proxy(top: &str, own: &str) -> Option<String> {
        let (config, said) = load(top, own);
        assert_eq!(said, "");
        config.unwrap().channels[0].outbound.proxy.as_ref().map(ToString::to_string)
    }

    #[test]
    fn a_provider_has_its_own_proxy_or_that_of_all_unless_it_wants_none() {
        let all = "{proxy: 'http://all:1'}";
        assert_eq!(proxy("{}", "{}"), None);
        assert_eq!(proxy(all, "{}").as_deref(), Some("all:1"));
        assert_eq!(proxy(all, "{proxy: 'socks5h://own'}").as_deref(), Some("own:1080"));
        for none in ["{proxy: ''}", "{proxy: null}", "{proxy: }"] {
            assert_eq!(proxy(all, none), None, "{none}");
            assert_eq!(proxy(none, "{}"), None, "{none}");
        }
    }

    #[test]
    fn no_connection_is_opened_without_a_proxy_that_was_meant() {
        let wrong = "{proxy: 'ftp://user:CANARY@h'}";
        for (top, own, place) in [
            ("{}", wrong, "providers[0].preferences.proxy: expected an address"),
            (wrong, "{}", "providers[0].preferences.proxy: there is none here"),
            (wrong, "{proxy: [CANARY]}", "providers[0].preferences.proxy: expected a text"),
            ("{}", "{proxy: '${UNSET}'}", "because the environment variable UNSET is not set; write null"),
            ("{proxy: '${EMPTY}'}", "{}", "because the environment variable EMPTY is; write null"),
        ] {
            let (config, said) = load(top, own);
            assert!(config.is_none() && said.contains(place) && !said.contains("CANARY"), "{said}");
        }
        let (config, said) = load(wrong, "{proxy: null}");
        assert!(config.is_some() && said.contains("preferences.proxy: expected an address"), "{said}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_when_it_is_named() {
        let (config, said) = load("{}", "{ca_file: /nowhere/ca.pem}");
        assert!(config.is_none() && said.contains("preferences.ca_file: the file cannot be read"), "{said}");
        let (config, said) = load("{ca_file: /nowhere/ca.pem}", "{}");
        assert!(config.is_none() && said.contains("and preferences.ca_file at the top is wrong"), "{said}");
        assert!(load("{ca_file: /nowhere/ca.pem}", "{ca_file: ''}").0.is_some());
    }
}

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

//! The `api_keys` become [`ClientKeys`]. An entry with a mistake is switched off: it must never
//! allow more than what was meant.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::by_model::ByModel;
use super::diagnostic::Report;
use super::expand::Unset;
use super::nested;
use super::path::KeyPath;
use super::preferences::{one_of, section};
use super::providers::empty_because;
use super::rate::RateLimit;
use super::raw::{API_KEY, API_KEY_PREFERENCES, RawApiKey, RawApiKeyPreferences};
use super::resolved::{Channel, ClientKey, ClientKeys, Retries, Schedule};
use super::rules::{self, Catalogue, Written};
use super::secret::Secret;
use super::typed::{FlagOrCount, Texts, Typed, kind};

pub(super) const OFF: &str = "this key is switched off";

/// The schedule of a key that does not name one.
const DEFAULT_SCHEDULE: Schedule = Schedule::RoundRobin;

/// The limit of a key that does not name one.
const DEFAULT_REQUESTS_PER_MINUTE: u32 = 60;

/// A key that is good by itself. Its rules may still name others that are not.
pub(super) struct Draft {
    /// Its entry.
    pub place: KeyPath,
    /// Everything but its number and its rules.
    pub key: ClientKey,
    /// Its rules; never empty.
    pub rules: Vec<Written>,
}

/// Resolves the list at `place`.
pub(super) fn resolve(
    entries: &[Value],
    place: &KeyPath,
    channels: &[Arc<Channel>],
    catalogue: &Catalogue,
    unset: &[Unset],
    report: &mut Report,
) -> ClientKeys {
    let written = written(entries, place);
    let mut first_place: HashMap<String, KeyPath> = HashMap::new();
    let mut drafts: Vec<Draft> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let at = place.index(index);
        // Counted in the file: a typo in one of two entries must not make the other one admin.
        let reader = Entry { is_only: entries.len() == 1, client_keys: &written, catalogue, unset };
        let Some(draft) = reader.resolve(entry, &at, report) else { continue };
        match first_place.get(draft.key.secret.expose()) {
            Some(first) => report.warning(&at.key("api"), format!("the same key as {first}; this entry is ignored")),
            None => {
                first_place.insert(draft.key.secret.expose().to_owned(), at);
                drafts.push(draft);
            }
        }
    }
    ClientKeys::new(nested::link(drafts, channels, report))
}

/// Every key of the file with its first entry, for recognising keys that are used as rules. Strict
/// reading comes later.
fn written(entries: &[Value], place: &KeyPath) -> HashMap<String, KeyPath> {
    let mut all = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let texts = entry.get("api").and_then(|api| Texts::deserialize(api).ok()).unwrap_or_default();
        for key in texts.0.iter().map(|text| text.trim()).filter(|key| !key.is_empty()) {
            all.entry(key.to_owned()).or_insert_with(|| place.index(index));
        }
    }
    all
}

/// What one entry needs to know of the others.
struct Entry<'a> {
    is_only: bool,
    client_keys: &'a HashMap<String, KeyPath>,
    catalogue: &'a Catalogue,
    unset: &'a [Unset],
}

impl Entry<'_> {
    fn resolve(&self, entry: &Value, place: &KeyPath, report: &mut Report) -> Option<Draft> {
        let mark = report.mark();
        if !entry.is_object() {
            report.error(place, format!("expected a mapping with api, found {}; {OFF}", kind(entry)));
            return None;
        }
        let raw = RawApiKey::deserialize(entry).unwrap_or_default();
        let preferences: RawApiKeyPreferences = section(&raw.preferences, place, report);
        API_KEY.check(&raw.others, place, report);
        let below = place.key("preferences");
        API_KEY_PREFERENCES.check(&preferences.others, &below, report);
        if raw.api.is_absent() {
            API_KEY.missing("api", &raw.others, place, report);
        }
        let secret = raw.api.take("api", place, report).and_then(|texts| secret(texts, place, self.unset, report));
        let role = raw.role.take("role", place, report).map(|text| text.0.to_lowercase()).unwrap_or_default();
        // A misread list of rules must not turn into "everything"; the error switches the key off.
        let pairs = raw.model.take("model", place, report).unwrap_or_default();
        let rules = rules::resolve(pairs, place, self.client_keys, self.catalogue, report);
        let schedule = one_of(preferences.schedule, "SCHEDULING_ALGORITHM", &Schedule::ALL, &below, report);
        let retries = match preferences.retries.take("AUTO_RETRY", &below, report) {
            None | Some(FlagOrCount::Flag(true)) => Retries::UntilExhausted,
            Some(FlagOrCount::Flag(false)) => Retries::AtMost(0),
            Some(FlagOrCount::Count(count)) => Retries::AtMost(count),
        };
        let rate_limit = rate_limit(preferences.rate_limit_in_capitals, preferences.rate_limit, &below, report);
        let is_moderated = preferences.moderation.take("ENABLE_MODERATION", &below, report).is_some_and(|flag| flag.0);
        if report.conclude(mark, OFF) {
            return None;
        }
        let secret = secret?;
        let key = ClientKey {
            id: 0,
            label: secret.label().into(),
            secret,
            is_admin: self.is_only || role.contains("admin"),
            rules: Vec::new(),
            schedule: schedule.unwrap_or(DEFAULT_SCHEDULE),
            retries,
            rate_limit,
            is_moderated,
        };
        Some(Draft { place: place.clone(), key, rules })
    }
}

fn rate_limit(
    in_capitals: Typed<ByModel<RateLimit>>,
    in_small: Typed<ByModel<RateLimit>>,
    place: &KeyPath,
    report: &mut Report,
) -> ByModel<RateLimit> {
    if !in_capitals.is_absent() && !in_small.is_absent() {
        report.warning(&place.key("RATE_LIMIT"), "rate_limit is there as well, and that one counts");
    }
    let in_capitals = in_capitals.take("RATE_LIMIT", place, report);
    let in_small = in_small.take("rate_limit", place, report);
    in_small.or(in_capitals).unwrap_or_else(|| ByModel::same(RateLimit::per_minute(DEFAULT_REQUESTS_PER_MINUTE)))
}

fn secret(Texts(texts): Texts, place: &KeyPath, unset: &[Unset], report: &mut Report) -> Option<Secret> {
    let at = place.key("api");
    let key = match texts.as_slice() {
        [] => "",
        [key] => key.trim(),
        _ => {
            report.error(&at, "expected one key; write one entry for each");
            return None;
        }
    };
    if key.is_empty() {
        report.error(&at, empty_because(&at, unset));
    } else if key == "sk-" {
        report.error(&at, "there is nothing behind \"sk-\"");
    } else if key.chars().any(|c| !matches!(c, '!'..='~')) {
        report.error(&at, "contains a character that no client can send, such as a space or a line break");
    } else {
        return Some(Secret::new(key));
    }
    None
}

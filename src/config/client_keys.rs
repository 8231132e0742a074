//! The `api_keys` become [`ClientKeys`]. An entry with a mistake is switched off: it must never
//! allow more than what was meant.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use super::diagnostic::Report;
use super::expand::Unset;
use super::path::KeyPath;
use super::providers::{empty_because, section};
use super::raw::{API_KEY, API_KEY_PREFERENCES, RawApiKey, RawApiKeyPreferences};
use super::resolved::{ClientKey, ClientKeys, Retries, Schedule};
use super::rules::{self, Catalogue};
use super::secret::Secret;
use super::suggest::{closest, quoted};
use super::typed::{FlagOrCount, Texts, Typed, kind};

const OFF: &str = "this key is switched off";

/// The schedule of a key that does not name one.
const DEFAULT_SCHEDULE: Schedule = Schedule::RoundRobin;

/// Every `SCHEDULING_ALGORITHM` and what stands in for those that are not available yet.
const SCHEDULES: [(&str, Schedule, bool); 5] = [
    ("fixed_priority", Schedule::FixedPriority, true),
    ("round_robin", Schedule::RoundRobin, true),
    ("weighted_round_robin", Schedule::RoundRobin, false),
    ("lottery", Schedule::RoundRobin, false),
    ("random", Schedule::RoundRobin, false),
];

/// Resolves the list at `place`.
pub(super) fn resolve(
    entries: &[Value],
    place: &KeyPath,
    catalogue: &Catalogue,
    unset: &[Unset],
    report: &mut Report,
) -> ClientKeys {
    // Strict reading comes later; this is only for recognising keys that are used as rules.
    let all: HashSet<String> = entries
        .iter()
        .filter_map(|entry| Texts::deserialize(entry.get("api")?).ok())
        .flat_map(|Texts(texts)| texts)
        .map(|text| text.trim().to_owned())
        .collect();
    let mut first_place: HashMap<String, KeyPath> = HashMap::new();
    let mut keys: Vec<ClientKey> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let at = place.index(index);
        // Counted in the file: a typo in one of two entries must not make the other one admin.
        let draft = Entry { is_only: entries.len() == 1, client_keys: &all, catalogue, unset };
        let Some(key) = draft.resolve(keys.len(), entry, &at, report) else { continue };
        match first_place.get(key.secret.expose()) {
            Some(first) => report.warning(&at.key("api"), format!("the same key as {first}; this entry is ignored")),
            None => {
                first_place.insert(key.secret.expose().to_owned(), at);
                keys.push(key);
            }
        }
    }
    ClientKeys::new(keys)
}

/// What one entry needs to know of the others.
struct Entry<'a> {
    is_only: bool,
    client_keys: &'a HashSet<String>,
    catalogue: &'a Catalogue,
    unset: &'a [Unset],
}

impl Entry<'_> {
    fn resolve(&self, id: usize, entry: &Value, place: &KeyPath, report: &mut Report) -> Option<ClientKey> {
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
        let schedule = schedule(&preferences, &below, report);
        let retries = match preferences.retries.take("AUTO_RETRY", &below, report) {
            None | Some(FlagOrCount::Flag(true)) => Retries::UntilExhausted,
            Some(FlagOrCount::Flag(false)) => Retries::AtMost(0),
            Some(FlagOrCount::Count(count)) => Retries::AtMost(count),
        };
        for (key, limit) in
            [("RATE_LIMIT", &preferences.rate_limit_in_capitals), ("rate_limit", &preferences.rate_limit)]
        {
            not_enforced(limit, key, &below, report);
        }
        if preferences.moderation.take("ENABLE_MODERATION", &below, report).is_some_and(|flag| flag.0) {
            report.warning(&below.key("ENABLE_MODERATION"), "not enforced yet: prompts are forwarded unchecked");
        }
        if report.conclude(mark, OFF) {
            return None;
        }
        let secret = secret?;
        let label = secret.label().into();
        Some(ClientKey {
            id,
            secret,
            label,
            is_admin: self.is_only || role.contains("admin"),
            rules,
            schedule,
            retries,
            rate_limit: Default::default(),
            is_moderated: false,
        })
    }
}

/// Warns if a rate limit is set.
pub(super) fn not_enforced(limit: &Typed<Value>, key: &str, place: &KeyPath, report: &mut Report) {
    if !limit.is_absent() {
        report.warning(&place.key(key), "not enforced yet: there is no limit");
    }
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

fn schedule(preferences: &RawApiKeyPreferences, place: &KeyPath, report: &mut Report) -> Schedule {
    let Some(text) = preferences.schedule.clone().take("SCHEDULING_ALGORITHM", place, report) else {
        return DEFAULT_SCHEDULE;
    };
    let at = place.key("SCHEDULING_ALGORITHM");
    let name = text.0.trim().to_lowercase();
    match SCHEDULES.iter().find(|(known, ..)| *known == name) {
        Some((_, schedule, true)) => *schedule,
        Some((_, stand_in, false)) => {
            report.warning(&at, format!("{name} is not available yet; uses round_robin for now"));
            *stand_in
        }
        None => {
            let names = SCHEDULES.map(|(name, ..)| name);
            let hint = closest(&name, names).map(|meant| format!(", did you mean {meant}?")).unwrap_or_default();
            report.error(&at, format!("unknown algorithm {}{hint} (there are {})", quoted(&name), names.join(", ")));
            DEFAULT_SCHEDULE
        }
    }
}

//! The whole document becomes a [`Config`].

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::by_model::ByModel;
use super::client_keys;
use super::diagnostic::Report;
use super::expand::Unset;
use super::path::KeyPath;
use super::preferences;
use super::providers::{self, Outcome, Surroundings};
use super::raw::{RawConfig, TOP};
use super::resolved::{ChannelId, Config, SwitchedOff, TimeLimits};
use super::rules::Catalogue;
use super::typed::kind;

/// The configuration, unless nothing could be done with it. Adds the providers that are not used to
/// `off`.
pub(super) fn resolve(
    document: &Value,
    unset: &[Unset],
    patience: Duration,
    off: &mut Vec<SwitchedOff>,
    report: &mut Report,
) -> Option<Config> {
    let top = KeyPath::default();
    if !document.is_object() {
        let found = kind(document);
        report.error(&top, format!("expected a mapping with the keys providers and api_keys, found {found}"));
        return None;
    }
    let raw = RawConfig::deserialize(document).unwrap_or_default();
    TOP.check(&raw.others, &top, report);
    for Unset { path, variable, .. } in unset.iter().filter(|unset| !unset.set_but_empty) {
        report.warning(path, format!("the environment variable {variable} is not set; nothing is put in its place"));
    }

    let preferences = preferences::resolve(&raw.preferences, &top, unset, report);
    let limits = TimeLimits::with_patience(patience);
    let around = Surroundings { unset, limits, for_channels: &preferences.for_channels };
    let place = top.key("providers");
    let mut channels = Vec::new();
    let mut catalogue = Catalogue::default();
    let providers = list(&raw.providers, "providers", "provider", &raw, report);
    for (index, entry) in providers.iter().flat_map(|entries| entries.iter()).enumerate() {
        let (place, mark) = (place.index(index), report.mark());
        match providers::resolve(entry, &place, ChannelId(channels.len()), &around, report) {
            Outcome::On(channel) => {
                catalogue.add(&channel);
                channels.push(channel);
            }
            Outcome::Off { name, aliases } => {
                let why = report.consequence_since(mark, providers::OFF).unwrap_or_default();
                off.push(SwitchedOff { name: name.clone().unwrap_or_else(|| place.to_string()), why });
                catalogue.add_off(name, aliases);
            }
        }
    }
    if providers.is_some() && channels.is_empty() {
        report.error(&place, "no usable provider is left, so the gateway cannot start");
    }

    let entries = list(&raw.api_keys, "api_keys", "api", &raw, report);
    let place = top.key("api_keys");
    let client_keys = client_keys::resolve(entries.unwrap_or_default(), &place, &channels, &catalogue, unset, report);
    if entries.is_some() && client_keys.is_empty() {
        report.error(&place, "no usable key is left, so nobody could use the gateway and it cannot start");
    }
    let of_channels = channels.iter().map(|channel| &channel.key_limit);
    let of_clients = client_keys.iter().map(|client| &client.rate_limit);
    let limits = of_channels.chain(of_clients).chain([&preferences.rate_limit]);
    let measures_prompts = limits.flat_map(ByModel::values).any(|limit| limit.tokens_per_request.is_some());
    let intervals = channels.iter().flat_map(|channel| &channel.keepalive_intervals);
    let keeps_alive = intervals.flat_map(ByModel::values).next().is_some();
    (!channels.is_empty() && !client_keys.is_empty()).then(|| Config {
        next_channel: channels.len(),
        next_client: client_keys.iter().count(),
        channels,
        client_keys,
        max_request_body_bytes: preferences.max_request_body_bytes,
        max_upload_bytes: preferences.max_upload_bytes,
        media_fetch: preferences.media_fetch,
        rate_limit: preferences.rate_limit,
        deadline: preferences.deadline,
        measures_prompts,
        keeps_alive,
        passes_unmoderated: preferences.passes_unmoderated,
        metrics_are_public: preferences.metrics_are_public,
        stats: preferences.stats,
        trusted_proxies: preferences.trusted_proxies,
        connections: preferences.connections,
    })
}

/// The entries of a list at the top.
fn list<'a>(
    value: &'a Value,
    key: &'static str,
    first: &str,
    raw: &RawConfig,
    report: &mut Report,
) -> Option<&'a [Value]> {
    let top = KeyPath::default();
    match value {
        Value::Array(entries) => return Some(entries),
        Value::Null => TOP.missing(key, &raw.others, &top, report),
        other => report.error(
            &top.key(key),
            format!("expected a list, each entry beginning with `- {first}:`, found {}", kind(other)),
        ),
    }
    None
}

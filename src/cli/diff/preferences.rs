//! How the gateway as a whole differs from what it was.

use crate::config::{Config, ConnectionLimits, MediaFetch, StatsSettings};

use super::details::{Details, by_model, displayed, or, span, yes_or_no};

/// The `preferences` that are different.
pub fn details(old: &Config, new: &Config) -> Vec<String> {
    // Without `..`, so that no setting to come is forgotten.
    let Config {
        channels: _,
        client_keys: _,
        max_request_body_bytes,
        max_upload_bytes,
        media_fetch,
        rate_limit,
        deadline,
        // Follows from limits.
        measures_prompts: _,
        keeps_alive: _,
        trusted_proxies,
        connections,
        passes_unmoderated,
        metrics_are_public,
        stats,
        next_channel: _,
        next_client: _,
    } = old;
    let mut details = Details::default();
    details.value("max_request_body_bytes", max_request_body_bytes, &new.max_request_body_bytes, displayed);
    details.value("max_upload_bytes", max_upload_bytes, &new.max_upload_bytes, displayed);
    details.value("media_fetch", media_fetch, &new.media_fetch, |fetch| name_of(*fetch).to_owned());
    details.value("rate_limit", rate_limit, &new.rate_limit, |limit| by_model(limit, displayed));
    details.value("deadline", deadline, &new.deadline, |deadline| or(deadline, "by model", span));
    details.items("trusted_proxies", trusted_proxies.networks(), new.trusted_proxies.networks(), displayed);
    let ConnectionLimits { max, header, idle, body, send } = connections;
    details.value("connections.max", max, &new.connections.max, displayed);
    details.value("connections.header_timeout", header, &new.connections.header, span);
    details.value("connections.idle_timeout", idle, &new.connections.idle, span);
    details.value("connections.body_timeout", body, &new.connections.body, span);
    details.value("connections.send_timeout", send, &new.connections.send, span);
    details.value("moderation_on_error", passes_unmoderated, &new.passes_unmoderated, |passes| {
        if *passes { "allow" } else { "refuse" }.to_owned()
    });
    details.value("metrics", metrics_are_public, &new.metrics_are_public, |is_public| {
        if *is_public { "public" } else { "admin" }.to_owned()
    });
    let StatsSettings { keeps_whole_keys, text_chars, retention_days } = stats;
    details.value("stats: whole keys", keeps_whole_keys, &new.stats.keeps_whole_keys, yes_or_no);
    details.value("stats.text", text_chars, &new.stats.text_chars, |chars| match *chars {
        usize::MAX => "full".to_owned(),
        chars => chars.to_string(),
    });
    details.value("stats.retention_days", retention_days, &new.stats.retention_days, |days| or(days, "off", displayed));
    details.told()
}

fn name_of(fetch: MediaFetch) -> &'static str {
    MediaFetch::ALL.iter().find(|(other, _)| *other == fetch).map_or("", |(_, name)| name)
}

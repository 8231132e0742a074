//! The `preferences` mapping at the top, and what it has in common with those of providers.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::by_model::ByModel;
use super::connections::{self, ConnectionLimits};
use super::diagnostic::Report;
use super::expand::Unset;
use super::headers::{self, Headers};
use super::outbound::{Authorities, Proxy, read_ca_file};
use super::path::KeyPath;
use super::proxies::{self, TrustedProxies};
use super::rate::RateLimit;
use super::raw::{BREAKER, PREFERENCES, RawBreaker, RawPreferences};
use super::resolved::{Breaker, MediaFetch};
use super::setting::Setting;
use super::stats::{self, StatsSettings};
use super::suggest::choice;
use super::typed::{Flag, Text, Typed, kind};

const DEFAULT_MAX_REQUEST_BODY_BYTES: usize = 32 << 20;
const DEFAULT_MAX_UPLOAD_BYTES: usize = 128 << 20;

/// The settings of the gateway as a whole, in the words of [`super::Config`].
pub(super) struct Preferences {
    pub max_request_body_bytes: usize,
    pub max_upload_bytes: usize,
    pub media_fetch: MediaFetch,
    pub rate_limit: ByModel<RateLimit>,
    pub deadline: Option<Duration>,
    pub passes_unmoderated: bool,
    pub metrics_are_public: bool,
    pub stats: StatsSettings,
    pub trusted_proxies: TrustedProxies,
    pub connections: ConnectionLimits,
    pub for_channels: ForChannels,
}

/// What holds for channels that do not say it themselves.
pub(super) struct ForChannels {
    pub model_timeout: ByModel<Duration>,
    pub keepalive_interval: ByModel<Duration>,
    pub cooldown: Duration,
    pub breaker: Option<Breaker>,
    pub proxy: Setting<Proxy>,
    pub ca_file: Setting<Authorities>,
    pub headers: Headers,
}

/// Resolves the mapping behind `preferences` in the mapping at `place`, which is the whole file.
pub(super) fn resolve(value: &Value, place: &KeyPath, unset: &[Unset], report: &mut Report) -> Preferences {
    let raw: RawPreferences = section(value, place, report);
    let place = &place.key("preferences");
    PREFERENCES.check(&raw.others, place, report);
    let max_request_body_bytes = raw
        .max_request_body_bytes
        .take("max_request_body_bytes", place, report)
        .map_or(DEFAULT_MAX_REQUEST_BODY_BYTES, |size| size.0);
    Preferences {
        max_request_body_bytes,
        max_upload_bytes: raw
            .max_upload_bytes
            .take("max_upload_bytes", place, report)
            .map_or(DEFAULT_MAX_UPLOAD_BYTES, |size| size.0)
            .max(max_request_body_bytes),
        media_fetch: media_fetch(raw.media_fetch, place, report),
        rate_limit: or_else("there is no limit for all clients together", report, |report| {
            raw.rate_limit.take("rate_limit", place, report).unwrap_or_default()
        }),
        deadline: or_default(report, |report| raw.deadline.take("deadline", place, report).map(|time| time.0)),
        passes_unmoderated: or_else("prompts that cannot be moderated are refused", report, |report| {
            passes_unmoderated(raw.moderation_on_error, place, report)
        }),
        metrics_are_public: or_else("only admins may read them", report, |report| {
            metrics_are_public(raw.metrics, place, report)
        }),
        stats: stats::resolve(&raw.stats, place, report),
        trusted_proxies: or_else("it is not trusted", report, |report| {
            proxies::resolve(raw.trusted_proxies, place, report)
        }),
        connections: connections::resolve(&raw.connections, place, report),
        for_channels: ForChannels {
            model_timeout: or_default(report, |report| {
                raw.model_timeout.take("model_timeout", place, report).unwrap_or_default().map(|time| time.0)
            }),
            keepalive_interval: or_else("no comments are sent", report, |report| {
                raw.keepalive_interval.take("keepalive_interval", place, report).unwrap_or_default().map(|time| time.0)
            }),
            cooldown: or_default(report, |report| {
                raw.cooldown_period.take("cooldown_period", place, report).map_or(Duration::ZERO, |time| time.0)
            }),
            breaker: or_default(report, |report| breaker(&raw.breaker, place, report))
                .unwrap_or_else(|| Some(Breaker::default())),
            proxy: or_else("no provider is used that has none of its own", report, |report| {
                Setting::read(&raw.proxy, (place, "proxy"), unset, report, Proxy::parse)
            }),
            ca_file: or_else("no provider is used that has none of its own", report, |report| {
                Setting::read(&raw.ca_file, (place, "ca_file"), unset, report, read_ca_file)
            }),
            headers: or_else("this header is not sent", report, |report| {
                headers::resolve(&raw.headers, place, unset, report)
            }),
        },
    }
}

/// Reads a setting whose mistakes have this consequence.
pub(super) fn or_else<T>(consequence: &str, report: &mut Report, read: impl FnOnce(&mut Report) -> T) -> T {
    let mark = report.mark();
    let value = read(report);
    report.conclude(mark, consequence);
    value
}

fn or_default<T>(report: &mut Report, read: impl FnOnce(&mut Report) -> T) -> T {
    or_else("the default is used", report, read)
}

/// A `preferences` mapping in the mapping at `place`; anything else is an error, except nothing at all.
pub(super) fn section<T: serde::de::DeserializeOwned + Default>(
    value: &Value,
    place: &KeyPath,
    report: &mut Report,
) -> T {
    match value {
        Value::Null => T::default(),
        Value::Object(_) => T::deserialize(value).unwrap_or_default(),
        other => {
            report.error(&place.key("preferences"), format!("expected a mapping, found {}", kind(other)));
            T::default()
        }
    }
}

/// `breaker` in the preferences at `place`: nothing is written, it is off, or it is like this.
pub(super) fn breaker(value: &Value, place: &KeyPath, report: &mut Report) -> Option<Option<Breaker>> {
    let place = place.key("breaker");
    let mut breaker = Breaker::default();
    match value {
        Value::Null => None,
        Value::Object(_) => {
            let raw = RawBreaker::deserialize(value).unwrap_or_default();
            BREAKER.check(&raw.others, &place, report);
            if let Some(failures) = raw.failures.take("failures", &place, report) {
                breaker.failures = failures.0;
            }
            if let Some(open) = raw.open.take("open", &place, report) {
                breaker.open = open.0;
            }
            Some(Some(breaker))
        }
        other => match Flag::deserialize(other) {
            Ok(Flag(is_on)) => Some(is_on.then_some(breaker)),
            Err(_) => {
                report.error(&place, "expected on, off, or a mapping with failures and open");
                None
            }
        },
    }
}

/// What is fetched. A mistake must not open more than was meant, so nothing is.
fn media_fetch(written: Typed<Text>, place: &KeyPath, report: &mut Report) -> MediaFetch {
    if written.is_absent() {
        return MediaFetch::Public;
    }
    or_else("nothing is fetched", report, |report| {
        one_of(written, "media_fetch", &MediaFetch::ALL, place, report).unwrap_or(MediaFetch::Deny)
    })
}

/// `moderation_on_error`. A mistake must not let through what should be checked.
fn passes_unmoderated(written: Typed<Text>, place: &KeyPath, report: &mut Report) -> bool {
    one_of(written, "moderation_on_error", &[(false, "refuse"), (true, "allow")], place, report).unwrap_or(false)
}

/// `metrics`. A mistake must not show them to more people than was meant.
fn metrics_are_public(written: Typed<Text>, place: &KeyPath, report: &mut Report) -> bool {
    one_of(written, "metrics", &[(false, "admin"), (true, "public")], place, report).unwrap_or(false)
}

/// One of several words; any other is reported.
pub(super) fn one_of<T: Copy>(
    written: Typed<Text>,
    key: &str,
    all: &[(T, &'static str)],
    place: &KeyPath,
    report: &mut Report,
) -> Option<T> {
    let Text(text) = written.take(key, place, report)?;
    choice(&text, all).map_err(|message| report.error(&place.key(key), message)).ok()
}

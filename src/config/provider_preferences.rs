//! The `preferences` of one entry of `providers`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::by_model::ByModel;
use super::diagnostic::Report;
use super::expand::Unset;
use super::headers;
use super::outbound::{Outbound, Proxy, read_ca_file};
use super::overrides::{self, Overrides};
use super::path::KeyPath;
use super::preferences::{ForChannels, breaker, one_of, section};
use super::rate::RateLimit;
use super::raw::{PROVIDER_PREFERENCES, RawProviderPreferences};
use super::resolved::{Breaker, KeySchedule, ModelSource, Rests};
use super::seconds::Seconds;
use super::secret::Secret;
use super::setting::Setting;
use super::typed::{Text, Typed};

/// How a channel is used, in the words of [`super::Channel`].
pub(super) struct Preferences {
    pub stream_usage: bool,
    pub model_timeouts: [ByModel<Duration>; 2],
    pub keepalive_intervals: [ByModel<Duration>; 2],
    pub key_schedule: KeySchedule,
    pub key_limit: ByModel<RateLimit>,
    pub rests: Rests,
    pub breaker: Option<Breaker>,
    pub outbound: Outbound,
    pub headers: Vec<(Arc<str>, Secret)>,
    pub overrides: Overrides,
}

/// Resolves the mapping behind `preferences` of the provider at `place`, which has these models. What
/// it leaves out is as it is for all channels.
pub(super) fn resolve(
    (value, models): (&Value, &ModelSource),
    place: &KeyPath,
    all: &ForChannels,
    unset: &[Unset],
    report: &mut Report,
) -> Preferences {
    let raw: RawProviderPreferences = section(value, place, report);
    let place = &place.key("preferences");
    PROVIDER_PREFERENCES.check(&raw.others, place, report);
    let mut time = |written: Typed<Seconds>, key: &str| written.take(key, place, report).map(|time| time.0);
    let rests = Rests {
        channel: time(raw.cooldown_period, "cooldown_period").unwrap_or(all.cooldown),
        key: time(raw.api_key_cooldown_period, "api_key_cooldown_period"),
        limited_key: time(raw.api_key_rate_limit_cooldown_period, "api_key_rate_limit_cooldown_period"),
        spent_key: time(raw.api_key_quota_cooldown_period, "api_key_quota_cooldown_period"),
    };
    let proxy = Setting::read(&raw.proxy, (place, "proxy"), unset, report, Proxy::parse);
    let ca_file = Setting::read(&raw.ca_file, (place, "ca_file"), unset, report, read_ca_file);
    let outbound = Outbound {
        proxy: proxy.over(&all.proxy, (place, "proxy"), report),
        authorities: ca_file.over(&all.ca_file, (place, "ca_file"), report).unwrap_or_default(),
        http2: raw.http2.take("http2", place, report).is_some_and(|flag| flag.0),
    };
    let model_timeout = raw.model_timeout.take("model_timeout", place, report).unwrap_or_default();
    let keepalive_interval = raw.keepalive_interval.take("keepalive_interval", place, report).unwrap_or_default();
    Preferences {
        stream_usage: raw.stream_usage.take("stream_usage", place, report).is_none_or(|flag| flag.0),
        model_timeouts: [model_timeout.map(|time| time.0), all.model_timeout.clone()],
        keepalive_intervals: [keepalive_interval.map(|time| time.0), all.keepalive_interval.clone()],
        key_schedule: key_schedule(raw.api_key_schedule_algorithm, place, report),
        key_limit: raw.api_key_rate_limit.take("api_key_rate_limit", place, report).unwrap_or_default(),
        rests,
        breaker: breaker(&raw.breaker, place, report).unwrap_or(all.breaker),
        outbound,
        headers: headers::over(headers::resolve(&raw.headers, place, unset, report), &all.headers),
        overrides: overrides::resolve(&raw.post_body_parameter_overrides, models, place, report),
    }
}

fn key_schedule(written: Typed<Text>, place: &KeyPath, report: &mut Report) -> KeySchedule {
    const KEY: &str = "api_key_schedule_algorithm";
    if let Typed::Is(Text(text)) = &written
        && text.trim().eq_ignore_ascii_case("smart_round_robin")
    {
        report.warning(&place.key(KEY), "smart_round_robin is not available; round_robin is used");
        return KeySchedule::RoundRobin;
    }
    one_of(written, KEY, &KeySchedule::ALL, place, report).unwrap_or_default()
}

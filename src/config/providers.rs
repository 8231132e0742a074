//! One entry of `providers` becomes a [`Channel`], or is switched off with a reason.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use url::Url;

use super::diagnostic::Report;
use super::expand::Unset;
use super::infer::{Inferred, Signs, engine_names, infer};
use super::path::KeyPath;
use super::preferences::ForChannels;
use super::raw::{Others, PROVIDER, RawProvider};
use super::resolved::{Channel, ChannelId, Dialect, ModelName, ModelSource, TimeLimits};
use super::secret::Secret;
use super::suggest::{did_you_mean, quoted};
use super::typed::{Pairs, Texts, Typed, kind};
use super::{cloudflare, provider_preferences, vertex};

/// What follows from a mistake.
pub(super) const OFF: &str = "this provider is switched off";

/// What one entry came to.
pub(super) enum Outcome {
    /// A channel.
    On(Arc<Channel>),
    /// Not used. What is known of it helps to explain the rules that name it.
    Off {
        /// Its name, if it has one.
        name: Option<String>,
        /// The aliases that it would have offered.
        aliases: Vec<Arc<str>>,
    },
}

/// What all entries have in common.
pub(super) struct Surroundings<'a> {
    pub unset: &'a [Unset],
    pub limits: TimeLimits,
    pub for_channels: &'a ForChannels,
}

/// Resolves the entry at `place`.
pub(super) fn resolve(
    entry: &Value,
    place: &KeyPath,
    id: ChannelId,
    around: &Surroundings,
    report: &mut Report,
) -> Outcome {
    let mark = report.mark();
    if !entry.is_object() {
        report
            .error(place, format!("expected a mapping with provider, base_url and api, found {}; {OFF}", kind(entry)));
        return Outcome::Off { name: None, aliases: Vec::new() };
    }
    let raw = RawProvider::deserialize_from(entry);
    PROVIDER.check(&raw.others, place, report);
    let name = name(&raw, place, report);
    let (dialect, base_url) = address(&raw, place, around.unset, report);
    let vertex = match dialect {
        Some(Dialect::Vertex) => vertex::resolve(&raw, base_url.as_ref(), place, around.unset, report),
        _ => None,
    };
    let keys = match dialect {
        Some(Dialect::Vertex) => Vec::new(),
        _ => keys(raw.api, &raw.others, place, around.unset, report),
    };
    let models = raw.model.take("model", place, report).map(|pairs| models(pairs, place, report)).unwrap_or_default();
    let models = if models.is_empty() { ModelSource::Discovered } else { ModelSource::Listed(models) };
    let tools = raw.tools.take("tools", place, report).is_none_or(|flag| flag.0);
    let preferences = (&raw.preferences, &models);
    let preferences = provider_preferences::resolve(preferences, place, around.for_channels, around.unset, report);

    if preferences.outbound.http2 && base_url.as_ref().is_some_and(|url| url.scheme() == "http") {
        let at = place.key("preferences").key("http2");
        report.warning(&at, "HTTP/2 is spoken to https:// addresses only; HTTP/1.1 is used");
    }

    let is_broken = report.conclude(mark, OFF);
    match (name, dialect, base_url) {
        (Some(name), Some(dialect), Some(base_url)) if !is_broken => Outcome::On(Arc::new(Channel {
            id,
            name: name.into(),
            dialect,
            base_url,
            keys,
            models,
            tools,
            stream_usage: preferences.stream_usage,
            limits: around.limits,
            model_timeouts: preferences.model_timeouts,
            keepalive_intervals: preferences.keepalive_intervals,
            key_schedule: preferences.key_schedule,
            key_limit: preferences.key_limit,
            rests: preferences.rests,
            breaker: preferences.breaker,
            outbound: Arc::new(preferences.outbound),
            headers: preferences.headers,
            overrides: preferences.overrides,
            vertex: vertex.map(Box::new),
        })),
        (name, ..) => {
            let models = if let ModelSource::Listed(models) = models { models } else { Vec::new() };
            Outcome::Off { name, aliases: models.into_iter().map(|model| model.alias).collect() }
        }
    }
}

impl RawProvider {
    /// Never fails: every field keeps its own mistake.
    fn deserialize_from(entry: &Value) -> Self {
        serde::Deserialize::deserialize(entry).unwrap_or_default()
    }
}

fn name(raw: &RawProvider, place: &KeyPath, report: &mut Report) -> Option<String> {
    if raw.provider.is_absent() {
        PROVIDER.missing("provider", &raw.others, place, report);
    }
    let name = raw.provider.clone().take("provider", place, report)?.0.trim().to_owned();
    if name.is_empty() {
        report.error(&place.key("provider"), "the name is empty");
        return None;
    }
    if name.contains('/') {
        report.warning(
            &place.key("provider"),
            "rules end a provider name at the first slash and will never find this one",
        );
    }
    Some(name)
}

/// The dialect and where to send requests.
fn address(raw: &RawProvider, place: &KeyPath, unset: &[Unset], report: &mut Report) -> (Option<Dialect>, Option<Url>) {
    let engine = raw.engine.clone().take("engine", place, report);
    let written = raw.base_url.clone().take("base_url", place, report);
    let url = written.as_ref().and_then(|text| {
        match parse_url(text.0.trim(), "https://api.openai.com/v1/chat/completions") {
            Ok(url) => {
                if !url.username().is_empty() || url.password().is_some() {
                    report.warning(
                        &place.key("base_url"),
                        "user and password in it are not sent; a key belongs under api".to_owned(),
                    );
                }
                Some(url)
            }
            Err(message) => {
                report.error(&place.key("base_url"), message);
                None
            }
        }
    });
    let of_an_account = [raw.project_id.is_absent(), raw.private_key.is_absent()].map(|is_absent| !is_absent);
    let dialect = infer(&Signs {
        engine: engine.as_ref().map(|text| text.0.as_str()),
        base_url: url.as_ref(),
        // Half of it says enough where nothing else says anything.
        has_service_account: of_an_account == [true; 2] || (raw.base_url.is_absent() && of_an_account.contains(&true)),
        has_cloudflare_account: !raw.cf_account_id.is_absent(),
    });
    let dialect = match dialect {
        Inferred::Dialect(dialect) => dialect,
        Inferred::Foreign(name) => {
            report.warning(place, format!("speaks {name}, which is not available; {OFF}"));
            return (None, url);
        }
        Inferred::Unknown => {
            let engine = engine.map(|text| text.0).unwrap_or_default();
            let hint = did_you_mean(&engine, engine_names());
            let names: Vec<_> = Dialect::ALL.iter().map(|(_, name)| *name).collect();
            report.error(
                &place.key("engine"),
                format!("unknown engine {}{hint} (there are {})", quoted(&engine), names.join(", ")),
            );
            return (None, url);
        }
    };
    let url = match dialect {
        Dialect::Vertex if raw.base_url.is_absent() => vertex::default_base_url(),
        Dialect::Cloudflare => cloudflare::base_url(raw, url, place, unset, report),
        _ => {
            if raw.base_url.is_absent() {
                PROVIDER.missing("base_url", &raw.others, place, report);
            }
            url
        }
    };
    (Some(dialect), url)
}

/// A full address; what to tell the user when it is none. `example` is a good one.
pub(super) fn parse_url(text: &str, example: &str) -> Result<Url, String> {
    let expected = format!("expected a full address such as {example}");
    if text.is_empty() {
        return Err(format!("is empty; {expected}"));
    }
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty()) => {
            Ok(url)
        }
        // `api.openai.com:443/v1` reads as a scheme, too, hence not only the errors.
        _ => Err(match without_scheme(text) {
            Some(url) => format!("{expected}; did you mean {url}?"),
            None => expected,
        }),
    }
}

/// The address with `https://` in front, if that makes one. Only host and path are shown.
fn without_scheme(text: &str) -> Option<String> {
    if text.contains("://") {
        return None;
    }
    let url = Url::parse(&format!("https://{}", text.trim_start_matches('/'))).ok()?;
    let host = url.host_str()?;
    let is_local = host == "localhost" || url.port().is_some();
    let plausible = is_local || (host.contains('.') && super::suggest::shown(text) == text);
    let scheme = if is_local { "http" } else { "https" };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    (plausible && url.username().is_empty()).then(|| format!("{scheme}://{host}{port}{}", url.path()))
}

fn keys(api: Typed<Texts>, others: &Others, place: &KeyPath, unset: &[Unset], report: &mut Report) -> Vec<Secret> {
    if api.is_absent() {
        // No key is fine for many local upstreams, but not when one was clearly meant.
        if others.keys().any(|other| PROVIDER.meant_by(other) == Some("api")) {
            PROVIDER.missing("api", others, place, report);
        }
        return Vec::new();
    }
    let Some(Texts(texts)) = api.take("api", place, report) else { return Vec::new() };
    let at = place.key("api");
    let written = texts.len();
    let keys: Vec<&str> = texts.iter().map(|key| key.trim()).filter(|key| !key.is_empty()).collect();
    if keys.len() < written || written == 0 {
        let reason = empty_because(&at, unset);
        if keys.is_empty() {
            report.error(&at, format!("{reason}; leave `api` out if the upstream wants no key"));
        } else {
            report.warning(&at, format!("{reason}; the other keys are used"));
        }
    }
    if keys.iter().any(|key| key.chars().any(|c| !matches!(c, ' '..='~'))) {
        report.error(
            &at,
            "a key contains characters that cannot be sent, such as a line break or a letter with an accent",
        );
    }
    keys.into_iter().map(Secret::new).collect()
}

/// Why a value at or below `place` is empty.
pub(super) fn empty_because(place: &KeyPath, unset: &[Unset]) -> String {
    match unset.iter().find(|unset| unset.path.steps().starts_with(place.steps())) {
        Some(Unset { variable, set_but_empty: true, .. }) => {
            format!("is empty, because the environment variable {variable} is")
        }
        Some(Unset { variable, .. }) => format!("is empty, because the environment variable {variable} is not set"),
        None => "is empty".to_owned(),
    }
}

fn models(Pairs(pairs): Pairs, place: &KeyPath, report: &mut Report) -> Vec<ModelName> {
    let place = place.key("model");
    let mut models: Vec<ModelName> = Vec::new();
    let mut position_of: HashMap<Arc<str>, usize> = HashMap::new();
    for pair in pairs {
        let at = place.join(&pair.below);
        let upstream: Arc<str> = pair.name.trim().into();
        let alias: Arc<str> = pair.value.as_deref().map_or_else(|| Arc::clone(&upstream), |alias| alias.trim().into());
        if upstream.is_empty() || alias.is_empty() {
            report.error(&at, "a model name is empty");
            continue;
        }
        let model = ModelName { alias: Arc::clone(&alias), upstream };
        match position_of.get(&alias).and_then(|position| models.get_mut(*position)) {
            Some(earlier) => {
                if *earlier != model {
                    report
                        .warning(&at, format!("{} was given to another model above; this one counts", quoted(&alias)));
                }
                *earlier = model;
            }
            None => {
                position_of.insert(alias, models.len());
                models.push(model);
            }
        }
    }
    models
}

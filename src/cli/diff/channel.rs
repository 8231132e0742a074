//! How a channel differs from what it was.

use crate::config::{
    Breaker, Channel, ModelName, ModelSource, Outbound, Overrides, Patch, Proxy, Rests, Secret, Vertex,
    without_credentials,
};

use super::details::{Details, by_model, displayed, or, span, yes_or_no};

/// Its settings that are different, by their names in the file.
pub fn details(old: &Channel, new: &Channel) -> Vec<String> {
    // Without `..`, so that no setting to come is forgotten.
    let Channel {
        id: _,
        name: _,
        dialect,
        base_url,
        keys,
        models: _,
        tools,
        stream_usage,
        limits,
        model_timeouts,
        keepalive_intervals,
        key_schedule,
        key_limit,
        rests,
        breaker,
        outbound,
        headers,
        overrides,
        vertex,
    } = old;
    let mut details = Details::default();
    details.value("engine", dialect, &new.dialect, |dialect| dialect.name().to_owned());
    details.value("base_url", base_url, &new.base_url, without_credentials);
    details.items("api", keys, &new.keys, Secret::label);
    models(&mut details, old, new);
    details.value("tools", tools, &new.tools, yes_or_no);
    details.value("stream_usage", stream_usage, &new.stream_usage, yes_or_no);
    details.value("time limits", limits, &new.limits, |limits| span(&limits.first_event));
    let names = ["model_timeout", "model_timeout at the top"];
    for ((old, new), name) in model_timeouts.iter().zip(&new.model_timeouts).zip(names) {
        details.value(name, old, new, |timeouts| by_model(timeouts, span));
    }
    let names = ["keepalive_interval", "keepalive_interval at the top"];
    for ((old, new), name) in keepalive_intervals.iter().zip(&new.keepalive_intervals).zip(names) {
        details.value(name, old, new, |intervals| by_model(intervals, span));
    }
    details.value("api_key_schedule_algorithm", key_schedule, &new.key_schedule, |schedule| schedule.name().to_owned());
    details.value("api_key_rate_limit", key_limit, &new.key_limit, |limit| by_model(limit, displayed));
    cool_downs(&mut details, rests, &new.rests);
    details.value("breaker", breaker, &new.breaker, |breaker| {
        or(breaker, "off", |Breaker { failures, open }| format!("{failures} failures, {}", span(open)))
    });
    let Outbound { proxy, authorities, http2 } = &**outbound;
    details.value("proxy", proxy, &new.outbound.proxy, |proxy| or(proxy, "none", shown_proxy));
    details.value("ca_file", authorities, &new.outbound.authorities, |all| format!("{} certificates", all.len()));
    details.value("http2", http2, &new.outbound.http2, yes_or_no);
    details.value("headers", headers, &new.headers, |headers| {
        listed(headers.iter().map(|(name, _)| name.to_string()).collect())
    });
    details.value("post_body_parameter_overrides", overrides, &new.overrides, shown_overrides);
    details.value("service account", vertex, &new.vertex, |vertex| or(vertex, "none", |vertex| shown_vertex(vertex)));
    details.told()
}

fn models(details: &mut Details, old: &Channel, new: &Channel) {
    let name = |model: &ModelName| match model.upstream == model.alias {
        true => model.alias.to_string(),
        false => format!("{} -> {}", model.upstream, model.alias),
    };
    match (&old.models, &new.models) {
        (ModelSource::Listed(old), ModelSource::Listed(new)) => details.items("model", old, new, name),
        (old, new) => details.value("model", old, new, |models| match models {
            ModelSource::Listed(models) => models.iter().map(name).collect::<Vec<_>>().join(", "),
            ModelSource::Discovered => "(asked for at the upstream)".to_owned(),
        }),
    }
}

fn cool_downs(details: &mut Details, old: &Rests, new: &Rests) {
    let Rests { channel, key, limited_key, spent_key } = old;
    details.value("cooldown_period", channel, &new.channel, span);
    for (name, old, new) in [
        ("api_key_cooldown_period", key, &new.key),
        ("api_key_rate_limit_cooldown_period", limited_key, &new.limited_key),
        ("api_key_quota_cooldown_period", spent_key, &new.spent_key),
    ] {
        details.value(name, old, new, |rest| or(rest, "by failure", span));
    }
}

fn shown_proxy(proxy: &Proxy) -> String {
    format!("{} proxy {proxy}", proxy.protocol.name())
}

/// Which fields are changed, without what is put there.
fn shown_overrides(Overrides { all, by_model }: &Overrides) -> String {
    let fields = |Patch { set, remove }: &Patch| {
        let removed = remove.iter().map(|name| format!("without {name}"));
        set.keys().cloned().chain(removed).collect::<Vec<_>>()
    };
    let of_models = by_model.iter().map(|(model, patch)| format!("{model}: {{{}}}", listed(fields(patch))));
    listed(fields(all).into_iter().chain(of_models).collect())
}

fn listed(names: Vec<String>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn shown_vertex(Vertex { account, regions }: &Vertex) -> String {
    let regions = if regions.is_empty() { "as the model has them".to_owned() } else { regions.join(", ") };
    format!("{}, project {}, regions {regions}", account.client_email, account.project_id)
}

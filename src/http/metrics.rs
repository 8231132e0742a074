//! `GET /metrics`: counts and times for Prometheus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::actors::Control;
use crate::canon::{Failure, FailureKind};
use crate::config::{Channel, ModelSource};
use crate::metrics::{self, Kind, Text};

use super::errors::error_response;
use super::{Gateway, auth};

/// Tells all metrics to admins, or to anybody if the configuration says so.
pub async fn metrics(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let config = gateway.config();
    if !config.metrics_are_public
        && let Err(failure) = auth::admin(&config.client_keys, request.headers())
    {
        return error_response(&failure);
    }
    // Files are read for it, and there may be thousands of lines.
    match web::block(move || exposition(&gateway)).await {
        Ok(text) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, metrics::CONTENT_TYPE))
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(text),
        Err(_) => {
            error_response(&Failure::new(FailureKind::Internal, "the metrics could not be written; the log says why"))
        }
    }
}

fn exposition(gateway: &Gateway) -> String {
    let mut text = Text::default();
    text.family("build_info", Kind::Gauge, "The version that runs.");
    text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    gateway.relay.control.metrics().write(&mut text);
    write_configuration(&gateway.relay.control, &mut text);
    write_channels(&gateway.relay.control, &mut text);
    let stats = &gateway.relay.stats;
    text.family("statistics_queued_rows", Kind::Gauge, "Rows that are not in the database yet.");
    text.sample(&[], stats.queued());
    text.family("statistics_dropped_rows_total", Kind::Counter, "Rows that will never be in the database.");
    text.sample(&[], stats.dropped());
    text.finish()
}

/// How the configuration in force stands to its source.
fn write_configuration(control: &Control, text: &mut Text) {
    let standing = control.standing();
    text.family("config_is_current", Kind::Gauge, "0 if there is a newer configuration that cannot be used, else 1.");
    text.sample(&[], u8::from(standing.trouble.is_none()));
    let loaded_at = standing.loaded_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    text.family("config_loaded_timestamp_seconds", Kind::Gauge, "When it was put in force, in seconds since 1970.");
    text.sample(&[], loaded_at.as_secs_f64());
}

/// How the channels are doing now. Several of them may share a name, and are one here.
#[derive(Default)]
struct Live {
    in_flight: u64,
    resting: usize,
}

fn write_channels(control: &Control, text: &mut Text) {
    let (config, now) = (control.config(), control.now());
    let mut providers = BTreeMap::<&str, Live>::new();
    let mut rests = BTreeMap::new();
    for channel in &config.channels {
        let live = providers.entry(&channel.name).or_default();
        let Some(health) = control.health().get(&channel.id).map(|health| Arc::clone(&health)) else { continue };
        live.in_flight += health.in_flight();
        for resting in health.resting(now) {
            live.resting += 1;
            for alias in aliases(channel, &resting.model) {
                let rest = rests.entry((&*channel.name, alias)).or_insert(now);
                *rest = resting.until.max(*rest);
            }
        }
    }
    text.family("attempts_in_flight", Kind::Gauge, "Attempts that are under way, as of a second ago at most.");
    for (provider, live) in &providers {
        text.sample(&[("provider", provider)], live.in_flight);
    }
    text.family("resting_models", Kind::Gauge, "Models that keep failing, or cool down, and are passed over.");
    for (provider, live) in &providers {
        text.sample(&[("provider", provider)], live.resting);
    }
    text.family(
        "model_rest_seconds",
        Kind::Gauge,
        "For how long a model still rests; listed ones that rest, no others.",
    );
    for ((provider, model), until) in rests {
        text.sample(&[("provider", provider), ("model", model)], until.saturating_sub(now).as_secs_f64());
    }
}

/// What clients call a model, as far as the configuration says it.
fn aliases<'a>(channel: &'a Channel, upstream_model: &str) -> Vec<&'a str> {
    let ModelSource::Listed(models) = &channel.models else { return Vec::new() };
    models.iter().filter(|model| *model.upstream == *upstream_model).map(|model| &*model.alias).collect()
}

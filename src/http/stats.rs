//! `GET /stats`: statistics for admins, and the page that shows them.

use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, HeaderValue, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use crate::canon::{Failure, FailureKind};
use crate::stats::Report;

use super::errors::error_response;
use super::{Gateway, auth, page};

const DEFAULT_HOURS: u16 = 24;
const MAX_HOURS: u16 = 720;

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a Report,
    live: Live,
}

/// What there is without a database.
#[derive(Serialize)]
struct Disabled {
    stats: Nothing,
    database: &'static str,
    message: &'static str,
    live: Live,
}

#[derive(Serialize)]
struct Nothing {}

/// What is known without the database.
#[derive(Serialize)]
struct Live {
    version: &'static str,
    uptime_s: u64,
    queued_rows: usize,
    dropped_rows: u64,
    channels: Vec<Channel>,
}

/// A channel since the start.
#[derive(Serialize)]
struct Channel {
    provider: String,
    in_flight: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    resting: Vec<RestingModel>,
}

#[derive(Serialize)]
struct RestingModel {
    model: String,
    for_ms: u128,
}

/// Gives browsers the page, and admins the figures of the last hours.
pub async fn stats(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let mut response = if page::is_wanted(&request) {
        page::page()
    } else {
        figures(&request, &gateway).await.unwrap_or_else(|failure| error_response(&failure))
    };
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn figures(request: &HttpRequest, gateway: &Gateway) -> Result<HttpResponse, Failure> {
    auth::admin(&gateway.config().client_keys, request.headers())?;
    let hours = hours(request.query_string())?;
    let report = gateway.reports.last(hours).await?;
    let live = Live::of(gateway);
    Ok(match report {
        Some(report) => HttpResponse::Ok().json(Document { report: &report, live }),
        None => HttpResponse::Ok().json(Disabled {
            stats: Nothing {},
            database: "disabled",
            message: "statistics are switched off (DISABLE_DATABASE)",
            live,
        }),
    })
}

fn hours(query: &str) -> Result<u16, Failure> {
    let given = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "hours").last();
    let Some((_, given)) = given else { return Ok(DEFAULT_HOURS) };
    let hours = given.parse().ok().filter(|hours| (1..=MAX_HOURS).contains(hours));
    hours.ok_or_else(|| {
        let mut failure =
            Failure::new(FailureKind::InvalidRequest, format!("hours: expected a whole number from 1 to {MAX_HOURS}"));
        failure.param = Some("hours".into());
        failure
    })
}

impl Live {
    fn of(gateway: &Gateway) -> Self {
        let (control, stats) = (&gateway.relay.control, &gateway.relay.stats);
        let now = control.now();
        let channel = |channel: &Arc<crate::config::Channel>| {
            let health = control.health().get(&channel.id).map(|health| Arc::clone(&health)).unwrap_or_default();
            let resting = health.resting(now).into_iter();
            let resting = resting.map(|model| RestingModel {
                model: model.model.to_string(),
                for_ms: model.until.saturating_sub(now).as_millis(),
            });
            Channel {
                provider: channel.name.to_string(),
                in_flight: health.in_flight(),
                succeeded: health.succeeded(),
                failed: health.failed(),
                cancelled: health.cancelled(),
                resting: resting.collect(),
            }
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: now.as_secs(),
            queued_rows: stats.queued(),
            dropped_rows: stats.dropped(),
            channels: gateway.config().channels.iter().map(channel).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_those_of_a_month_at_most() {
        for (query, expected) in [("", 24), ("hours=1", 1), ("x=1&hours=720", 720), ("hours=2&hours=3", 3)] {
            assert_eq!(hours(query).unwrap(), expected, "{query}");
        }
        for query in ["hours=0", "hours=721", "hours=-1", "hours=", "hours=1.5", "hours=x", "hours=99999999999"] {
            let failure = hours(query).unwrap_err();
            assert_eq!((failure.status(), failure.param.as_deref()), (400, Some("hours")), "{query}");
        }
    }
}

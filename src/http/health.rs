//! `GET /healthz`, without a key.

use std::time::SystemTime;

use actix_web::{HttpResponse, web};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::actors::{Standing, Trouble};

use super::Gateway;

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    version: &'static str,
    config: Configuration<'a>,
}

#[derive(Serialize)]
struct Configuration<'a> {
    status: &'static str,
    loaded_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> From<&'a Standing> for Configuration<'a> {
    fn from(standing: &'a Standing) -> Self {
        let (status, error) = match &standing.trouble {
            None => ("ok", None),
            Some(Trouble::Refused(why)) => ("refused", Some(why.as_str())),
            Some(Trouble::Unreadable(why)) => ("unreadable", Some(why.as_str())),
        };
        Self { status, loaded_at: written(standing.loaded_at), error }
    }
}

/// Says that the process answers, and whether its configuration is the newest. It serves in any case.
pub async fn healthz(gateway: web::Data<Gateway>) -> HttpResponse {
    let standing = gateway.relay.control.standing();
    let health =
        Health { status: "ok", version: env!("CARGO_PKG_VERSION"), config: Configuration::from(standing.as_ref()) };
    HttpResponse::Ok().json(health)
}

fn written(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Secs, true)
}

//! `GET /v1/models`.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use crate::canon::Failure;

use super::errors::error_response;
use super::{Gateway, auth};

/// A time of creation that every generation of uni-api has given, in milliseconds.
const CREATED: u64 = 1_720_524_448_858;

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

/// Lists every model that the client may use, without asking any upstream.
pub async fn list(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    answer(&request, &gateway).await.unwrap_or_else(|failure| error_response(&failure))
}

async fn answer(request: &HttpRequest, gateway: &Gateway) -> Result<HttpResponse, Failure> {
    let config = gateway.config();
    let client = auth::client(&config.client_keys, request.headers())?;
    let aliases = gateway.relay.control.models(client).await?;
    let model = |id| Model { id, object: "model", created: CREATED, owned_by: "uni-api" };
    let data = aliases.iter().map(|alias| model(alias)).collect();
    Ok(HttpResponse::Ok().json(List { object: "list", data }))
}

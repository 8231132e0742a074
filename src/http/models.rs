//! `GET /v1/models`.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use crate::canon::Failure;
use crate::relay::Account;

use super::client_ip::client_ip;
use super::edge::{name_request, new_request_id};
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
    let request_id: Arc<str> = new_request_id().into();
    let stats = gateway.relay.stats.clone();
    let client_ip = client_ip(&request, &gateway.config().trusted_proxies);
    let mut account = Account::open(stats, Arc::clone(&request_id), "GET /v1/models", client_ip);
    let mut response = match answer(&request, &gateway, &mut account).await {
        Ok(response) => {
            account.answered();
            response
        }
        Err(failure) => {
            account.refused(&failure);
            error_response(&failure)
        }
    };
    name_request(response.headers_mut(), &request_id);
    response
}

async fn answer(request: &HttpRequest, gateway: &Gateway, account: &mut Account) -> Result<HttpResponse, Failure> {
    let config = gateway.config();
    let client = auth::client(&config.client_keys, request.headers())?;
    account.client(client);
    let aliases = gateway.relay.control.models(client).await?;
    let model = |id| Model { id, object: "model", created: CREATED, owned_by: "uni-api" };
    let data = aliases.iter().map(|alias| model(alias)).collect();
    Ok(HttpResponse::Ok().json(List { object: "list", data }))
}

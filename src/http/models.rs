//! `GET /v1/models` and `GET /v1/models/{id}`.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use crate::canon::{Failure, FailureKind};
use crate::relay::Account;
use crate::routing::Usable;

use super::direct::direct;
use super::{Gateway, auth};

/// A time of creation that every generation of uni-api has given, in seconds since 1970.
const CREATED: u64 = 1_720_524_448;

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
    owned_by: &'a str,
}

impl<'a> From<&'a Usable> for Model<'a> {
    fn from(usable: &'a Usable) -> Self {
        Self { id: &usable.alias, object: "model", created: CREATED, owned_by: &usable.provider }
    }
}

/// Lists every model that the client may use, without asking any upstream.
pub async fn list(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    direct(&request, &gateway, "GET /v1/models", async |account| {
        let models = usable(&request, &gateway, account).await?;
        Ok(HttpResponse::Ok().json(List { object: "list", data: models.iter().map(Model::from).collect() }))
    })
    .await
}

/// One of them.
pub async fn one(request: HttpRequest, gateway: web::Data<Gateway>, id: web::Path<String>) -> HttpResponse {
    direct(&request, &gateway, "GET /v1/models/{id}", async |account| {
        let models = usable(&request, &gateway, account).await?;
        match models.iter().find(|usable| *usable.alias == **id) {
            Some(usable) => Ok(HttpResponse::Ok().json(Model::from(usable))),
            None => {
                let message = "this model is not available to this key; GET /v1/models lists what is";
                Err(Failure::new(FailureKind::ModelNotFound, message).at("model"))
            }
        }
    })
    .await
}

async fn usable(request: &HttpRequest, gateway: &Gateway, account: &mut Account) -> Result<Vec<Usable>, Failure> {
    let config = gateway.config();
    let client = auth::client(&config.client_keys, request.headers())?;
    account.client(client);
    gateway.relay.control.models(client).await
}

//! `GET /v1/generate-api-key`.

use std::fmt::Write;

use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;

use crate::canon::{Failure, FailureKind};

use super::direct::direct;
use super::{Gateway, auth};

/// As many random bytes are in a key, two characters each.
const RANDOM_BYTES: usize = 24;

#[derive(Serialize)]
struct Document {
    api_key: String,
}

/// Makes up a client key for an admin, who puts it into `api.yaml`; here it is registered nowhere.
pub async fn generate(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    direct(&request, &gateway, "GET /v1/generate-api-key", async |account| {
        let config = gateway.config();
        account.client(auth::admin(&config.client_keys, request.headers())?);
        let mut response = HttpResponse::Ok().json(Document { api_key: new_key()? });
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    })
    .await
}

/// # Errors
///
/// `Internal`, when the system has no randomness to give.
fn new_key() -> Result<String, Failure> {
    let mut random = [0; RANDOM_BYTES];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| Failure::new(FailureKind::Internal, "the system's source of randomness failed"))?;
    let mut key = String::from("sk-");
    for byte in random {
        // Writing to a String cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    Ok(key)
}

//! `GET /healthz`, without a key.

use actix_web::HttpResponse;

/// Says that the process answers.
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

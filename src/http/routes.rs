//! The table of routes.

use actix_web::{HttpRequest, HttpResponse, web};

use crate::canon::{Failure, FailureKind};

use super::errors::error_response;
use super::{chat, health, models, stats};

/// Adds every route, and answers in the gateway's shape for what is none.
pub fn configure(app: &mut web::ServiceConfig) {
    let resource = |path: &str| web::resource(path.to_owned()).default_service(web::to(wrong_method));
    app.service(resource("/v1/chat/completions").route(web::post().to(chat::completions)))
        .service(resource("/v1/models").route(web::get().to(models::list)))
        .service(resource("/stats").route(web::get().to(stats::stats)))
        .service(resource("/v1/stats").route(web::get().to(stats::stats)))
        .service(resource("/healthz").route(web::get().to(health::healthz)).route(web::head().to(health::healthz)))
        .default_service(web::to(unknown_route));
}

async fn unknown_route(request: HttpRequest) -> HttpResponse {
    let message = format!("there is no {} {} here; is the base URL right?", request.method(), request.path());
    error_response(&Failure::new(FailureKind::RouteNotFound, message))
}

async fn wrong_method(request: HttpRequest) -> HttpResponse {
    let message = format!("{} cannot be asked with {}", request.path(), request.method());
    error_response(&Failure::new(FailureKind::MethodNotAllowed, message))
}

//! The table of routes.

use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::canon::{Failure, FailureKind, Operation};

use super::ask::ask;
use super::errors::error_response;
use super::{Gateway, health, keys, metrics, models, stats};

/// What there is beside the operations, as it is listed for who asks for something else.
const OTHERS: [&str; 7] = [
    "GET /v1/models",
    "GET /v1/models/{id}",
    "GET /v1/generate-api-key",
    "GET /v1/stats",
    "GET /stats",
    "GET /metrics",
    "GET /healthz",
];

/// Adds every route, and answers in the gateway's shape for what is none.
pub fn configure(app: &mut web::ServiceConfig) {
    for operation in Operation::ALL {
        let answer = move |request: HttpRequest, payload: web::Payload, gateway: web::Data<Gateway>| {
            ask(operation, request, payload, gateway)
        };
        let path = format!("/v1/{}", operation.row().path);
        app.service(resource(&path, "POST").route(web::post().to(answer)));
    }
    app.service(resource("/v1/models", "GET").route(web::get().to(models::list)))
        // An id may have slashes.
        .service(resource("/v1/models/{id:.+}", "GET").route(web::get().to(models::one)))
        .service(resource("/v1/generate-api-key", "GET").route(web::get().to(keys::generate)))
        .service(resource("/stats", "GET").route(web::get().to(stats::stats)))
        .service(resource("/v1/stats", "GET").route(web::get().to(stats::stats)))
        .service(resource("/metrics", "GET").route(web::get().to(metrics::metrics)))
        .service(
            resource("/healthz", "GET, HEAD")
                .route(web::get().to(health::healthz))
                .route(web::head().to(health::healthz)),
        )
        .default_service(web::to(unknown_route));
}

/// A path that can be asked with these methods.
fn resource(path: &str, allowed: &'static str) -> actix_web::Resource {
    web::resource(path.to_owned()).default_service(web::to(move |request| wrong_method(request, allowed)))
}

async fn wrong_method(request: HttpRequest, allowed: &'static str) -> HttpResponse {
    let (method, path) = (request.method(), request.path());
    let message = format!("{path} cannot be asked with {method}, but with {allowed}");
    let mut response = error_response(&Failure::new(FailureKind::MethodNotAllowed, message));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

async fn unknown_route(request: HttpRequest) -> HttpResponse {
    let operations = Operation::ALL.map(|operation| operation.row().endpoint);
    let known = operations.into_iter().chain(OTHERS).collect::<Vec<_>>().join(", ");
    let (method, path) = (request.method(), request.path());
    let message = format!("there is no {method} {path} here; is the base URL right? There are {known}");
    error_response(&Failure::new(FailureKind::RouteNotFound, message))
}

//! The table of routes.

use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::canon::{Failure, FailureKind, Operation};

use super::ask::ask;
use super::errors::error_response;
use super::{Gateway, health, keys, metrics, models, stats};

/// Who may ask at a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever can reach it.
    Anybody,
    /// Who has a client key.
    Client,
    /// Who has an admin's.
    Admin,
}

/// A path and what is there.
pub struct Route {
    /// The methods that it takes.
    pub methods: &'static [Method],
    /// The path; what stands between braces is any text.
    pub path: String,
    /// Who may ask. Each handler sees to it that it is so.
    pub access: Access,
    handler: Box<dyn Fn() -> actix_web::Route>,
}

impl Route {
    fn new(
        methods: &'static [Method],
        path: impl Into<String>,
        access: Access,
        handler: impl Fn() -> actix_web::Route + 'static,
    ) -> Self {
        Self { methods, path: path.into(), access, handler: Box::new(handler) }
    }

    fn of(operation: Operation) -> Self {
        let answer = move |request: HttpRequest, payload: web::Payload, gateway: web::Data<Gateway>| {
            ask(operation, request, payload, gateway)
        };
        Self::new(&[Method::POST], format!("/v1/{}", operation.row().path), Access::Client, move || web::to(answer))
    }

    /// As it is listed for who asks for something else.
    fn endpoint(&self) -> String {
        let method = self.methods.first().map_or("", Method::as_str);
        format!("{method} {}", self.path)
    }
}

/// Every route there is.
pub fn routes() -> Vec<Route> {
    const GET: &[Method] = &[Method::GET];
    let operations = Operation::ALL.into_iter().map(Route::of);
    let others = [
        Route::new(GET, "/v1/models", Access::Client, || web::to(models::list)),
        Route::new(GET, "/v1/models/{id}", Access::Client, || web::to(models::one)),
        Route::new(GET, "/v1/generate-api-key", Access::Admin, || web::to(keys::generate)),
        Route::new(GET, "/v1/stats", Access::Admin, || web::to(stats::stats)),
        Route::new(GET, "/stats", Access::Admin, || web::to(stats::stats)),
        Route::new(GET, "/metrics", Access::Admin, || web::to(metrics::metrics)),
        Route::new(&[Method::GET, Method::HEAD], "/healthz", Access::Anybody, || web::to(health::healthz)),
    ];
    operations.chain(others).collect()
}

/// Adds every route, and answers in the gateway's shape for what is none.
pub fn configure(app: &mut web::ServiceConfig) {
    for route in routes() {
        let allowed: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
        let allowed = allowed.join(", ");
        // An id may have slashes.
        let mut resource = web::resource(route.path.replace('}', ":.+}"));
        for method in route.methods {
            resource = resource.route((route.handler)().method(method.clone()));
        }
        app.service(resource.default_service(web::to(move |request| wrong_method(request, allowed.clone()))));
    }
    app.default_service(web::to(unknown_route));
}

async fn wrong_method(request: HttpRequest, allowed: String) -> HttpResponse {
    let (method, path) = (request.method(), request.path());
    let message = format!("{path} cannot be asked with {method}, but with {allowed}");
    let mut response = error_response(&Failure::new(FailureKind::MethodNotAllowed, message));
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

async fn unknown_route(request: HttpRequest) -> HttpResponse {
    let known = routes().iter().map(Route::endpoint).collect::<Vec<_>>().join(", ");
    let (method, path) = (request.method(), request.path());
    let message = format!("there is no {method} {path} here; is the base URL right? There are {known}");
    error_response(&Failure::new(FailureKind::RouteNotFound, message))
}

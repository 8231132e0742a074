//! What every answer has, whatever became of its request: CORS headers, an `x-request-id`, and the
//! gateway's error shape even when a handler panicked.
//!
//! Browser extensions call the gateway from any page, so any origin is allowed. Credentials of the
//! browser (cookies) are not: the key travels in a header that only the extension knows. A preflight
//! has no key and is answered here.
//!
//! It also notes on each connection when a request of it is under way, see [`super::Connections`].

use std::future::{Future, Ready, ready};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method};
use actix_web::{Error, HttpResponse};
use bytes::Bytes;
use futures::FutureExt;

use crate::canon::{Failure, FailureKind, RequestId};

use super::connections::{Asking, Connection};
use super::errors::error_response;
use super::paced::Paced;

/// The header that names a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answered however many connections there are.
const HEALTH: &str = "/healthz";

/// A new name for a request.
pub fn new_request_id() -> RequestId {
    uuid::Uuid::new_v4().as_u128().into()
}

/// The outermost middleware.
pub struct Edge;

impl<S, B> Transform<S, ServiceRequest> for Edge
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Transform = EdgeService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(EdgeService { inner }))
    }
}

/// [`Edge`] around one worker's routes.
pub struct EdgeService<S> {
    inner: S,
}

impl<S, B> Service<ServiceRequest> for EdgeService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>>>>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (asking, is_surplus) = match request.conn_data::<Connection>().map(Connection::asked).transpose() {
            Ok(asking) => (asking, false),
            // Whoever watches over the gateway must not take one that is busy for one that is dead.
            Err(_) if request.path() == HEALTH => (None, true),
            Err(failure) => {
                let mut response = finished(error_response(&failure));
                response.head_mut().set_connection_type(ConnectionType::Close);
                return Box::pin(ready(Ok(request.into_response(response))));
            }
        };
        if request.method() == Method::OPTIONS {
            let response = finished(preflight(request.headers()));
            return Box::pin(ready(Ok(request.into_response(response))));
        }
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            let mut failed = match answer.await {
                Ok(Ok(mut response)) => {
                    finish(response.headers_mut());
                    if is_surplus {
                        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
                    }
                    return Ok(paced(response.map_into_boxed_body(), asking));
                }
                Ok(Err(error)) => error.error_response(),
                Err(_) => {
                    let message = "the gateway failed over this request; its log says where";
                    error_response(&Failure::new(FailureKind::Internal, message))
                }
            };
            finish(failed.headers_mut());
            // The request is gone; as an error the response needs none.
            Err(InternalError::from_response("answered", failed).into())
        })
    }
}

/// Says in an answer how its request is named.
pub fn name_request(headers: &mut HeaderMap, id: RequestId) {
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
}

/// Watches over the client that reads the answer.
fn paced(response: ServiceResponse<BoxBody>, asking: Option<Asking>) -> ServiceResponse<BoxBody> {
    if asking.is_none() || Paced::is_short(response.response().body()) {
        return response;
    }
    response.map_body(|_, body| BoxBody::new(Paced::new(body, asking)))
}

fn finished(mut response: HttpResponse) -> HttpResponse {
    finish(response.headers_mut());
    response
}

fn finish(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    if !headers.contains_key(&REQUEST_ID) {
        name_request(headers, new_request_id());
    }
}

fn preflight(asked: &HeaderMap) -> HttpResponse {
    let mut response = HttpResponse::NoContent();
    response.insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE, OPTIONS, HEAD"));
    // "*" would not cover Authorization.
    let headers = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let headers = headers.unwrap_or(HeaderValue::from_static("authorization, content-type, x-api-key"));
    response.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, headers));
    response.insert_header((header::ACCESS_CONTROL_MAX_AGE, "86400"));
    if asked.contains_key("access-control-request-private-network") {
        response.insert_header(("access-control-allow-private-network", "true"));
    }
    let mut response = response.body(Unhurried);
    response.head_mut().no_chunking(true);
    response
}

/// No body at all. The server writes answers whose body is empty one behind the other without looking
/// whether anybody reads them; this one it has to ask first.
struct Unhurried;

impl MessageBody for Unhurried {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use actix_web::test::{TestRequest, init_service};
    use actix_web::{App, web};

    use super::*;

    async fn panics() -> HttpResponse {
        panic!("a bug")
    }

    async fn fails() -> Result<HttpResponse, Error> {
        Err(actix_web::error::ErrorBadRequest("no"))
    }

    async fn ask(request: TestRequest) -> HttpResponse {
        let app = App::new().wrap(Edge).route("/panic", web::get().to(panics)).route("/fail", web::get().to(fails));
        let app = init_service(app).await;
        match app.call(request.to_request()).await {
            Ok(response) => response.into_parts().1,
            Err(error) => error.error_response(),
        }
    }

    #[actix_web::test]
    async fn a_panic_in_a_handler_answers_500_in_the_shape_of_errors() {
        let response = ask(TestRequest::get().uri("/panic")).await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers().get("access-control-allow-origin").unwrap(), "*");
        assert!(response.headers().contains_key("x-request-id"));
        let body = to_bytes(response.into_body()).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "internal_error");
        assert_eq!(body["message"], body["error"]["message"]);
    }

    #[actix_web::test]
    async fn an_error_of_the_framework_has_the_headers_of_every_answer() {
        let response = ask(TestRequest::get().uri("/fail")).await;
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers().get("access-control-allow-origin").unwrap(), "*");
    }

    #[actix_web::test]
    async fn a_preflight_needs_no_key_and_gets_the_headers_it_asked_for() {
        let asked = ("access-control-request-headers", "authorization,x-stainless-os");
        let private = ("access-control-request-private-network", "true");
        let request = TestRequest::with_uri("/anything").method(Method::OPTIONS);
        let response = ask(request.insert_header(asked).insert_header(private)).await;
        assert_eq!(response.status(), 204);
        assert_eq!(response.headers().get("access-control-allow-headers").unwrap(), asked.1);
        assert_eq!(response.headers().get("access-control-allow-private-network").unwrap(), "true");
        assert_eq!(response.headers().get("access-control-allow-origin").unwrap(), "*");
    }
}

//! A failure as an HTTP answer.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ContentType, RETRY_AFTER};

use crate::canon::{Failure, Origin};
use crate::dialect::openai_chat::write_error;

/// The status and body of a failure, with `Retry-After` where the time is known.
pub fn error_response(failure: &Failure) -> HttpResponse {
    if failure.kind.origin() == Origin::Gateway {
        log::error!("answered with {}: {}", failure.status(), failure.message);
    }
    let status = StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.insert_header(ContentType::json());
    if let Some(after) = failure.retry_after {
        response.insert_header((RETRY_AFTER, after.as_secs_f64().ceil().to_string()));
    }
    response.body(write_error(failure))
}

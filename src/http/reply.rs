//! What a request has come to, as an HTTP answer.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::canon::RequestId;
use crate::relay::{Answer, Reply};
use crate::routing::Quota;

use super::edge::name_request;
use super::errors::error_response;

const ATTEMPTS: HeaderName = HeaderName::from_static("x-uni-api-attempts");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");

/// The answer with all that is said beside it: what is left of the client's limit, in the headers
/// that OpenAI's clients know ("Rate limits in headers"), and to an admin the attempts.
pub fn response(reply: Reply, request_id: RequestId) -> HttpResponse {
    let mut response = match reply.answer {
        Ok(Answer::Whole { content_type, body }) => answered(content_type, BoxBody::new(body)),
        Ok(Answer::Bytes { content_type, body }) => unbuffered(answered(content_type, BoxBody::new(body))),
        Ok(Answer::Events(events)) => streamed(BoxBody::new(events)),
        Ok(Answer::KeptAlive(events)) => streamed(BoxBody::new(events)),
        Err(failure) => error_response(&failure),
    };
    let headers = response.headers_mut();
    if let Some(quota) = reply.quota {
        insert_quota(headers, quota);
    }
    if let Some(Ok(trail)) = reply.trail.filter(|trail| !trail.is_empty()).map(HeaderValue::try_from) {
        headers.insert(ATTEMPTS, trail);
    }
    name_request(headers, request_id);
    response
}

fn answered(content_type: HeaderValue, body: BoxBody) -> HttpResponse {
    let mut response = HttpResponse::with_body(StatusCode::OK, body);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn streamed(events: BoxBody) -> HttpResponse {
    let mut response = answered(HeaderValue::from_static("text/event-stream; charset=utf-8"), events);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    unbuffered(response)
}

/// Asks nginx in front of us not to collect the answer.
fn unbuffered(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

fn insert_quota(headers: &mut HeaderMap, quota: Quota) {
    headers.insert(LIMIT, quota.limit.into());
    headers.insert(REMAINING, quota.remaining.into());
    if let Ok(reset) = HeaderValue::try_from(span(quota.reset)) {
        headers.insert(RESET, reset);
    }
}

/// A span of time as OpenAI writes it: `120ms`, `1.5s`, `6m0s`, `2h0m0s`.
fn span(span: Duration) -> String {
    // In whole numbers, and not the longest: to print others takes longer than to find a channel.
    let ms = span.as_secs().saturating_mul(1000).saturating_add(span.subsec_nanos().div_ceil(1_000_000).into());
    let (seconds, rest) = (ms / 1000, ms % 1000);
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}.{rest:03}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_openai_does() {
        let spans =
            [0.0, 0.0121, 0.9999, 1.5, 59.25, 360.0, 7260.4].map(|seconds| span(Duration::from_secs_f64(seconds)));
        assert_eq!(spans, ["0ms", "13ms", "1.000s", "1.500s", "59.250s", "6m0s", "2h1m0s"]);
    }
}

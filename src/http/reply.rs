//! What a request has come to, as an HTTP answer.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::relay::{Answer, Reply};
use crate::routing::Quota;

use super::edge::name_request;
use super::errors::error_response;

/// The answer with all that is said beside it: what is left of the client's limit, in the headers
/// that OpenAI's clients know ("Rate limits in headers"), and to an admin the attempts.
pub fn response(reply: Reply, request_id: &str) -> HttpResponse {
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
        headers.insert(HeaderName::from_static("x-uni-api-attempts"), trail);
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
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn insert_quota(headers: &mut HeaderMap, quota: Quota) {
    headers.insert(HeaderName::from_static("x-ratelimit-limit-requests"), quota.limit.into());
    headers.insert(HeaderName::from_static("x-ratelimit-remaining-requests"), quota.remaining.into());
    if let Ok(reset) = HeaderValue::try_from(span(quota.reset.as_secs_f64())) {
        headers.insert(HeaderName::from_static("x-ratelimit-reset-requests"), reset);
    }
}

/// A span of time as OpenAI writes it: `120ms`, `1.5s`, `6m0s`, `2h0m0s`.
fn span(seconds: f64) -> String {
    if seconds < 1.0 {
        return format!("{:.0}ms", (seconds * 1000.0).ceil());
    }
    let (minutes, rest) = ((seconds / 60.0).floor(), seconds % 60.0);
    match minutes {
        0.0 => format!("{seconds:.3}s"),
        1.0..60.0 => format!("{minutes:.0}m{rest:.0}s"),
        _ => format!("{:.0}h{:.0}m{rest:.0}s", (minutes / 60.0).floor(), minutes % 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_are_written_as_openai_does() {
        let spans = [0.0, 0.0121, 1.5, 59.25, 360.0, 7260.4].map(span);
        assert_eq!(spans, ["0ms", "13ms", "1.500s", "59.250s", "6m0s", "2h1m0s"]);
    }
}

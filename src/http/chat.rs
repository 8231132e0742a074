//! `POST /v1/chat/completions`.

use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::canon::Failure;
use crate::dialect::passthrough::ChatRequest;
use crate::relay::{Account, Answer, Asked, Fetched};

use super::edge::{REQUEST_ID, new_request_id};
use super::errors::error_response;
use super::{Gateway, auth, body};

/// As much of the last user text is kept in the statistics, in characters.
const STATS_TEXT_CHARS: usize = 2000;

/// Answers a chat request, streamed or not.
pub async fn completions(request: HttpRequest, payload: web::Payload, gateway: web::Data<Gateway>) -> HttpResponse {
    let request_id: Arc<str> = new_request_id().into();
    let mut response = match answer(&request, payload, &gateway, &request_id).await {
        Ok(Answer::Whole(body)) => {
            let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(body));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Ok(Answer::Events(events)) => {
            let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(events));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            // Asks nginx in front of us not to collect the stream.
            headers.insert(header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
            response
        }
        Err(failure) => error_response(&failure),
    };
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    gateway: &Gateway,
    request_id: &Arc<str>,
) -> Result<Answer, Failure> {
    let stats = gateway.relay.stats.clone();
    let client_ip = request.peer_addr().map(|address| address.ip());
    let mut account = Account::open(stats, Arc::clone(request_id), "POST /v1/chat/completions", client_ip);
    let client = auth::client(&gateway.config.client_keys, request.headers())?;
    account.client(client);
    let body = body::read(payload, request.headers(), gateway.config.max_request_body_bytes).await?;
    let text_chars = if gateway.relay.stats.is_enabled() { STATS_TEXT_CHARS } else { 0 };
    let mut chat = ChatRequest::parse(body, text_chars)?;
    account.asks(&chat.model, chat.last_user_text.take());
    let anthropic_beta = features_in_beta(request.headers());
    let asked = Asked {
        request: chat,
        anthropic_beta,
        request_id: Arc::clone(request_id),
        media_fetch: gateway.config.media_fetch,
        fetched: Fetched::default(),
    };
    gateway.relay.chat(Arc::clone(client), asked, account).await
}

/// The `anthropic-beta` header; several of them are one list.
fn features_in_beta(headers: &HeaderMap) -> Option<HeaderValue> {
    let lists: Vec<&[u8]> = headers.get_all("anthropic-beta").map(HeaderValue::as_bytes).collect();
    if lists.is_empty() { None } else { HeaderValue::from_bytes(&lists.join(&b',')).ok() }
}

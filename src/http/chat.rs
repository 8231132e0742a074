//! `POST /v1/chat/completions`.

use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::canon::Failure;
use crate::config::ClientKey;
use crate::dialect::passthrough::ChatRequest;
use crate::relay::{Account, Asked, Fetched};

use super::client_ip::client_ip;
use super::edge::new_request_id;
use super::reply::response;
use super::{Gateway, auth, body};

/// Answers a chat request, streamed or not.
pub async fn completions(request: HttpRequest, payload: web::Payload, gateway: web::Data<Gateway>) -> HttpResponse {
    let request_id: Arc<str> = new_request_id().into();
    let stats = gateway.relay.stats.clone();
    let client_ip = client_ip(&request, &gateway.config().trusted_proxies);
    let mut account = Account::open(stats, Arc::clone(&request_id), "POST /v1/chat/completions", client_ip);
    let reply = match read(&request, payload, &gateway, &mut account).await {
        Ok((client, asked)) => gateway.relay.chat(client, asked, account).await,
        Err(failure) => {
            account.refused(&failure);
            failure.into()
        }
    };
    response(reply, &request_id)
}

/// Who asks, and for what.
async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    gateway: &Gateway,
    account: &mut Account,
) -> Result<(Arc<ClientKey>, Asked), Failure> {
    let config = gateway.config();
    let client = auth::client(&config.client_keys, request.headers())?;
    account.client(client);
    let body = body::read(payload, request.headers(), config.max_request_body_bytes).await?;
    let text_chars = gateway.relay.stats.settings().map_or(0, |settings| settings.text_chars);
    let mut chat = ChatRequest::parse(body, text_chars)?;
    account.asks(&chat.model, chat.stream, chat.last_user_text.take());
    let asked = Asked {
        prompt_tokens: config.measures_prompts.then(|| tokens(chat.prompt_chars())),
        request: chat,
        anthropic_beta: features_in_beta(request.headers()),
        request_id: Arc::clone(account.request_id()),
        media_fetch: config.media_fetch,
        fetched: Fetched::default(),
    };
    Ok((Arc::clone(client), asked))
}

/// The tokens that a text of this length has, more or less, in any language and model.
fn tokens(chars: usize) -> u64 {
    u64::try_from(chars.div_ceil(4)).unwrap_or(u64::MAX)
}

/// The `anthropic-beta` header; several of them are one list.
fn features_in_beta(headers: &HeaderMap) -> Option<HeaderValue> {
    let lists: Vec<&[u8]> = headers.get_all("anthropic-beta").map(HeaderValue::as_bytes).collect();
    if lists.is_empty() { None } else { HeaderValue::from_bytes(&lists.join(&b',')).ok() }
}

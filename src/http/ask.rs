//! `POST /v1/…`: what a client asks of a model, whichever operation it is.

use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

use crate::canon::{BodyKind, Failure, Operation};
use crate::config::{ClientKey, Config};
use crate::dialect::call::Call;
use crate::dialect::form::Form;
use crate::dialect::passthrough::ChatRequest;
use crate::relay::{Account, Asked, Fetched, Interval, KeptAlive, Request};

use super::client_ip::client_ip;
use super::edge::new_request_id;
use super::reply::response;
use super::{Gateway, auth, body};

/// Answers a request for this operation.
///
/// The framework moves the future of a handler three times before it runs, so what is large in this one
/// is boxed.
pub async fn ask(
    operation: Operation,
    request: HttpRequest,
    payload: web::Payload,
    gateway: web::Data<Gateway>,
) -> HttpResponse {
    let request_id = new_request_id();
    let client_ip = client_ip(&request, &gateway.config().trusted_proxies);
    let mut account = Account::open(&gateway.relay, request_id, operation.row().endpoint, client_ip);
    let reply = match read(operation, &request, payload, &gateway, &mut account).await {
        Ok((client, asked)) if gateway.config().keeps_alive && asked.request.has_events() => {
            let (gateway, interval) = (gateway.clone(), asked.keepalive.clone());
            let answer = async move { gateway.relay.answer(client, asked, account).await };
            KeptAlive::reply(Box::pin(answer), interval).await
        }
        Ok((client, asked)) => Box::pin(gateway.relay.answer(client, asked, account)).await,
        Err(failure) => {
            account.refused(&failure);
            failure.into()
        }
    };
    response(reply, request_id)
}

/// Who asks, and for what.
async fn read(
    operation: Operation,
    request: &HttpRequest,
    payload: web::Payload,
    gateway: &Gateway,
    account: &mut Account,
) -> Result<(Arc<ClientKey>, Asked), Failure> {
    let config = gateway.config();
    let client = auth::client(&config.client_keys, request.headers())?;
    account.client(client);
    let body = body(operation, payload, request.headers(), &config).await?;
    let text_chars = gateway.relay.stats.settings().map_or(0, |settings| settings.text_chars);
    let (asked, text) = parse(operation, body, text_chars)?;
    account.asks(asked.model(), asked.stream(), text);
    let asked = Asked {
        prompt_tokens: config.measures_prompts.then(|| tokens(asked.chars())),
        request: asked,
        anthropic_beta: features_in_beta(request.headers()),
        request_id: account.request_id(),
        keepalive: Interval::default(),
        media_fetch: config.media_fetch,
        fetched: Fetched::default(),
    };
    Ok((Arc::clone(client), asked))
}

/// A body that has come in whole.
enum Body {
    Json(Bytes),
    Form(Form),
}

async fn body(
    operation: Operation,
    payload: web::Payload,
    headers: &HeaderMap,
    config: &Config,
) -> Result<Body, Failure> {
    let is_form = match operation.row().body {
        BodyKind::Json => false,
        BodyKind::Form => true,
        BodyKind::JsonOrForm => body::is_form(headers),
    };
    Ok(match is_form {
        true => {
            let form = body::read_form(payload, headers, config.max_upload_bytes, config.connections.body);
            Body::Form(Box::pin(form).await?)
        }
        false => {
            Body::Json(body::read(payload, headers, config.max_request_body_bytes, config.connections.body).await?)
        }
    })
}

/// The request, and as many characters of its text as the statistics keep.
fn parse(operation: Operation, body: Body, text_chars: usize) -> Result<(Request, Option<String>), Failure> {
    let call = match body {
        Body::Json(body) if operation == Operation::Chat => {
            let mut chat = ChatRequest::parse(body, text_chars)?;
            let text = chat.last_user_text.take();
            return Ok((Request::Chat(Box::new(chat)), text));
        }
        Body::Json(body) => Call::from_json(operation, body)?,
        Body::Form(form) => Call::from_form(operation, form, new_boundary())?,
    };
    let text = if text_chars > 0 { call.words() } else { None };
    let text = text.map(|text| text.chars().take(text_chars).collect());
    Ok((Request::Call(Box::new(call)), text))
}

/// A boundary that nobody could know of when the form was written.
fn new_boundary() -> String {
    format!("uni-api-{}", uuid::Uuid::new_v4().simple())
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

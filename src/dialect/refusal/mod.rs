//! What an upstream means by an answer that is no success, whichever provider it is.
//!
//! `body` reads what the answer says, `rules` is the table of what providers say when, and
//! `retry_after` finds out when they want to be asked again.
//!
//! Source: the error pages of the API references of OpenAI, Azure OpenAI, Anthropic, Google (Gemini
//! API, Vertex AI, `google.rpc`), Cohere, Cloudflare Workers AI, Groq, Mistral, xAI, DeepSeek and
//! OpenRouter; FastAPI's and vLLM's for servers of one's own.

mod body;
mod retry_after;
mod rules;

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::canon::{Failure, FailureKind};

use body::ErrorBody;

/// An answer that is no success, as it came.
pub struct Said<'a> {
    /// Its status.
    pub status: u16,
    /// Its `retry-after` header.
    pub retry_after: Option<&'a str>,
    /// Its `retry-after-ms` header.
    pub retry_after_ms: Option<&'a str>,
    /// Its body.
    pub body: &'a [u8],
    /// What to do about a refused key; ends a sentence.
    pub advice: &'a str,
    /// When it came, in seconds since 1970.
    pub now_unix_s: u64,
}

/// What an answer that is no success means for the request.
pub fn refusal(said: &Said<'_>) -> Failure {
    let status = said.status;
    let error = ErrorBody::read(said.body);
    let kind = rules::kind_of_refusal(status, &error);
    let in_body = || match asks_for_time(kind) {
        true => error.delay.or_else(|| retry_after::until(error.reset_unix_ms?, said.now_unix_s)),
        false => None,
    };
    let retry_after = retry_after::in_headers(said.retry_after_ms, said.retry_after, said.now_unix_s).or_else(in_body);
    let message = match error.message {
        // Its text may well repeat a part of the key.
        _ if kind == FailureKind::KeyRefused => {
            format!("the upstream refused the gateway's key with status {status}; {}", said.advice)
        }
        Some(message) => message,
        None if error.is_page => format!("the upstream answered with status {status} and a web page"),
        None => format!("the upstream answered with status {status} and no message"),
    };
    let (code, error_type) = if has_its_own_words(kind) { (None, None) } else { (error.code, error.error_type) };
    let is_about_the_request =
        matches!(kind, FailureKind::Rejected | FailureKind::ContextTooLong | FailureKind::ContentFiltered);
    Failure {
        upstream_status: is_passed_on(status, kind).then_some(status),
        upstream_code: code,
        upstream_type: error_type,
        param: error.param.filter(|_| is_about_the_request).map(Cow::Owned),
        retry_after,
        ..Failure::new(kind, message)
    }
}

/// An error object in an answer that claims success, or in a stream.
pub fn error_in_answer(json: &RawValue) -> Failure {
    let error = ErrorBody::read(json.get().as_bytes());
    let kind = rules::kind_of_error(&error);
    let message = error.message.unwrap_or_else(|| "the upstream reported an error".to_owned());
    let (code, error_type) = if has_its_own_words(kind) { (None, None) } else { (error.code, error.error_type) };
    Failure {
        upstream_code: code,
        upstream_type: error_type,
        retry_after: error.delay.filter(|_| asks_for_time(kind)),
        ..Failure::new(kind, message)
    }
}

/// Whether clients rely on our code for this kind, or must not see whom the provider meant.
fn has_its_own_words(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::KeyRefused | FailureKind::QuotaSpent | FailureKind::ContextTooLong | FailureKind::ContentFiltered
    )
}

fn asks_for_time(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::RateLimited | FailureKind::QuotaSpent | FailureKind::Overloaded)
}

/// Whether the status says to the client what the kind does. Providers use some for something else.
fn is_passed_on(status: u16, kind: FailureKind) -> bool {
    match kind {
        FailureKind::QuotaSpent => matches!(status, 402 | 429),
        FailureKind::ContextTooLong | FailureKind::ContentFiltered => matches!(status, 400 | 413 | 422),
        FailureKind::UpstreamNotFound => matches!(status, 400 | 404 | 410 | 422),
        FailureKind::RateLimited => matches!(status, 413 | 429),
        FailureKind::UpstreamStatus => !matches!(status, 400 | 403 | 422 | 451),
        _ => true,
    }
}

#[cfg(test)]
mod tests;

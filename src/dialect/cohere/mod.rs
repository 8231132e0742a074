//! Cohere chat, version 2 (`/v2/chat`) and version 1 (`/v1/chat`); [`embed`] and [`rerank`] beside it.
//!
//! Source: Cohere's API reference, "Chat" and "Chat with Streaming" of both versions, and its
//! guides "Streaming", "Tool use", "Reasoning", "Image inputs", "Structured outputs", "Parameter
//! types in tool use" (version 1), "Migrating from API v1 to API v2".

pub mod embed;
mod functions;
pub mod rerank;
mod response_format;
mod sampling;
mod v1_answer;
mod v1_history;
mod v1_request;
mod v1_tools;
mod v2_answer;
mod v2_messages;
mod v2_request;

#[cfg(test)]
mod tests;

use serde::Deserialize;

use crate::canon::{Failure, FailureKind, FinishReason, Usage};
use crate::dialect::json::count;

pub use v1_answer::{AnswerReader as V1AnswerReader, read_answer as read_v1_answer};
pub use v1_request::write_request as write_v1_request;
pub use v2_answer::{AnswerReader as V2AnswerReader, read_answer as read_v2_answer};
pub use v2_request::write_request as write_v2_request;

/// Token counts: `usage` of version 2, `meta` of version 1.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    tokens: Option<Counts>,
    /// Without the provider's own instructions; what is left where it tells no tokens.
    billed_units: Option<Counts>,
    #[serde(deserialize_with = "count")]
    cached_tokens: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    #[serde(deserialize_with = "count")]
    input_tokens: Option<i64>,
    #[serde(deserialize_with = "count")]
    output_tokens: Option<i64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let counts = wire.tokens.or(wire.billed_units).unwrap_or_default();
        Self { cached_tokens: wire.cached_tokens, ..Self::of(counts.input_tokens, counts.output_tokens) }
    }
}

/// What a `finish_reason` means. Version 1 does not tell an answer that calls tools from a complete
/// one.
///
/// # Errors
///
/// The model failed.
fn finish_reason(word: &str, has_calls: bool) -> Result<FinishReason, Failure> {
    match word {
        "ERROR" | "TIMEOUT" | "USER_CANCEL" => {
            let message = "the upstream's model failed in the middle of its answer; ask again";
            Err(Failure { upstream_code: Some(word.to_owned()), ..Failure::new(FailureKind::ErrorInAnswer, message) })
        }
        "MAX_TOKENS" | "ERROR_LIMIT" => Ok(FinishReason::Length),
        "ERROR_TOXIC" => Ok(FinishReason::ContentFilter),
        _ if has_calls => Ok(FinishReason::ToolCalls),
        _ => Ok(FinishReason::Stop),
    }
}

//! OpenAI's `usage` object.

use serde::{Deserialize, Serialize};

use crate::canon::Usage;
use crate::dialect::json::{count, lenient};

/// Token counts as OpenAI writes them.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    #[serde(deserialize_with = "count")]
    prompt_tokens: Option<i64>,
    #[serde(deserialize_with = "count")]
    completion_tokens: Option<i64>,
    #[serde(deserialize_with = "count")]
    total_tokens: Option<i64>,
    #[serde(deserialize_with = "lenient")]
    prompt_tokens_details: Details,
    #[serde(deserialize_with = "lenient")]
    completion_tokens_details: Details,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    #[serde(deserialize_with = "count")]
    cached_tokens: Option<i64>,
    #[serde(deserialize_with = "count")]
    cache_write_tokens: Option<i64>,
    #[serde(deserialize_with = "count")]
    reasoning_tokens: Option<i64>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        Self {
            prompt_tokens: wire.prompt_tokens,
            completion_tokens: wire.completion_tokens,
            total_tokens: wire.total_tokens,
            cached_tokens: wire.prompt_tokens_details.cached_tokens,
            cache_creation_tokens: wire.prompt_tokens_details.cache_write_tokens,
            reasoning_tokens: wire.completion_tokens_details.reasoning_tokens,
        }
    }
}

/// Token counts as a client gets them. OpenAI has no word for tokens written to a cache; OpenRouter
/// calls them so.
#[derive(Serialize)]
pub(super) struct UsageObject {
    prompt_tokens: i64,
    completion_tokens: i64,
    total_tokens: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Serialize)]
struct PromptDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<i64>,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: i64,
}

impl From<&Usage> for UsageObject {
    fn from(usage: &Usage) -> Self {
        let (cached_tokens, cache_write_tokens) = (usage.cached_tokens, usage.cache_creation_tokens);
        let has_details = cached_tokens.is_some() || cache_write_tokens.is_some();
        Self {
            prompt_tokens: usage.prompt_tokens.unwrap_or(0),
            completion_tokens: usage.completion_tokens.unwrap_or(0),
            total_tokens: usage.total_tokens.unwrap_or(0),
            prompt_tokens_details: has_details.then_some(PromptDetails { cached_tokens, cache_write_tokens }),
            completion_tokens_details: usage
                .reasoning_tokens
                .map(|reasoning_tokens| CompletionDetails { reasoning_tokens }),
        }
    }
}

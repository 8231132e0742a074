//! Reads OpenAI's `usage` object.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::canon::Usage;
use crate::dialect::json::count;

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
    #[serde(deserialize_with = "details")]
    prompt_tokens_details: Details,
    #[serde(deserialize_with = "details")]
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

fn details<'de, D: Deserializer<'de>>(json: D) -> Result<Details, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Lenient {
        Details(Details),
        Other(IgnoredAny),
    }
    Ok(match Lenient::deserialize(json)? {
        Lenient::Details(details) => details,
        Lenient::Other(_) => Details::default(),
    })
}

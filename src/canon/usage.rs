//! What an answer used, in tokens.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Token counts as the provider reported them; `None` where it said nothing that is a count.
///
/// Source: the `usage` object of OpenAI's chat completions. Compatible servers put all kinds of
/// things there, and none of them is a reason to refuse an answer; so reading it never fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request.
    pub prompt_tokens: Option<i64>,
    /// Tokens of the answer.
    pub completion_tokens: Option<i64>,
    /// Both together.
    pub total_tokens: Option<i64>,
}

impl<'de> Deserialize<'de> for Usage {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let usage = Value::deserialize(json)?;
        let count = |name| usage.get(name).and_then(count);
        Ok(Self {
            prompt_tokens: count("prompt_tokens"),
            completion_tokens: count("completion_tokens"),
            total_tokens: count("total_tokens"),
        })
    }
}

/// Some servers count in floating point.
fn count(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64()?.to_string().split('.').next()?.parse().ok())
}

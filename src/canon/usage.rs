//! What an answer used, in tokens.

use serde::Deserialize;

/// Token counts as the provider reported them; `None` where it said nothing.
///
/// Source: the `usage` object of OpenAI's chat completions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Tokens of the request.
    #[serde(default)]
    pub prompt_tokens: Option<i64>,
    /// Tokens of the answer.
    #[serde(default)]
    pub completion_tokens: Option<i64>,
    /// Both together.
    #[serde(default)]
    pub total_tokens: Option<i64>,
}

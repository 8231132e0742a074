//! What an answer used, in tokens.

/// Token counts as the provider reported them; `None` where it said nothing that is a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request, cached ones included.
    pub prompt_tokens: Option<i64>,
    /// Tokens of the answer, thoughts included.
    pub completion_tokens: Option<i64>,
    /// Both together.
    pub total_tokens: Option<i64>,
    /// Of the request's tokens, those read from a cache.
    pub cached_tokens: Option<i64>,
    /// Of the request's tokens, those written to a cache.
    pub cache_creation_tokens: Option<i64>,
    /// Of the answer's tokens, those of thoughts.
    pub reasoning_tokens: Option<i64>,
}

impl Usage {
    /// Counts of request and answer, and their sum.
    pub fn of(prompt_tokens: Option<i64>, completion_tokens: Option<i64>) -> Self {
        let total_tokens = match (prompt_tokens, completion_tokens) {
            (None, None) => None,
            (prompt, completion) => Some(prompt.unwrap_or(0).saturating_add(completion.unwrap_or(0))),
        };
        Self { prompt_tokens, completion_tokens, total_tokens, ..Self::default() }
    }
}

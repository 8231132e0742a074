//! What an answer used, in tokens.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// Token counts as the provider reported them; `None` where it said nothing that is a count.
///
/// Source: the `usage` object of OpenAI's chat completions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Tokens of the request.
    #[serde(default, deserialize_with = "count")]
    pub prompt_tokens: Option<i64>,
    /// Tokens of the answer.
    #[serde(default, deserialize_with = "count")]
    pub completion_tokens: Option<i64>,
    /// Both together.
    #[serde(default, deserialize_with = "count")]
    pub total_tokens: Option<i64>,
}

/// Some servers count in floating point, and some write anything at all; no reason to refuse an
/// answer.
fn count<'de, D: Deserializer<'de>>(json: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Count {
        Whole(i64),
        Fraction(f64),
        Other(IgnoredAny),
    }
    Ok(match Count::deserialize(json)? {
        Count::Whole(count) => Some(count),
        Count::Fraction(count) => count.to_string().split('.').next().and_then(|whole| whole.parse().ok()),
        Count::Other(_) => None,
    })
}

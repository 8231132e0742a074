//! The token counts of answers other than chats.
//!
//! Source: OpenAI's API reference: embeddings count `prompt_tokens`, images and transcriptions
//! `input_tokens` and `output_tokens`.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canon::Usage;
use crate::dialect::json::count;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    #[serde(deserialize_with = "count")]
    prompt_tokens: Option<i64>,
    #[serde(deserialize_with = "count")]
    completion_tokens: Option<i64>,
    #[serde(deserialize_with = "count")]
    input_tokens: Option<i64>,
    #[serde(deserialize_with = "count")]
    output_tokens: Option<i64>,
    #[serde(deserialize_with = "count")]
    total_tokens: Option<i64>,
}

/// The counts of a `usage` object; `None` where it counts something else than tokens.
pub(super) fn read_usage(usage: Option<&RawValue>) -> Option<Usage> {
    let counts: Counts = serde_json::from_str(usage?.get()).ok()?;
    let prompt = counts.prompt_tokens.or(counts.input_tokens);
    let usage = Usage::of(prompt, counts.completion_tokens.or(counts.output_tokens));
    let total_tokens = counts.total_tokens.or(usage.total_tokens);
    total_tokens.map(|total| Usage { total_tokens: Some(total), ..usage })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(json: &str) -> Option<[Option<i64>; 3]> {
        let usage = read_usage(Some(serde_json::from_str(json).unwrap()))?;
        Some([usage.prompt_tokens, usage.completion_tokens, usage.total_tokens])
    }

    #[test]
    fn both_ways_to_count_are_read() {
        assert_eq!(counted(r#"{"prompt_tokens":8,"total_tokens":8}"#), Some([Some(8), None, Some(8)]));
        let images = r#"{"input_tokens":50,"output_tokens":50.0,"total_tokens":100,"input_tokens_details":{}}"#;
        assert_eq!(counted(images), Some([Some(50), Some(50), Some(100)]));
        assert_eq!(counted(r#"{"total_tokens":815}"#), Some([None, None, Some(815)]));
        assert_eq!(counted(r#"{"input_tokens":1,"output_tokens":2}"#), Some([Some(1), Some(2), Some(3)]));
    }

    #[test]
    fn what_counts_no_tokens_is_no_usage() {
        for usage in [r#"{"type":"duration","seconds":9}"#, "{}", "null", r#""many""#] {
            assert_eq!(counted(usage), None, "{usage}");
        }
        assert_eq!(read_usage(None), None);
    }
}

//! Cohere's embeddings (`/v2/embed`).
//!
//! Source: Cohere's API reference, "Embed API (v2)", and its guide "Introduction to Embeddings at
//! Cohere" for `input_type`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::canon::{EmbeddingRequest, Embeddings, Failure, Json, Text, Usage};
use crate::dialect::json::{append_fields, raw, read_whole, unreadable, untranslatable};
use crate::dialect::refusal::error_in_answer;

use super::WireUsage;

/// More texts than these are refused.
const MAX_TEXTS: usize = 96;
/// Fields of this format that a client may send by their own name.
const NATIVE: [&str; 3] = ["truncate", "max_tokens", "priority"];

#[derive(Serialize)]
struct Wire<'r> {
    model: &'r str,
    texts: &'r [Text<'r>],
    input_type: Json<'r>,
    /// Numbers, whatever the client wants: they are written for it here.
    embedding_types: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u32>,
}

/// The body of a request for this model. What the texts are for is the client's `input_type`;
/// otherwise they are to be found by a search, for most texts are.
///
/// # Errors
///
/// `Untranslatable` for more texts than are taken at once.
pub fn write_request(request: &EmbeddingRequest<'_>, model: &str) -> Result<Vec<u8>, Failure> {
    if request.texts.len() > MAX_TEXTS {
        return Err(untranslatable(format!("this channel takes {MAX_TEXTS} texts at a time; send fewer")).at("input"));
    }
    let input_type = match request.extra(&["input_type"]) {
        Some(own) => Cow::Borrowed(&**own),
        None => raw(&"search_document"),
    };
    let wire = Wire {
        model,
        texts: &request.texts,
        input_type,
        embedding_types: ["float"],
        output_dimension: request.dimensions,
    };
    let mut body = serde_json::to_vec(&wire).map_err(|_| untranslatable("the request cannot be written as JSON"))?;
    append_fields(&mut body, request.extra.iter().filter(|(name, _)| NATIVE.contains(&name.as_ref())));
    Ok(body)
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    embeddings: Option<ByType<'a>>,
    #[serde(default)]
    meta: Option<WireUsage>,
    /// An error, in the place of everything else.
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ByType<'a> {
    #[serde(borrow)]
    float: Vec<&'a RawValue>,
}

/// The vectors of an answer.
///
/// # Errors
///
/// The answer is an error, or has no vectors.
pub fn read_answer(body: &[u8]) -> Result<Embeddings<'_>, Failure> {
    const NOT_ONE: &str =
        "the upstream's answer has no vectors; is base_url Cohere's, and the model one for embeddings?";
    let answer: Answer<'_> = read_whole(body, NOT_ONE)?;
    let Some(ByType { float: vectors }) = answer.embeddings else {
        return Err(answer.error.or(answer.message).map_or_else(|| unreadable(NOT_ONE), error_in_answer));
    };
    Ok(Embeddings { vectors, usage: answer.meta.map(Usage::from).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::canon::FailureKind;
    use crate::dialect::openai_embeddings::read_request;

    fn written(body: &Value) -> Value {
        let body = body.to_string();
        let request = read_request(&body).unwrap();
        serde_json::from_slice(&write_request(&request, "embed-v4.0").unwrap()).unwrap()
    }

    #[test]
    fn texts_are_documents_of_a_search_unless_the_client_says_otherwise() {
        assert_eq!(
            written(&json!({"model": "m", "input": "a", "encoding_format": "base64"})),
            json!({
                "model": "embed-v4.0", "texts": ["a"], "input_type": "search_document", "embedding_types": ["float"],
            })
        );
        assert_eq!(
            written(&json!({
                "model": "m", "input": ["a", "b"], "dimensions": 256, "input_type": "search_query",
                "truncate": "NONE", "embedding_types": ["int8"], "task_type": "RETRIEVAL_QUERY",
            })),
            json!({
                "model": "embed-v4.0", "texts": ["a", "b"], "input_type": "search_query",
                "embedding_types": ["float"], "output_dimension": 256, "truncate": "NONE",
            })
        );
    }

    #[test]
    fn more_texts_than_are_taken_at_once_cannot_be_said() {
        let of = |texts: usize| EmbeddingRequest { texts: vec!["a".into(); texts], ..EmbeddingRequest::default() };
        assert!(write_request(&of(96), "m").is_ok());
        let failure = write_request(&of(97), "m").unwrap_err();
        assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::Untranslatable, Some("input")));
    }

    #[test]
    fn vectors_and_billed_tokens_are_read() {
        let body = r#"{"id":"e-1","texts":["a","b"],"embeddings":{"float":[[0.10, -2],[3]]},
            "meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":4,"image_tokens":0}},
            "response_type":"embeddings_by_type"}"#;
        let embeddings = read_answer(body.as_bytes()).unwrap();
        assert_eq!(embeddings.vectors.iter().map(|vector| vector.get()).collect::<Vec<_>>(), ["[0.10, -2]", "[3]"]);
        assert_eq!(embeddings.usage, Usage::of(Some(4), None));
        let without_meta = read_answer(br#"{"embeddings":{"float":[[1]]}}"#).unwrap();
        assert_eq!(without_meta.usage, Usage::default());
    }

    #[test]
    fn what_has_no_vectors_is_a_failure() {
        for (body, kind) in [
            ("", FailureKind::EmptyAnswer),
            (r#"{"embeddings":{"float":[[0.1"#, FailureKind::CutAnswer),
            ("<html>", FailureKind::UnreadableAnswer),
            (r#"{"id":"e-1"}"#, FailureKind::UnreadableAnswer),
            (r#"{"embeddings":{"int8":[[1]]}}"#, FailureKind::UnreadableAnswer),
            (r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#, FailureKind::RateLimited),
            (r#"{"message":"something broke"}"#, FailureKind::ErrorInAnswer),
        ] {
            assert_eq!(read_answer(body.as_bytes()).unwrap_err().kind, kind, "{body}");
        }
    }
}

//! Cohere's ranking of documents (`/v2/rerank`).
//!
//! Source: Cohere's API reference, "Rerank API (v2)" and "Rerank API (v1)", which it takes the place
//! of.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::canon::{Failure, Ranked, Ranking, RerankRequest, Usage};
use crate::dialect::json::{Str, append_fields, read_whole, unreadable, untranslatable};
use crate::dialect::refusal::error_in_answer;

use super::WireUsage;

/// Fields of this format that a client may send by their own name.
const NATIVE: [&str; 2] = ["max_tokens_per_doc", "priority"];

#[derive(Serialize)]
struct Wire<'r> {
    model: &'r str,
    query: &'r str,
    documents: Vec<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_n: Option<u32>,
}

/// The body of a request for this model.
///
/// # Errors
///
/// `Untranslatable` for other parts of a document than its text.
pub fn write_request(request: &RerankRequest<'_>, model: &str) -> Result<Vec<u8>, Failure> {
    let rank_fields = request.extra.iter().find(|(name, _)| name == "rank_fields");
    let of_text =
        |fields: &RawValue| serde_json::from_str::<[Str; 1]>(fields.get()).is_ok_and(|[Str(it)]| it == "text");
    if rank_fields.is_some_and(|(_, fields)| !of_text(fields)) {
        let message = "this channel ranks documents by their text; leave \"rank_fields\" out";
        return Err(untranslatable(message).at("rank_fields"));
    }
    let documents = request.documents.iter().map(|document| document.text.as_ref()).collect();
    let wire = Wire { model, query: &request.query, documents, top_n: request.top_n };
    let mut body = serde_json::to_vec(&wire).map_err(|_| untranslatable("the request cannot be written as JSON"))?;
    append_fields(&mut body, request.extra.iter().filter(|(name, _)| NATIVE.contains(&name.as_ref())));
    Ok(body)
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    id: Option<Str<'a>>,
    #[serde(borrow, default)]
    results: Option<Vec<WireResult<'a>>>,
    #[serde(borrow, default)]
    meta: Option<&'a RawValue>,
    /// An error, in the place of everything else.
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireResult<'a> {
    index: usize,
    #[serde(borrow)]
    relevance_score: &'a RawValue,
}

/// The documents in the order that an answer says.
///
/// # Errors
///
/// The answer is an error, or has no results.
pub fn read_answer(body: &[u8]) -> Result<Ranking<'_>, Failure> {
    const NOT_ONE: &str = "the upstream's answer has no results; is base_url Cohere's, and the model one for ranking?";
    let answer: Answer<'_> = read_whole(body, NOT_ONE)?;
    let Some(results) = answer.results else {
        return Err(answer.error.or(answer.message).map_or_else(|| unreadable(NOT_ONE), error_in_answer));
    };
    let results = results.into_iter().map(|WireResult { index, relevance_score }| Ranked { index, relevance_score });
    // Searches are billed most often, not tokens.
    let usage = answer.meta.and_then(|meta| serde_json::from_str::<WireUsage>(meta.get()).ok());
    Ok(Ranking {
        id: answer.id.map(|Str(id)| id),
        results: results.collect(),
        meta: answer.meta,
        usage: usage.map(Usage::from).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::canon::FailureKind;
    use crate::dialect::rerank::read_request;

    fn written(body: &Value) -> Result<Value, Failure> {
        let body = body.to_string();
        let body = write_request(&read_request(&body)?, "rerank-v3.5")?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn documents_are_sent_as_texts() {
        assert_eq!(
            written(&json!({
                "model": "m", "query": "q", "documents": ["a", {"title": "t", "text": "b"}], "top_n": 1,
                "return_documents": true, "rank_fields": ["text"], "max_chunks_per_doc": 10, "max_tokens_per_doc": 512,
            }))
            .unwrap(),
            json!({
                "model": "rerank-v3.5", "query": "q", "documents": ["a", "b"], "top_n": 1, "max_tokens_per_doc": 512,
            })
        );
        assert_eq!(
            written(&json!({"model": "m", "query": "q", "documents": ["a"]})).unwrap(),
            json!({"model": "rerank-v3.5", "query": "q", "documents": ["a"]})
        );
    }

    #[test]
    fn documents_cannot_be_ranked_by_other_fields_than_their_text() {
        for fields in [json!(["title"]), json!(["text", "title"]), json!("title")] {
            let failure = written(&json!({"query": "q", "documents": ["a"], "rank_fields": fields})).unwrap_err();
            assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::Untranslatable, Some("rank_fields")));
        }
    }

    #[test]
    fn results_are_read_as_they_were_written() {
        let body = r#"{"id":"r-1","results":[{"index":3,"relevance_score":0.9990710},{"index":0,"relevance_score":7e-5}],
            "meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1}}}"#;
        let ranking = read_answer(body.as_bytes()).unwrap();
        let results = ranking.results.iter().map(|ranked| (ranked.index, ranked.relevance_score.get()));
        assert_eq!(results.collect::<Vec<_>>(), [(3, "0.9990710"), (0, "7e-5")]);
        assert_eq!(ranking.id.as_deref(), Some("r-1"));
        assert!(ranking.meta.unwrap().get().contains("search_units"));
        assert_eq!(ranking.usage, Usage::default());
        let tokens = br#"{"results":[],"meta":{"tokens":{"input_tokens":9}}}"#;
        assert_eq!(read_answer(tokens).unwrap().usage, Usage::of(Some(9), None));
    }

    #[test]
    fn what_has_no_results_is_a_failure() {
        for (body, kind) in [
            ("", FailureKind::EmptyAnswer),
            (r#"{"results":[{"index":1"#, FailureKind::CutAnswer),
            ("<html>", FailureKind::UnreadableAnswer),
            (r#"{"id":"r-1"}"#, FailureKind::UnreadableAnswer),
            (r#"{"results":[{"index":-1,"relevance_score":1}]}"#, FailureKind::UnreadableAnswer),
            (r#"{"results":[{"index":0}]}"#, FailureKind::UnreadableAnswer),
            (r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#, FailureKind::RateLimited),
            (r#"{"message":"something broke"}"#, FailureKind::ErrorInAnswer),
        ] {
            assert_eq!(read_answer(body.as_bytes()).unwrap_err().kind, kind, "{body}");
        }
    }
}

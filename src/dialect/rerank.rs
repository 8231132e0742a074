//! The ranking of documents as clients ask for it: Cohere's first format, which Jina, vLLM and others
//! have taken over.
//!
//! Source: Cohere's API reference, "Rerank API (v1)"; Jina's, "Reranker API", for `model` and `usage`
//! in an answer.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::canon::{Document, Failure, FailureKind, Ranking, RerankRequest};

use super::json::{Fields, Str, field, invalid, unreadable, untranslatable};

/// Reads a request body.
///
/// # Errors
///
/// `InvalidRequest` that names the field, for what every provider would refuse; `Untranslatable` for
/// what no other format has, such as images.
pub fn read_request(body: &str) -> Result<RerankRequest<'_>, Failure> {
    let Fields(fields) = serde_json::from_str(body).map_err(|_| invalid("the body is no JSON object"))?;
    let mut request = RerankRequest::default();
    let mut has_query = false;
    for (name, value) in fields {
        if value.get() == "null" {
            continue;
        }
        match name.as_ref() {
            "model" => {}
            "stream" if value.get() == "true" => {
                return Err(invalid("a ranking is not streamed; leave \"stream\" out").at("stream"));
            }
            "query" if value.get().starts_with('{') => {
                return Err(untranslatable("this channel takes a text only as \"query\"").at("query"));
            }
            "query" => {
                request.query = field::<Str>(value, "query")?.0;
                has_query = true;
            }
            "documents" => request.documents = read_documents(value)?,
            "top_n" => request.top_n = Some(field(value, "top_n")?),
            "return_documents" => request.return_documents = field(value, "return_documents")?,
            _ => request.extra.push((name, Cow::Borrowed(value))),
        }
    }
    if !has_query {
        return Err(invalid("the body has no query; add \"query\"").at("query"));
    }
    if request.documents.is_empty() {
        return Err(invalid("the body has no documents; add \"documents\": a list of texts").at("documents"));
    }
    if request.top_n == Some(0) {
        return Err(invalid("\"top_n\" must be at least 1").at("top_n"));
    }
    Ok(request)
}

fn read_documents(documents: &RawValue) -> Result<Vec<Document<'_>>, Failure> {
    let documents: Vec<&RawValue> = field(documents, "documents")?;
    documents.into_iter().map(read_document).collect()
}

fn read_document(document: &RawValue) -> Result<Document<'_>, Failure> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        text: Str<'a>,
    }
    if document.get().starts_with('{') {
        return match serde_json::from_str(document.get()) {
            Ok(Wire { text: Str(text) }) => Ok(Document { text, object: Some(document) }),
            Err(_) => Err(untranslatable("this channel takes documents that are, or have, a text").at("documents")),
        };
    }
    Ok(Document { text: field::<Str>(document, "documents")?.0, object: None })
}

#[derive(Serialize)]
struct Answer<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'r str>,
    model: &'r str,
    results: Vec<WireResult<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'r RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct WireResult<'r> {
    index: usize,
    relevance_score: &'r RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<WireDocument<'r>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireDocument<'r> {
    Text { text: &'r str },
    Object(&'r RawValue),
}

/// The answer to a request for this alias, with the documents where the client wants them back.
///
/// # Errors
///
/// There are no results, or one of a document that was not sent, or one without a score.
pub fn write_answer(request: &RerankRequest<'_>, ranking: &Ranking<'_>, model: &str) -> Result<Vec<u8>, Failure> {
    if ranking.results.is_empty() {
        return Err(Failure::new(FailureKind::EmptyAnswer, "the upstream's answer ranks no document"));
    }
    let results = ranking.results.iter().map(|ranked| {
        let document = request.documents.get(ranked.index);
        let document =
            document.ok_or_else(|| unreadable("the upstream's answer ranks a document that was not sent"))?;
        if ranked.relevance_score.get().parse::<f64>().is_err() {
            return Err(unreadable("the upstream's answer has a score that is no number"));
        }
        let returned = match document.object {
            Some(object) => WireDocument::Object(object),
            None => WireDocument::Text { text: &document.text },
        };
        let document = request.return_documents.then_some(returned);
        Ok(WireResult { index: ranked.index, relevance_score: ranked.relevance_score, document })
    });
    let tokens = ranking.usage.prompt_tokens;
    let answer = Answer {
        id: ranking.id.as_deref(),
        model,
        results: results.collect::<Result<_, _>>()?,
        meta: ranking.meta,
        usage: tokens.map(|tokens| json!({ "prompt_tokens": tokens, "total_tokens": ranking.usage.total_tokens })),
    };
    serde_json::to_vec(&answer).map_err(|_| unreadable("the upstream's answer cannot be written as JSON"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::canon::{Ranked, Usage};

    fn refusal(body: &Value) -> (FailureKind, Option<String>) {
        let failure = read_request(&body.to_string()).unwrap_err();
        (failure.kind, failure.param.map(String::from))
    }

    fn answer(body: &Value, results: &[(usize, &str)], usage: Usage) -> Result<Value, Failure> {
        let body = body.to_string();
        let results = results
            .iter()
            .map(|(index, score)| Ranked { index: *index, relevance_score: serde_json::from_str(score).unwrap() });
        let ranking = Ranking { id: Some("r-1".into()), results: results.collect(), meta: None, usage };
        Ok(serde_json::from_slice(&write_answer(&read_request(&body)?, &ranking, "alias")?).unwrap())
    }

    #[test]
    fn documents_are_texts_or_objects_with_one() {
        let body = json!({
            "model": "m", "query": "q\n", "documents": ["a", {"text": "b", "id": 7}], "top_n": 2,
            "return_documents": true, "rank_fields": null, "max_tokens_per_doc": 9,
        });
        let body = body.to_string();
        let request = read_request(&body).unwrap();
        assert_eq!(request.query, "q\n");
        assert_eq!(request.documents.iter().map(|document| &*document.text).collect::<Vec<_>>(), ["a", "b"]);
        assert!(request.documents[0].object.is_none());
        assert_eq!(request.documents[1].object.unwrap().get(), r#"{"text":"b","id":7}"#);
        assert_eq!((request.top_n, request.return_documents), (Some(2), true));
        assert_eq!(request.extra.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["max_tokens_per_doc"]);
    }

    #[test]
    fn what_every_provider_would_refuse_is_refused_with_its_name() {
        for (body, param) in [
            (json!({"documents": ["a"]}), "query"),
            (json!({"query": null, "documents": ["a"]}), "query"),
            (json!({"query": 7, "documents": ["a"]}), "query"),
            (json!({"query": "q"}), "documents"),
            (json!({"query": "q", "documents": []}), "documents"),
            (json!({"query": "q", "documents": "a"}), "documents"),
            (json!({"query": "q", "documents": [7]}), "documents"),
            (json!({"query": "q", "documents": [null]}), "documents"),
            (json!({"query": "q", "documents": ["a"], "stream": true}), "stream"),
            (json!({"query": "q", "documents": ["a"], "top_n": 0}), "top_n"),
            (json!({"query": "q", "documents": ["a"], "top_n": -1}), "top_n"),
            (json!({"query": "q", "documents": ["a"], "top_n": "1"}), "top_n"),
            (json!({"query": "q", "documents": ["a"], "return_documents": "yes"}), "return_documents"),
        ] {
            assert_eq!(refusal(&body), (FailureKind::InvalidRequest, Some(param.to_owned())), "{body}");
        }
        assert_eq!(read_request("[]").unwrap_err().kind, FailureKind::InvalidRequest);
    }

    #[test]
    fn images_cannot_be_translated() {
        let (query, documents) = (Some("query".to_owned()), Some("documents".to_owned()));
        let image = json!({"image": "https://h/a.png"});
        assert_eq!(refusal(&json!({"query": image, "documents": ["a"]})), (FailureKind::Untranslatable, query));
        assert_eq!(refusal(&json!({"query": "q", "documents": [image]})), (FailureKind::Untranslatable, documents));
    }

    #[test]
    fn documents_come_back_where_the_client_wants_them() {
        let mut body = json!({"query": "q", "documents": ["a", {"text": "b", "id": 7}], "return_documents": true});
        assert_eq!(
            answer(&body, &[(1, "0.9"), (0, "1e-3")], Usage::of(Some(5), None)).unwrap(),
            json!({
                "id": "r-1", "model": "alias",
                "results": [
                    {"index": 1, "relevance_score": 0.9, "document": {"text": "b", "id": 7}},
                    {"index": 0, "relevance_score": 1e-3, "document": {"text": "a"}},
                ],
                "usage": {"prompt_tokens": 5, "total_tokens": 5},
            })
        );
        body["return_documents"] = false.into();
        assert_eq!(
            answer(&body, &[(1, "0.9")], Usage::default()).unwrap(),
            json!({"id": "r-1", "model": "alias", "results": [{"index": 1, "relevance_score": 0.9}]})
        );
    }

    #[test]
    fn an_answer_that_does_not_fit_the_request_is_a_failure() {
        let body = json!({"query": "q", "documents": ["a"]});
        let kind = |results| answer(&body, results, Usage::default()).unwrap_err().kind;
        assert_eq!(kind(&[]), FailureKind::EmptyAnswer);
        assert_eq!(kind(&[(1, "0.5")]), FailureKind::UnreadableAnswer);
        assert_eq!(kind(&[(0, "\"0.5\"")]), FailureKind::UnreadableAnswer);
        assert_eq!(kind(&[(0, "null")]), FailureKind::UnreadableAnswer);
    }
}

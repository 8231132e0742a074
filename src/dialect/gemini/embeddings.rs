//! Google's embeddings. The Gemini API takes many texts at once (`batchEmbedContents`); Vertex AI
//! takes many of its older models (`predict`) and one of the others (`embedContent`).
//!
//! Source: Google's API reference of the Gemini API, "Embeddings" (`EmbedContentRequest`,
//! `BatchEmbedContentsResponse`), and its guide "Embeddings"; the reference of Vertex AI, "Text
//! embeddings API", "models.embedContent" (`EmbedContentConfig`), and its guide "Get text embeddings"
//! for the limits.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::canon::{EmbeddingRequest, Embeddings, Failure, Json, Usage};
use crate::dialect::json::{count, read_whole, unreadable, untranslatable};
use crate::dialect::refusal::error_in_answer;

/// More texts than these are refused by `batchEmbedContents`; the documents do not say so.
const MAX_BATCH: usize = 100;
/// More texts than these are refused by `predict`.
const MAX_INSTANCES: usize = 250;

/// How a model is asked for vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The Gemini API's for many texts.
    BatchEmbedContents,
    /// Vertex AI's for one text.
    EmbedContent,
    /// Vertex AI's for many texts.
    Predict,
}

impl Method {
    /// The one that a model has on Vertex AI.
    pub fn on_vertex(model: &str) -> Self {
        let name = model.split('@').next().unwrap_or_default();
        if name.contains("gemini") && name != "gemini-embedding-001" { Self::EmbedContent } else { Self::Predict }
    }

    /// What stands behind the model in the address.
    pub fn verb(self) -> &'static str {
        match self {
            Self::BatchEmbedContents => "batchEmbedContents",
            Self::EmbedContent => "embedContent",
            Self::Predict => "predict",
        }
    }
}

#[derive(Serialize)]
struct Batch<'r> {
    requests: Vec<BatchEntry<'r>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchEntry<'r> {
    model: &'r str,
    content: WireContent<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'r Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'r Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Single<'r> {
    content: WireContent<'r>,
    #[serde(skip_serializing_if = "Config::is_empty")]
    embed_content_config: Config<'r>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'r Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'r Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_truncate: Option<&'r Json<'r>>,
}

impl Config<'_> {
    fn is_empty(&self) -> bool {
        self.task_type.is_none()
            && self.title.is_none()
            && self.output_dimensionality.is_none()
            && self.auto_truncate.is_none()
    }
}

#[derive(Serialize)]
struct Prediction<'r> {
    instances: Vec<Instance<'r>>,
    /// Without what the instances say.
    #[serde(skip_serializing_if = "Config::is_empty")]
    parameters: Config<'r>,
}

#[derive(Serialize)]
struct Instance<'r> {
    content: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'r Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'r Json<'r>>,
}

#[derive(Serialize)]
struct WireContent<'r> {
    parts: [Part<'r>; 1],
}

#[derive(Serialize)]
struct Part<'r> {
    text: &'r str,
}

fn content(text: &str) -> WireContent<'_> {
    WireContent { parts: [Part { text }] }
}

/// The body of a request for this model. `task_type`, `title` and `auto_truncate` may be among the
/// client's fields, in Google's spelling or this one.
///
/// # Errors
///
/// `Untranslatable` for more texts than are taken at once.
pub fn write_request(request: &EmbeddingRequest<'_>, model: &str, method: Method) -> Result<Vec<u8>, Failure> {
    let task_type = request.extra(&["task_type", "taskType"]);
    let title = request.extra(&["title"]);
    let auto_truncate = request.extra(&["auto_truncate", "autoTruncate"]);
    let output_dimensionality = request.dimensions;
    let texts = request.texts.iter().map(AsRef::as_ref);
    let body = match method {
        Method::BatchEmbedContents => {
            limit(request, MAX_BATCH)?;
            // Tuned models have a collection of their own, which their name says.
            let model = if model.contains('/') { Cow::Borrowed(model) } else { format!("models/{model}").into() };
            let entry =
                |text| BatchEntry { model: &model, content: content(text), task_type, title, output_dimensionality };
            serde_json::to_vec(&Batch { requests: texts.map(entry).collect() })
        }
        Method::EmbedContent => {
            let [text] = request.texts.as_slice() else {
                return Err(untranslatable("this channel takes one text at a time; send them one by one").at("input"));
            };
            let embed_content_config = Config { task_type, title, output_dimensionality, auto_truncate };
            serde_json::to_vec(&Single { content: content(text), embed_content_config })
        }
        Method::Predict => {
            limit(request, MAX_INSTANCES)?;
            let instances = texts.map(|content| Instance { content, task_type, title }).collect();
            let parameters = Config { output_dimensionality, auto_truncate, ..Config::default() };
            serde_json::to_vec(&Prediction { instances, parameters })
        }
    };
    body.map_err(|_| untranslatable("the request cannot be written as JSON"))
}

fn limit(request: &EmbeddingRequest<'_>, most: usize) -> Result<(), Failure> {
    match request.texts.len() <= most {
        true => Ok(()),
        false => Err(untranslatable(format!("this channel takes {most} texts at a time; send fewer")).at("input")),
    }
}

/// An answer to any of the methods.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow, default)]
    embeddings: Option<Vec<Vector<'a>>>,
    #[serde(borrow, default)]
    embedding: Option<Vector<'a>>,
    #[serde(borrow, default)]
    predictions: Option<Vec<Predicted<'a>>>,
    #[serde(default, alias = "usage_metadata")]
    usage_metadata: Option<UsageMetadata>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Vector<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UsageMetadata {
    #[serde(deserialize_with = "count")]
    prompt_token_count: Option<i64>,
}

#[derive(Deserialize)]
struct Predicted<'a> {
    #[serde(borrow)]
    embeddings: PredictedVector<'a>,
}

#[derive(Deserialize)]
struct PredictedVector<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
    #[serde(default)]
    statistics: Option<Statistics>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Statistics {
    #[serde(deserialize_with = "count")]
    token_count: Option<i64>,
}

/// The vectors of an answer, whichever the method.
///
/// # Errors
///
/// The answer is an error, or has no vectors.
pub fn read_answer(body: &[u8]) -> Result<Embeddings<'_>, Failure> {
    const NOT_ONE: &str = "the upstream's answer has no vectors; check that the channel's model is one for embeddings";
    let answer: Answer<'_> = read_whole(body, NOT_ONE)?;
    if let Some(error) = answer.error {
        return Err(error_in_answer(error));
    }
    let tokens = answer.usage_metadata.and_then(|usage| usage.prompt_token_count);
    let (vectors, tokens) = match (answer.embeddings, answer.embedding, answer.predictions) {
        (Some(vectors), ..) => (vectors.iter().map(|vector| vector.values).collect(), tokens),
        (_, Some(vector), _) => (vec![vector.values], tokens),
        (.., Some(predicted)) => {
            let counts = predicted.iter().filter_map(|one| one.embeddings.statistics.as_ref()?.token_count);
            let tokens = counts.reduce(i64::saturating_add);
            (predicted.iter().map(|one| one.embeddings.values).collect(), tokens)
        }
        _ => return Err(unreadable(NOT_ONE)),
    };
    Ok(Embeddings { vectors, usage: Usage::of(tokens, None) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::canon::FailureKind;

    fn request<'a>(texts: &[&'a str], dimensions: Option<u32>, extra: &'a Value) -> EmbeddingRequest<'a> {
        let extra = extra.as_object().unwrap().iter();
        EmbeddingRequest {
            texts: texts.iter().map(|text| Cow::Borrowed(*text)).collect(),
            dimensions,
            extra: extra
                .map(|(name, value)| (Cow::Borrowed(name.as_str()), crate::dialect::json::raw(value)))
                .collect(),
            ..EmbeddingRequest::default()
        }
    }

    fn written(request: &EmbeddingRequest<'_>, model: &str, method: Method) -> Value {
        serde_json::from_slice(&write_request(request, model, method).unwrap()).unwrap()
    }

    fn vectors(body: &str) -> (Vec<String>, Usage) {
        let embeddings = read_answer(body.as_bytes()).unwrap();
        (embeddings.vectors.iter().map(|vector| vector.get().to_owned()).collect(), embeddings.usage)
    }

    #[test]
    fn a_model_has_one_method_on_vertex() {
        for (model, method) in [
            ("text-embedding-005", Method::Predict),
            ("text-multilingual-embedding-002", Method::Predict),
            ("gemini-embedding-001", Method::Predict),
            ("gemini-embedding-001@default", Method::Predict),
            ("gemini-embedding-2", Method::EmbedContent),
            ("gemini-embedding-2-preview", Method::EmbedContent),
        ] {
            assert_eq!(Method::on_vertex(model), method, "{model}");
        }
    }

    #[test]
    fn the_gemini_api_takes_each_text_as_a_request_of_its_own() {
        let extra = json!({"task_type": "RETRIEVAL_QUERY", "input_type": "search_query"});
        assert_eq!(
            written(&request(&["a", "b"], Some(768), &extra), "gemini-embedding-2", Method::BatchEmbedContents),
            json!({"requests": [
                {
                    "model": "models/gemini-embedding-2", "content": {"parts": [{"text": "a"}]},
                    "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 768,
                },
                {
                    "model": "models/gemini-embedding-2", "content": {"parts": [{"text": "b"}]},
                    "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 768,
                },
            ]})
        );
        assert_eq!(
            written(&request(&["a"], None, &json!({})), "tunedModels/t", Method::BatchEmbedContents),
            json!({"requests": [{"model": "tunedModels/t", "content": {"parts": [{"text": "a"}]}}]})
        );
    }

    #[test]
    fn embed_content_takes_one_text_and_a_configuration() {
        let extra = json!({"taskType": "CLUSTERING", "title": "t", "autoTruncate": false});
        assert_eq!(
            written(&request(&["a"], Some(128), &extra), "gemini-embedding-2", Method::EmbedContent),
            json!({
                "content": {"parts": [{"text": "a"}]},
                "embedContentConfig": {
                    "taskType": "CLUSTERING", "title": "t", "outputDimensionality": 128, "autoTruncate": false,
                },
            })
        );
        assert_eq!(
            written(&request(&["a"], None, &json!({})), "gemini-embedding-2", Method::EmbedContent),
            json!({"content": {"parts": [{"text": "a"}]}})
        );
        let failure =
            write_request(&request(&["a", "b"], None, &json!({})), "gemini-embedding-2", Method::EmbedContent);
        let failure = failure.unwrap_err();
        assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::Untranslatable, Some("input")));
    }

    #[test]
    fn predict_takes_texts_as_instances() {
        let extra = json!({"taskType": "RETRIEVAL_DOCUMENT", "title": "t", "auto_truncate": false});
        assert_eq!(
            written(&request(&["a", "b"], Some(256), &extra), "text-embedding-005", Method::Predict),
            json!({
                "instances": [
                    {"content": "a", "task_type": "RETRIEVAL_DOCUMENT", "title": "t"},
                    {"content": "b", "task_type": "RETRIEVAL_DOCUMENT", "title": "t"},
                ],
                "parameters": {"outputDimensionality": 256, "autoTruncate": false},
            })
        );
        assert_eq!(
            written(&request(&["a"], None, &json!({})), "text-embedding-005", Method::Predict),
            json!({"instances": [{"content": "a"}]})
        );
    }

    #[test]
    fn more_texts_than_are_taken_at_once_cannot_be_said() {
        for (method, most) in [(Method::BatchEmbedContents, 100), (Method::Predict, 250)] {
            let nothing = json!({});
            assert!(write_request(&request(&vec!["a"; most], None, &nothing), "m", method).is_ok());
            let failure = write_request(&request(&vec!["a"; most + 1], None, &nothing), "m", method).unwrap_err();
            let told = format!("this channel takes {most} texts at a time; send fewer");
            assert_eq!((failure.kind, failure.message), (FailureKind::Untranslatable, told));
        }
    }

    #[test]
    fn the_answer_of_every_method_is_read() {
        let usage = Usage::of(Some(11), None);
        let batch = r#"{"embeddings":[{"values":[0.1, 2]},{"values":[3]}],"usageMetadata":{"promptTokenCount":11}}"#;
        assert_eq!(vectors(batch), (vec!["[0.1, 2]".to_owned(), "[3]".to_owned()], usage));
        let without_usage = r#"{"embeddings":[{"values":[1]}]}"#;
        assert_eq!(vectors(without_usage), (vec!["[1]".to_owned()], Usage::default()));
        let single = r#"{"embedding":{"values":[1]},"usageMetadata":{"promptTokenCount":11,"totalTokenCount":11,
                         "promptTokensDetails":[{"modality":"TEXT","tokenCount":11}]},"truncated":false}"#;
        assert_eq!(vectors(single), (vec!["[1]".to_owned()], usage));
        let predictions = r#"{"predictions":[
            {"embeddings":{"values":[1],"statistics":{"truncated":false,"token_count":5}}},
            {"embeddings":{"statistics":{"token_count":6.0,"truncated":true},"values":[2]}}
        ],"metadata":{"billableCharacterCount":20},"deployedModelId":"1"}"#;
        assert_eq!(vectors(predictions), (vec!["[1]".to_owned(), "[2]".to_owned()], usage));
    }

    #[test]
    fn what_has_no_vectors_is_a_failure() {
        for (body, kind) in [
            ("", FailureKind::EmptyAnswer),
            (r#"{"embeddings":[{"values":[0.1"#, FailureKind::CutAnswer),
            ("<html>", FailureKind::UnreadableAnswer),
            ("{}", FailureKind::UnreadableAnswer),
            (r#"{"embeddings":[{}]}"#, FailureKind::UnreadableAnswer),
            (r#"{"candidates":[]}"#, FailureKind::UnreadableAnswer),
            (r#"{"predictions":[{"textEmbedding":[1]}]}"#, FailureKind::UnreadableAnswer),
            (r#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}"#, FailureKind::RateLimited),
        ] {
            assert_eq!(read_answer(body.as_bytes()).unwrap_err().kind, kind, "{body}");
        }
    }
}

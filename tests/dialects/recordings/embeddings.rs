//! Embeddings: what a client of OpenAI's format asks for is what was sent to the provider, and what the
//! provider answered is what the client gets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uni_api::canon::Usage;
use uni_api::dialect::gemini::embeddings::Method;
use uni_api::dialect::openai_embeddings::{read_request, write_answer};
use uni_api::dialect::{cohere, gemini};

use super::{Answered, Recording, Tally, all};

/// How the provider of a recording is asked.
enum Way {
    Gemini(Method),
    Cohere,
}

fn way(path: &str) -> Option<Way> {
    let method = [Method::BatchEmbedContents, Method::EmbedContent].into_iter();
    match path {
        "/v2/embed" => Some(Way::Cohere),
        _ => method.map(Way::Gemini).find(|way| matches!(way, Way::Gemini(method) if path.ends_with(method.verb()))),
    }
}

/// What a client would have sent for this to be asked.
fn client_request(sent: &Value, encoding: &str) -> Value {
    let first = if sent["requests"].is_array() { &sent["requests"][0] } else { sent };
    let texts = match (&sent["texts"], &sent["requests"]) {
        (Value::Array(texts), _) => texts.clone(),
        (_, Value::Array(requests)) => {
            requests.iter().map(|request| request["content"]["parts"][0]["text"].clone()).collect()
        }
        _ => vec![sent["content"]["parts"][0]["text"].clone()],
    };
    let dimensions = [&first["outputDimensionality"], &first["output_dimension"]];
    let dimensions = dimensions.into_iter().find(|dimensions| dimensions.is_number());
    json!({
        "model": "alias", "input": texts, "encoding_format": encoding,
        "dimensions": dimensions,
        "task_type": first["taskType"], "input_type": first["input_type"], "truncate": first["truncate"],
    })
}

/// The vectors of an answer, and its tokens.
fn vectors(answer: &Value) -> (Vec<Vec<f32>>, Option<i64>) {
    let vectors: Vec<&Value> = match (&answer["embeddings"], &answer["embedding"]) {
        (Value::Array(vectors), _) => vectors.iter().map(|vector| &vector["values"]).collect(),
        (Value::Object(types), _) => types["float"].as_array().unwrap().iter().collect(),
        (_, vector) => vec![&vector["values"]],
    };
    let numbers = |vector: &Value| serde_json::from_value(vector.clone()).unwrap();
    let tokens = [&answer["usageMetadata"]["promptTokenCount"], &answer["meta"]["billed_units"]["input_tokens"]];
    (vectors.into_iter().map(numbers).collect(), tokens.iter().find_map(|tokens| tokens.as_i64()))
}

fn received(answer: &[u8]) -> Vec<Vec<f32>> {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    let entries = answer["data"].as_array().unwrap().iter();
    let numbers = |entry: &Value| match &entry["embedding"] {
        Value::String(text) => {
            let bytes = STANDARD.decode(text).unwrap();
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
        }
        list => serde_json::from_value(list.clone()).unwrap(),
    };
    entries.map(numbers).collect()
}

fn check(recording: &Recording, way: &Way, encoding: &str) {
    let mut sent = recording.request.clone();
    sent.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let body = client_request(&sent, encoding).to_string();
    let request = read_request(&body).unwrap();
    let written = match way {
        Way::Gemini(method) => gemini::embeddings::write_request(&request, recording.model(), *method),
        Way::Cohere => cohere::embed::write_request(&request, recording.model()),
    };
    assert_eq!(serde_json::from_slice::<Value>(&written.unwrap()).unwrap(), sent, "{}", recording.name);
    let Answered::Whole(answer) = &recording.answer else { panic!("{} is streamed", recording.name) };
    if recording.is_success() {
        let (expected, tokens) = vectors(answer);
        let answer = answer.to_string();
        let embeddings = match way {
            Way::Gemini(_) => gemini::embeddings::read_answer(answer.as_bytes()),
            Way::Cohere => cohere::embed::read_answer(answer.as_bytes()),
        };
        let embeddings = embeddings.unwrap();
        assert_eq!(embeddings.usage, Usage::of(tokens, None), "{}", recording.name);
        assert_eq!(received(&write_answer(&request, &embeddings, "alias").unwrap()), expected, "{}", recording.name);
    }
}

#[test]
fn embeddings_are_asked_for_and_answered_as_recorded() {
    let mut tally = Tally::default();
    for recording in all() {
        let Some(way) = way(&recording.path) else { continue };
        check(&recording, &way, "float");
        check(&recording, &way, "base64");
        tally.add(&recording.provider, if recording.is_success() { "answered" } else { "refused" });
    }
    tally.check("embeddings", &["cohere: 2 answered", "gemini: 2 answered, 1 refused", "vertex: 1 answered"]);
}

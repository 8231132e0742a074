//! Traffic in OpenAI's format goes past byte for byte.

use bytes::Bytes;
use serde_json::Value;
use uni_api::dialect::passthrough::{ChatRequest, Demands};
use uni_api::dialect::{AnswerStream, openai_chat};

use crate::pipe::pushed;

use super::{Answered, Matter, Recording, Tally, all};

/// The usage object of an answer, or of the chunk of a stream that has it.
fn usage_of(recording: &Recording) -> Option<Value> {
    let usage = |document: &Value| document.get("usage").filter(|usage| !usage.is_null()).cloned();
    match &recording.answer {
        Answered::Whole(body) => usage(body),
        Answered::Streamed(stream) => {
            let data = stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
            data.rev().find_map(|data| usage(&serde_json::from_str(data).unwrap()))
        }
    }
}

fn chats() -> Vec<Recording> {
    all().into_iter().filter(|recording| recording.matter() == Matter::OpenAi).collect()
}

#[test]
fn recorded_requests_pass_as_they_are_but_for_the_model() {
    let mut tally = Tally::default();
    for recording in chats() {
        let body = Bytes::from(recording.request.to_string());
        let request = ChatRequest::parse(body.clone(), 100).unwrap();
        let demands = |model| Demands { model, tools: true, stream_usage: false };
        assert_eq!(request.for_upstream(demands(recording.model())), body, "{}", recording.name);
        let mut renamed = recording.request.clone();
        renamed["model"] = "another".into();
        let sent = request.for_upstream(demands("another"));
        assert_eq!(serde_json::from_slice::<Value>(&sent).unwrap(), renamed, "{}", recording.name);
        tally.add(&recording.provider, "requests");
    }
    tally.check(
        "requests in OpenAI's format that pass unchanged",
        &[
            "azure: 1 requests",
            "cerebras: 7 requests",
            "groq: 15 requests",
            "huggingface: 5 requests",
            "mistral: 10 requests",
            "openai: 20 requests",
            "openrouter: 15 requests",
            "zai: 4 requests",
        ],
    );
}

#[test]
fn recorded_answers_pass_as_they_are() {
    let mut tally = Tally::default();
    for recording in chats().iter().filter(|recording| recording.is_success()) {
        let usage = match &recording.answer {
            Answered::Whole(body) => whole(&recording.name, &body.to_string()),
            Answered::Streamed(stream) if stream.contains("event: error\n") => {
                refused_in_the_middle(recording, stream);
                tally.add(&recording.provider, "streams with an error");
                continue;
            }
            Answered::Streamed(stream) => passed(recording, stream),
        };
        let expected = usage_of(recording);
        let count = |name: &str| expected.as_ref().and_then(|usage| usage[name].as_i64());
        let usage = usage.unwrap_or_default();
        assert_eq!(usage.prompt_tokens, count("prompt_tokens"), "{}", recording.name);
        assert_eq!(usage.completion_tokens, count("completion_tokens"), "{}", recording.name);
        assert_eq!(usage.total_tokens, count("total_tokens"), "{}", recording.name);
        let detail = |of: &str, name: &str| expected.as_ref().and_then(|usage| usage[of][name].as_i64());
        assert_eq!(usage.cached_tokens, detail("prompt_tokens_details", "cached_tokens"), "{}", recording.name);
        let reasoning = detail("completion_tokens_details", "reasoning_tokens");
        assert_eq!(usage.reasoning_tokens, reasoning, "{}", recording.name);
        let kind = if matches!(recording.answer, Answered::Whole(_)) { "whole" } else { "streamed" };
        tally.add(&recording.provider, format!("{kind}{}", if expected.is_some() { "" } else { " without usage" }));
    }
    tally.check(
        "answers in OpenAI's format that pass unchanged",
        &[
            "azure: 1 whole",
            "cerebras: 7 whole",
            "groq: 1 streamed, 1 streams with an error, 11 whole",
            "huggingface: 1 streamed, 4 whole",
            "mistral: 1 streamed, 9 whole",
            "openai: 4 streamed, 15 whole",
            "openrouter: 3 streamed, 12 whole",
            "zai: 4 whole",
        ],
    );
}

fn whole(name: &str, body: &str) -> Option<uni_api::canon::Usage> {
    let skimmed = openai_chat::read_answer(body.as_bytes(), true);
    assert_eq!(skimmed, openai_chat::read_answer(body.as_bytes(), false), "{name}");
    skimmed.unwrap_or_else(|failure| panic!("{name}: {failure:?}"))
}

/// Everything that reaches the client of a stream in these pieces.
fn pass(
    recording: &Recording,
    pieces: Vec<Bytes>,
    is_usage_wanted: bool,
) -> (Vec<u8>, Option<uni_api::canon::Failure>, Option<uni_api::canon::Usage>) {
    let mut request = recording.request.clone();
    request.as_object_mut().unwrap().remove("stream_options");
    if is_usage_wanted {
        request["stream_options"]["include_usage"] = true.into();
    }
    let request = ChatRequest::parse(Bytes::from(request.to_string()), 0).unwrap();
    let demands = Demands { model: "another", tools: true, stream_usage: true };
    pushed(AnswerStream::Passed(request.answer_stream(demands)), pieces)
}

fn passed(recording: &Recording, stream: &str) -> Option<uni_api::canon::Usage> {
    let name = &recording.name;
    let (bytes, failure, usage) = pass(recording, crate::pipe::cut(stream, []), true);
    assert_eq!(failure, None, "{name}");
    assert_eq!(String::from_utf8(bytes).unwrap(), stream, "{name}");
    // A chunk of nothing but usage is hidden from those who did not ask for it, and nothing else is.
    let is_usage_alone = |event: &&str| {
        let data = event.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok());
        data.is_some_and(|chunk| chunk["usage"].is_object() && chunk["choices"].as_array().is_none_or(Vec::is_empty))
    };
    let shown: String = stream.split_inclusive("\n\n").filter(|event| !is_usage_alone(event)).collect();
    for pieces in [crate::pipe::cut(stream, []), crate::pipe::cut(stream, 0..stream.len())] {
        let (bytes, failure, unseen) = pass(recording, pieces, false);
        assert_eq!((String::from_utf8(bytes).unwrap(), failure), (shown.clone(), None), "{name}");
        assert_eq!(unseen, usage, "{name}");
    }
    usage
}

/// All that came before the error reaches the client, and the error is seen.
fn refused_in_the_middle(recording: &Recording, stream: &str) {
    let before = stream.find("event: error\n").unwrap();
    let error = &stream[before..];
    let (bytes, failure, _) = pass(recording, crate::pipe::cut(stream, [before / 2]), true);
    assert_eq!(String::from_utf8(bytes).unwrap(), stream[..before], "{}", recording.name);
    let message = failure.unwrap().message;
    assert!(!message.is_empty() && error.contains(&message), "{}: {message}", recording.name);
}

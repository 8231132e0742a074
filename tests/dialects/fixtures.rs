//! Documents written from the providers' published formats, and what becomes of them. Adding a case is adding a file
//! to `fixtures/` and looking at the snapshot that `INSTA_UPDATE=always cargo test --test dialects fixtures` writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use uni_api::canon::{Failure, Usage};
use uni_api::dialect::passthrough::{ChatRequest, Demands};
use uni_api::dialect::translated::TranslatedStream;
use uni_api::dialect::{AnswerStream, openai_chat};

use crate::native::anthropic;
use crate::pipe::{answered, cut, head, pushed, sent, streamed};

/// Name and text of every file of this kind.
fn fixtures(folder: &str, extension: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialects/fixtures").join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|own| own == extension));
    paths.sort();
    assert!(!paths.is_empty());
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn check(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn told(outcome: Result<Value, Failure>) -> String {
    match outcome {
        Ok(document) => format!("{document:#}"),
        Err(failure) => told_of(&failure),
    }
}

fn told_of(failure: &Failure) -> String {
    let Failure { kind, message, param, upstream_code, upstream_type, .. } = failure;
    let details = [("param", param.as_deref()), ("code", upstream_code.as_deref()), ("type", upstream_type.as_deref())];
    let known = details.iter().filter_map(|(name, value)| Some(format!(" {name}={}", (*value)?)));
    format!("{kind:?}{}: {message}", known.collect::<String>())
}

/// What reaches a client, how it ended, what was counted.
fn told_of_stream(bytes: &[u8], failure: Option<Failure>) -> String {
    let end = failure.map_or_else(|| "whole".to_owned(), |failure| told_of(&failure));
    format!("{}=> {end}", String::from_utf8_lossy(bytes))
}

fn counted(usage: Option<Usage>) -> String {
    usage.map_or_else(|| "nothing counted".to_owned(), |usage| {
        let Usage { prompt_tokens, completion_tokens, total_tokens, cached_tokens, cache_creation_tokens, reasoning_tokens } = usage;
        format!("{prompt_tokens:?} + {completion_tokens:?} = {total_tokens:?}; {cached_tokens:?} cached, {cache_creation_tokens:?} written, {reasoning_tokens:?} thought")
    })
}

#[test]
fn requests_of_clients_for_anthropic() {
    for (name, body) in fixtures("requests", "json") {
        let body: Value = serde_json::from_str(&body).unwrap();
        let model = body["model"].as_str().unwrap();
        check(&format!("request_{name}"), &told(sent(&body, anthropic::PLAIN.format, model)));
    }
}

#[test]
fn requests_of_clients_for_anthropic_on_vertex() {
    for name in ["parallel_tool_calls", "images"] {
        let (_, body) = fixtures("requests", "json").into_iter().find(|(own, _)| own == name).unwrap();
        let body = serde_json::from_str(&body).unwrap();
        check(&format!("request_on_vertex_{name}"), &told(sent(&body, anthropic::VERTEX.format, "claude-sonnet-4-5")));
    }
}

#[test]
fn requests_of_clients_as_the_hub_has_them() {
    for name in ["cache_hints", "documents", "stop_and_limits", "thoughts_through_a_tool_loop", "thoughts_of_others"] {
        let (_, body) = fixtures("requests", "json").into_iter().find(|(own, _)| own == name).unwrap();
        check(&format!("hub_{name}"), &format!("{:#?}", openai_chat::read_request(&body).unwrap()));
    }
}

#[test]
fn whole_answers_of_anthropic_for_clients() {
    for (name, body) in fixtures("anthropic", "json") {
        check(&format!("answer_{name}"), &told(answered(&body, anthropic::PLAIN.format)));
    }
}

#[test]
fn streamed_answers_of_anthropic_for_clients() {
    for (name, stream) in fixtures("anthropic", "sse") {
        let (bytes, failure) = streamed(cut(&stream, []), anthropic::PLAIN.format);
        check(&format!("stream_{name}"), &told_of_stream(&bytes, failure));
    }
}

#[test]
fn token_counts_are_sent_to_those_who_ask() {
    for (name, stream) in fixtures("anthropic", "sse") {
        let (asked, _) = streamed(cut(&stream, []), anthropic::PLAIN.format);
        let unasked = TranslatedStream::new(anthropic::PLAIN.format, &head(), false);
        let (unasked, ..) = pushed(AnswerStream::Translated(unasked), cut(&stream, []));
        let asked = String::from_utf8(asked).unwrap();
        let events = asked.split_inclusive("\n\n").filter(|event| !event.contains(r#""choices":[],"usage""#));
        assert_eq!(String::from_utf8(unasked).unwrap(), events.collect::<String>(), "{name}");
    }
}

#[test]
fn whole_answers_in_openai_format_as_the_gateway_sees_them() {
    for (name, body) in fixtures("openai", "json") {
        let seen = openai_chat::read_answer(body.as_bytes(), false);
        assert_eq!(openai_chat::read_answer(body.as_bytes(), true), seen, "{name}");
        check(&format!("openai_answer_{name}"), &seen.map_or_else(|failure| told_of(&failure), counted));
    }
}

/// A stream of the client's own format on its way to a client that did not ask for token counts.
fn passed(pieces: Vec<Bytes>) -> (Vec<u8>, Option<Failure>, Option<Usage>) {
    let body = Bytes::from_static(br#"{"model":"m","messages":[],"stream":true}"#);
    let request = ChatRequest::parse(body, 0).unwrap();
    let demands = Demands { model: "m", tools: true, stream_usage: true };
    pushed(AnswerStream::Passed(request.answer_stream(demands)), pieces)
}

#[test]
fn streamed_answers_in_openai_format_for_clients() {
    for (name, stream) in fixtures("openai", "sse") {
        let (bytes, failure, usage) = passed(cut(&stream, []));
        let text = format!("{}\n{}", told_of_stream(&bytes, failure), counted(usage));
        check(&format!("openai_stream_{name}"), &text);
    }
}

static STREAMS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| fixtures("anthropic", "sse"));
static OPENAI_STREAMS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| fixtures("openai", "sse"));

proptest! {
    #[test]
    fn any_cuts_give_a_client_the_same_bytes(cuts in prop::collection::vec(0..9999usize, 0..30)) {
        for (name, stream) in &*STREAMS {
            let expected = streamed(cut(stream, []), anthropic::PLAIN.format);
            let pieces = cut(stream, cuts.iter().map(|place| place % stream.len()));
            prop_assert_eq!(streamed(pieces, anthropic::PLAIN.format), expected, "{}", name);
        }
        for (name, stream) in &*OPENAI_STREAMS {
            let expected = passed(cut(stream, []));
            let pieces = cut(stream, cuts.iter().map(|place| place % stream.len()));
            prop_assert_eq!(passed(pieces), expected, "{}", name);
        }
    }
}

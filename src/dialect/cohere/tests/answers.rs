use bytes::Bytes;
use insta::assert_json_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::canon::{ChatEvent, Failure, FailureKind};
use crate::dialect::openai_chat::{AnswerHead, write_answer};
use crate::dialect::translated::TranslatedStream;
use crate::dialect::{Format, Framing, sse};

const V2_TEXT: &str = include_str!("fixtures/v2_text.sse");
const V2_THINKING: &str = include_str!("fixtures/v2_thinking.sse");
const V2_TOOLS: &str = include_str!("fixtures/v2_tools.sse");
const V2_ERROR: &str = include_str!("fixtures/v2_error.sse");
const V1_TEXT: &str = include_str!("fixtures/v1_text.jsonl");
const V1_TOOLS: &str = include_str!("fixtures/v1_tools.jsonl");
const V1_EVENTS: &str = include_str!("fixtures/v1_events.sse");

const STREAMS: [(Format, &str); 7] = [
    (Format::CohereV2, V2_TEXT),
    (Format::CohereV2, V2_THINKING),
    (Format::CohereV2, V2_TOOLS),
    (Format::CohereV2, V2_ERROR),
    (Format::CohereV1, V1_TEXT),
    (Format::CohereV1, V1_TOOLS),
    (Format::CohereV1, V1_EVENTS),
];

fn head() -> AnswerHead {
    AnswerHead { id: "chatcmpl-1".to_owned(), created: 1_700_000_000, model: "alias".to_owned() }
}

/// Everything that reaches the client, and how it ended.
fn passed(format: Format, pieces: impl IntoIterator<Item = Bytes>) -> (Vec<u8>, Option<Failure>) {
    let mut stream = TranslatedStream::new(format, &head(), true);
    let mut out = Vec::new();
    for piece in pieces {
        let passed = stream.push(piece);
        out.extend_from_slice(&passed.bytes);
        if passed.failure.is_some() {
            return (out, passed.failure);
        }
    }
    let passed = stream.finish();
    out.extend_from_slice(&passed.bytes);
    (out, passed.failure)
}

/// The client's chunks, without what is the same in all of them.
fn chunks(format: Format, stream: &str) -> Vec<Value> {
    let (out, failure) = passed(format, [Bytes::copy_from_slice(stream.as_bytes())]);
    assert_eq!(failure, None);
    let datas = sse::events(&out).filter_map(|event| event.data.map(|data| data.into_owned())).collect::<Vec<_>>();
    let chunk = |data: Vec<u8>| match serde_json::from_slice::<Value>(&data) {
        Ok(chunk) => match chunk["choices"].get(0) {
            Some(choice) if choice["finish_reason"].is_null() => choice["delta"].clone(),
            Some(choice) => choice["finish_reason"].clone(),
            None => chunk["usage"].clone(),
        },
        Err(_) => Value::from(String::from_utf8(data).unwrap()),
    };
    datas.into_iter().map(chunk).collect()
}

/// The events of a stream as one completion.
fn completion(format: Format, stream: &str) -> Value {
    let mut reader = format.stream_reader();
    let datas: Vec<Vec<u8>> = match reader.framing() {
        Framing::Lines => stream.lines().map(|line| line.as_bytes().to_vec()).collect(),
        Framing::ServerSentEvents => {
            sse::events(stream.as_bytes()).filter_map(|event| event.data.map(|data| data.into_owned())).collect()
        }
    };
    let mut events = Vec::new();
    for data in datas.iter().filter(|data| data.as_slice() != b"[DONE]" && !data.is_empty()) {
        reader.read(data, &mut events).unwrap();
    }
    serde_json::from_slice(&write_answer(&head(), &events)).unwrap()
}

fn whole(format: Format, answer: &str) -> Value {
    serde_json::from_slice(&write_answer(&head(), &format.read_answer(answer.as_bytes()).unwrap())).unwrap()
}

#[test]
fn text_with_citations_of_version_2() {
    assert_json_snapshot!(chunks(Format::CohereV2, V2_TEXT));
}

#[test]
fn thoughts_of_version_2() {
    assert_json_snapshot!(chunks(Format::CohereV2, V2_THINKING));
}

#[test]
fn three_parallel_calls_of_version_2() {
    assert_json_snapshot!(chunks(Format::CohereV2, V2_TOOLS));
}

#[test]
fn text_with_citations_of_version_1() {
    assert_json_snapshot!(chunks(Format::CohereV1, V1_TEXT));
}

#[test]
fn three_parallel_calls_of_version_1() {
    assert_json_snapshot!(chunks(Format::CohereV1, V1_TOOLS));
}

#[test]
fn version_1_may_come_as_server_sent_events() {
    assert_json_snapshot!(chunks(Format::CohereV1, V1_EVENTS));
}

#[test]
fn whole_answers_say_what_their_streams_say() {
    for (name, format, answer, stream) in [
        ("v2_text", Format::CohereV2, include_str!("fixtures/v2_text.json"), V2_TEXT),
        ("v2_thinking", Format::CohereV2, include_str!("fixtures/v2_thinking.json"), V2_THINKING),
        ("v2_tools", Format::CohereV2, include_str!("fixtures/v2_tools.json"), V2_TOOLS),
        ("v1_text", Format::CohereV1, include_str!("fixtures/v1_text.json"), V1_TEXT),
        ("v1_tools", Format::CohereV1, include_str!("fixtures/v1_tools.json"), V1_TOOLS),
    ] {
        let whole = whole(format, answer);
        assert_eq!(whole, completion(format, stream), "{name}");
        assert_json_snapshot!(name, whole);
    }
}

#[test]
fn a_model_that_fails_in_the_middle_is_no_success() {
    let (out, failure) = passed(Format::CohereV2, [Bytes::from_static(V2_ERROR.as_bytes())]);
    let failure = failure.unwrap();
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::ErrorInAnswer, "the worker went away"));
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("As far as") && !out.contains("[DONE]"), "{out}");
    let line = r#"{"is_finished":true,"event_type":"stream-end","finish_reason":"ERROR"}"#;
    let (_, failure) = passed(Format::CohereV1, [Bytes::from_static(line.as_bytes())]);
    let failure = failure.unwrap();
    assert_eq!((failure.kind, failure.upstream_code.as_deref()), (FailureKind::ErrorInAnswer, Some("ERROR")));
}

#[test]
fn errors_in_the_place_of_an_answer_are_told() {
    for (format, body) in [
        (Format::CohereV2, r#"{"id":"x","message":"out of luck"}"#),
        (Format::CohereV2, r#"{"error":{"message":"out of luck"}}"#),
        (Format::CohereV1, r#"{"message":"out of luck"}"#),
        (Format::CohereV1, r#"{"error":"out of luck"}"#),
    ] {
        let failure = format.read_answer(body.as_bytes()).unwrap_err();
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::ErrorInAnswer, "out of luck"), "{body}");
    }
    for (format, stream) in [
        (Format::CohereV2, "data: {\"message\":\"out of luck\"}\n\n"),
        (Format::CohereV2, "data: {\"type\":\"error\",\"message\":\"out of luck\"}\n\n"),
        (Format::CohereV2, "data: {\"type\":\"message-end\",\"delta\":{\"error\":\"out of luck\"}}\n\n"),
        (Format::CohereV1, "{\"message\":\"out of luck\"}\n"),
        (Format::CohereV1, "data: {\"message\":\"out of luck\"}\n\n"),
    ] {
        let (_, failure) = passed(format, [Bytes::from_static(stream.as_bytes())]);
        let failure = failure.unwrap();
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::ErrorInAnswer, "out of luck"), "{stream}");
    }
}

#[test]
fn every_finish_reason_has_a_meaning() {
    let finish = |word: &str| {
        let body = format!(r#"{{"text":"a","finish_reason":"{word}"}}"#);
        let events = Format::CohereV1.read_answer(body.as_bytes()).map_err(|failure| failure.kind)?;
        Ok(match events.last() {
            Some(ChatEvent::Finish(reason)) => format!("{reason:?}"),
            other => panic!("{other:?}"),
        })
    };
    for (word, expected) in [
        ("COMPLETE", "Stop"),
        ("STOP_SEQUENCE", "Stop"),
        ("TOOL_CALL", "Stop"),
        ("MAX_TOKENS", "Length"),
        ("ERROR_LIMIT", "Length"),
        ("ERROR_TOXIC", "ContentFilter"),
        ("NEW_WORD", "Stop"),
    ] {
        assert_eq!(finish(word), Ok(expected.to_owned()), "{word}");
    }
    for word in ["ERROR", "TIMEOUT", "USER_CANCEL"] {
        assert_eq!(finish(word), Err(FailureKind::ErrorInAnswer), "{word}");
    }
}

#[test]
fn calls_without_an_answers_id_are_still_told_apart() {
    let body = r#"{"text":"","tool_calls":[{"name":"f","parameters":null},{"name":"f"}]}"#;
    let calls = whole(Format::CohereV1, body)["choices"][0]["message"]["tool_calls"].clone();
    let call = |id: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } });
    assert_eq!(calls, json!([call("call_0"), call("call_1")]));
}

#[test]
fn an_end_that_says_more_than_the_stream_is_heard() {
    let stream = r#"{"event_type":"stream-end","is_finished":true,"finish_reason":"COMPLETE","response":{"text":"all at once"}}"#;
    assert_eq!(completion(Format::CohereV1, stream)["choices"][0]["message"]["content"], "all at once");
}

#[test]
fn what_is_not_an_answer_is_a_clean_failure() {
    for format in [Format::CohereV2, Format::CohereV1] {
        for body in
            ["", "<html>", "[]", "{}", "{\"message\":7}", "{\"message\":{\"content\":7}}", "{\"text\":7}", "null"]
        {
            let failure = format.read_answer(body.as_bytes()).unwrap_err();
            assert!(
                matches!(failure.kind, FailureKind::UnreadableAnswer | FailureKind::ErrorInAnswer),
                "{body}: {failure:?}"
            );
        }
        for stream in ["data: <html>\n\n", "data: {\n\n", "[1]\ndata: [1]\n\n", "data: {\"type\":\n\n"] {
            let (out, failure) = passed(format, [Bytes::copy_from_slice(stream.as_bytes())]);
            assert_eq!((out.as_slice(), failure.unwrap().kind), (&b""[..], FailureKind::UnreadableAnswer), "{stream}");
        }
    }
    let nameless = r#"data: {"type":"tool-call-start","delta":{"message":{"tool_calls":{"function":{"name":"f"}}}}}"#;
    let (_, failure) = passed(Format::CohereV2, [Bytes::from(format!("{nameless}\n\n"))]);
    assert_eq!(failure.unwrap().kind, FailureKind::UnreadableAnswer);
}

proptest! {
    #[test]
    fn any_cuts_give_the_client_the_same_bytes(
        which in 0..STREAMS.len(),
        cuts in prop::collection::vec(0usize..3000, 0..24),
        end in 0usize..4000,
        crlf in any::<bool>(),
    ) {
        let (format, stream) = STREAMS[which];
        let text = if crlf { stream.replace('\n', "\r\n") } else { stream.to_owned() };
        let mut all = Bytes::from(text);
        all.truncate(end);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
        cuts.sort_unstable();
        cuts.push(all.len());
        let mut from = 0;
        let pieces: Vec<_> = cuts.into_iter().map(|cut| all.slice(std::mem::replace(&mut from, cut)..cut)).collect();
        prop_assert_eq!(passed(format, pieces), passed(format, [all]));
    }

    #[test]
    fn broken_bytes_never_end_in_success_twice(
        which in 0..STREAMS.len(),
        damage in prop::collection::vec((0usize..3000, any::<u8>()), 1..8),
    ) {
        let (format, stream) = STREAMS[which];
        let mut bytes = stream.as_bytes().to_vec();
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let (out, failure) = passed(format, [Bytes::from(bytes)]);
        let dones = String::from_utf8(out).unwrap().matches("data: [DONE]\n\n").count();
        prop_assert_eq!(dones, usize::from(failure.is_none()));
    }
}

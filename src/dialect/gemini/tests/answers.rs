use insta::assert_json_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::canon::{ChatEvent, Failure, FailureKind, FinishReason};
use crate::dialect::openai_chat::{AnswerHead, read_request, write_answer};
use crate::dialect::{Format, gemini};

const FORMAT: Format = Format::Gemini(gemini::Host::AiStudio);
const TEXT: &str = include_str!("fixtures/text.json");
const TOOLS: &str = include_str!("fixtures/tools.json");
const SEARCH: &str = include_str!("fixtures/search.json");
const IMAGE: &str = include_str!("fixtures/image.json");

fn completion(events: &[ChatEvent<'_>]) -> Value {
    let head = AnswerHead { id: "chatcmpl-1".to_owned(), created: 1, model: "m".to_owned() };
    serde_json::from_slice(&write_answer(&head, events)).unwrap()
}

/// What the client reads of a whole answer.
fn seen(body: &str) -> Value {
    completion(&FORMAT.read_answer(body.as_bytes()).unwrap())
}

fn failure(body: &str) -> Failure {
    FORMAT.read_answer(body.as_bytes()).unwrap_err()
}

/// An answer with these parts, as text of a list, that ended for this reason.
fn ended(parts: &str, reason: &str) -> String {
    format!(r#"{{"candidates":[{{"content":{{"parts":{parts}}},"finishReason":"{reason}"}}],"responseId":"r"}}"#)
}

fn finish(parts: &str, reason: &str) -> FinishReason {
    match FORMAT.read_answer(ended(parts, reason).as_bytes()).unwrap().last() {
        Some(ChatEvent::Finish(reason)) => *reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn text() {
    assert_json_snapshot!(seen(TEXT));
}

#[test]
fn thoughts_and_calls() {
    assert_json_snapshot!(seen(TOOLS));
}

#[test]
fn tools_that_run_at_google() {
    assert_json_snapshot!(seen(SEARCH));
}

#[test]
fn an_image() {
    assert_json_snapshot!(seen(IMAGE));
}

#[test]
fn a_list_of_responses_is_one_answer() {
    let list = r#"[{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":1}},
        {"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}],
         "usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2,"totalTokenCount":3}}]"#;
    let seen = seen(list);
    assert_eq!(seen["choices"][0]["message"]["content"], "ab");
    assert_eq!(seen["usage"]["total_tokens"], 3);
}

#[test]
fn names_with_underscores_are_understood() {
    let body = r#"{"candidates":[{"content":{"parts":[
        {"function_call":{"name":"f","args":{"a":1}},"thought_signature":"c2ln"}]},"finish_reason":"STOP"}],
        "usage_metadata":{"prompt_token_count":1,"candidates_token_count":2,"thoughts_token_count":3},"response_id":"r"}"#;
    let seen = seen(body);
    let call = &seen["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["id"], "call_r_1");
    assert_eq!(call["extra_content"]["google"]["thought_signature"], "c2ln");
    assert_eq!(seen["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(seen["usage"]["completion_tokens"], 5);
}

#[test]
fn the_end_has_openais_words() {
    let text = r#"[{"text":"a"}]"#;
    assert_eq!(finish(text, "STOP"), FinishReason::Stop);
    assert_eq!(finish("[]", "STOP"), FinishReason::Stop);
    assert_eq!(finish(r#"[{"functionCall":{"name":"f"}}]"#, "STOP"), FinishReason::ToolCalls);
    assert_eq!(finish(text, "MAX_TOKENS"), FinishReason::Length);
    for reason in ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "IMAGE_SAFETY", "LANGUAGE"] {
        assert_eq!(finish("[]", reason), FinishReason::ContentFilter, "{reason}");
    }
    for reason in ["OTHER", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "SOMETHING_NEW"] {
        let is_broken = reason.contains("TOOL_CALL") || reason.contains("FUNCTION_CALL");
        match is_broken {
            true => assert_eq!(failure(&ended(text, reason)).kind, FailureKind::ErrorInAnswer, "{reason}"),
            false => assert_eq!(finish(text, reason), FinishReason::Stop, "{reason}"),
        }
        let nothing_said = failure(&ended(r#"[{"text":"hm","thought":true}]"#, reason));
        assert_eq!(nothing_said.kind, FailureKind::ErrorInAnswer, "{reason}");
    }
}

#[test]
fn an_answer_that_is_none_is_a_failure() {
    let blocked = failure(r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{}}"#);
    assert_eq!((blocked.kind, blocked.status()), (FailureKind::ContentFiltered, 400));
    assert!(blocked.message.contains("PROHIBITED_CONTENT"));
    for error in [
        r#"{"error":{"code":429,"message":"spent","status":"RESOURCE_EXHAUSTED"}}"#,
        r#"[{"error":{"code":429,"message":"spent","status":"RESOURCE_EXHAUSTED"}}]"#,
    ] {
        let failure = failure(error);
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::RateLimited, "spent"));
    }
    assert_eq!(failure(r#"{"usageMetadata":{}}"#).kind, FailureKind::EmptyAnswer);
    assert_eq!(failure("[]").kind, FailureKind::EmptyAnswer);
    for body in ["", "<html>", r#"{"candidates":"#, r#"{"candidates":7}"#, "\u{0}"] {
        assert_eq!(failure(body).kind, FailureKind::UnreadableAnswer, "{body}");
    }
}

#[test]
fn ids_of_calls_are_never_the_same() {
    let two = r#"[{"functionCall":{"name":"f"}},{"functionCall":{"name":"f","id":""}}]"#;
    let ids = |body: &str| -> Vec<String> {
        let calls = seen(body)["choices"][0]["message"]["tool_calls"].take();
        calls.as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&ended(two, "STOP")), ["call_r_1", "call_r_2"]);
    // Without an id of the response, the next turn has others as well.
    let turn = |tokens: u32| {
        format!(
            r#"{{"candidates":[{{"content":{{"parts":{two}}},"finishReason":"STOP"}}],"usageMetadata":{{"promptTokenCount":{tokens}}}}}"#
        )
    };
    let (first, second) = (ids(&turn(10)), ids(&turn(25)));
    assert_eq!(first, ids(&turn(10)));
    assert!(first.iter().chain(&second).all(|id| id.len() <= 40));
    assert!(first.iter().all(|id| !second.contains(id)) && first[0] != first[1]);
}

#[test]
fn arguments_lose_the_white_space_between_their_parts_only() {
    let spaced = "{\n  \"a\": \" \\\" b \\\\\",\n  \"c\" : [ 1.50,\t2 ]\n}";
    let seen = seen(&ended(&format!(r#"[{{"functionCall":{{"name":"f","args":{spaced}}}}}]"#), "STOP"));
    let arguments = &seen["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"];
    assert_eq!(arguments, r#"{"a":" \" b \\","c":[1.50,2]}"#);
}

#[test]
fn what_google_signed_comes_back_to_it() {
    let mut message = seen(TOOLS)["choices"][0]["message"].take();
    let calls = message["tool_calls"].as_array().unwrap().clone();
    let mut messages = vec![json!({"role": "user", "content": "hi"}), message.take()];
    messages.extend(calls.iter().map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": "x"})));
    let next = json!({ "model": "m", "messages": messages }).to_string();
    let sent = FORMAT.write_request(&read_request(&next).unwrap(), "gemini-3-flash-preview").unwrap();
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    assert_json_snapshot!(sent["contents"]);
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_a_failure(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = FORMAT.read_answer(&bytes);
    }

    #[test]
    fn a_cut_answer_is_a_failure(cut in 1usize..1000) {
        let cut = cut.min(TOOLS.trim_end().len() - 1);
        if let Some(part) = TOOLS.get(..cut) {
            prop_assert_eq!(failure(part).kind, FailureKind::UnreadableAnswer);
        }
    }
}

//! Answers, whole and streamed.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::exchange::{Answer, Counts, Piece, Proof};

use super::request::{call, text};

/// What a client does with the pieces of `reasoning_details` that a stream brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Details {
    /// Joins those of the same index.
    Joined,
    /// Keeps them as they came, one behind the other.
    Listed,
}

/// The chat completion that a stream adds up to. Checks that the stream is one that strict clients take.
pub fn completion(stream: &[u8], details: Details) -> Value {
    let stream = std::str::from_utf8(stream).unwrap();
    let events: Vec<&str> = stream.strip_suffix("\n\n").expect("a blank line at the end").split("\n\n").collect();
    let (done, events) = events.split_last().unwrap();
    assert_eq!(*done, "data: [DONE]");
    let mut whole = json!({});
    let mut message = json!({ "role": null, "content": null, "refusal": null });
    let mut finish = Value::Null;
    for event in events {
        let chunk: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(chunk["object"], "chat.completion.chunk");
        for name in ["id", "created", "model"] {
            assert!(whole[name].is_null() || whole[name] == chunk[name], "{name} differs in {event}");
            whole[name] = chunk[name].clone();
        }
        let choices = chunk["choices"].as_array().unwrap();
        if let Some(usage) = chunk.get("usage").filter(|usage| !usage.is_null()) {
            assert!(choices.is_empty() && whole.get("usage").is_none(), "a second usage in {event}");
            whole["usage"] = usage.clone();
            continue;
        }
        let [choice] = &choices[..] else { panic!("not one choice in {event}") };
        assert_eq!(choice["index"], 0);
        assert!(finish.is_null(), "something behind the finish: {event}");
        assert!(whole.get("usage").is_none(), "something behind the usage: {event}");
        add(&mut message, choice["delta"].as_object().unwrap(), details);
        finish = choice["finish_reason"].clone();
    }
    assert!(finish.is_string(), "no finish in {stream}");
    for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
        call.as_object_mut().unwrap().remove("index");
    }
    whole["object"] = "chat.completion".into();
    whole["choices"] = json!([{ "index": 0, "message": message, "logprobs": null, "finish_reason": finish }]);
    whole
}

fn add(message: &mut Value, delta: &Map<String, Value>, details: Details) {
    assert!(delta.contains_key("role") == message["role"].is_null() || delta.is_empty(), "role comes first and once");
    for (field, value) in delta {
        match field.as_str() {
            "role" => message["role"] = value.clone(),
            "content" if value == "" && message["content"].is_null() => {}
            "content" | "refusal" | "reasoning_content" => push_text(&mut message[field], value),
            "tool_calls" => {
                for piece in value.as_array().unwrap() {
                    add_call(&mut message["tool_calls"], piece);
                }
            }
            "reasoning_details" => {
                for piece in value.as_array().unwrap() {
                    add_detail(&mut message["reasoning_details"], piece, details);
                }
            }
            "annotations" => list(&mut message["annotations"]).extend(value.as_array().unwrap().iter().cloned()),
            other => panic!("a client knows no delta {other}"),
        }
    }
}

fn push_text(so_far: &mut Value, piece: &Value) {
    let joined = so_far.as_str().unwrap_or_default().to_owned() + piece.as_str().unwrap();
    *so_far = joined.into();
}

fn list(value: &mut Value) -> &mut Vec<Value> {
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().unwrap()
}

fn add_call(calls: &mut Value, piece: &Value) {
    let calls = list(calls);
    let index = usize::try_from(piece["index"].as_u64().unwrap()).unwrap();
    if index == calls.len() {
        assert!(piece["id"].as_str().is_some_and(|id| !id.is_empty()) && piece["type"] == "function", "{piece}");
        assert!(calls.iter().all(|call| call["id"] != piece["id"]), "an id twice: {piece}");
        calls.push(piece.clone());
    } else {
        // Clients that keep one call at a time need the calls one after the other.
        assert_eq!(index + 1, calls.len(), "arguments of a call that is over");
        assert!(piece.get("id").is_none() && piece["function"].get("name").is_none(), "{piece}");
        push_text(&mut calls[index]["function"]["arguments"], &piece["function"]["arguments"]);
    }
}

fn add_detail(so_far: &mut Value, piece: &Value, details: Details) {
    let so_far = list(so_far);
    let same = so_far.iter_mut().find(|detail| detail["index"] == piece["index"]);
    match same.filter(|_| details == Details::Joined) {
        None => so_far.push(piece.clone()),
        Some(detail) => {
            assert_eq!((&detail["type"], &detail["format"]), (&piece["type"], &piece["format"]));
            for (name, value) in piece.as_object().unwrap() {
                match name.as_str() {
                    "text" => push_text(&mut detail["text"], value),
                    name => detail[name] = value.clone(),
                }
            }
        }
    }
}

/// What a chat completion says. Checks its frame.
pub fn answer(completion: &Value) -> Answer {
    assert_eq!(completion["object"], "chat.completion");
    assert!(completion["id"].is_string() && completion["model"].is_string() && completion["created"].is_u64());
    let [choice] = &completion["choices"].as_array().unwrap()[..] else { panic!("not one choice") };
    let message = &choice["message"];
    assert_eq!((&choice["index"], &message["role"]), (&json!(0), &json!("assistant")));
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        assert_eq!(call["type"], "function");
        let arguments = call["function"]["arguments"].as_str().unwrap();
        assert!(!arguments.is_empty(), "arguments have to be JSON");
    }
    let calls: Vec<_> = message["tool_calls"].as_array().into_iter().flatten().map(call).collect();
    let ids: BTreeSet<_> = calls.iter().map(|call| &call.id).collect();
    assert_eq!(ids.len(), calls.len(), "an id twice");
    let string = |value: &Value| text(value).unwrap_or_default();
    Answer {
        text: string(&message["content"]),
        refusal: string(&message["refusal"]),
        thinking: string(&message["reasoning_content"]),
        proofs: message["reasoning_details"].as_array().into_iter().flatten().map(thought).collect(),
        calls,
        citations: message["annotations"].as_array().into_iter().flatten().map(citation).collect(),
        finish: string(&choice["finish_reason"]),
        usage: completion.get("usage").map(counts),
    }
}

fn thought(detail: &Value) -> Piece {
    let proof = |field: &str| text(&detail[field]).map(|value| Proof::new(detail["format"].as_str().unwrap(), &value));
    match detail["type"].as_str() {
        Some("reasoning.encrypted") => Piece::Redacted(proof("data").unwrap()),
        _ => Piece::Thought { text: text(&detail["text"]).unwrap_or_default(), proof: proof("signature") },
    }
}

fn citation(annotation: &Value) -> (String, Option<String>) {
    assert_eq!(annotation["type"], "url_citation");
    let citation = &annotation["url_citation"];
    (text(&citation["url"]).unwrap(), text(&citation["title"]))
}

fn counts(usage: &Value) -> Counts {
    let (prompt, completion) = (&usage["prompt_tokens_details"], &usage["completion_tokens_details"]);
    Counts {
        prompt: usage["prompt_tokens"].as_i64().unwrap(),
        completion: usage["completion_tokens"].as_i64().unwrap(),
        total: usage["total_tokens"].as_i64().unwrap(),
        cached: prompt["cached_tokens"].as_i64(),
        cache_written: prompt["cache_write_tokens"].as_i64(),
        reasoning: completion["reasoning_tokens"].as_i64(),
    }
}

/// The message as clients echo it that know OpenAI's own fields only.
pub fn plain(message: &Value) -> Value {
    let mut message = message.clone();
    let fields = message.as_object_mut().unwrap();
    fields.retain(|name, _| matches!(name.as_str(), "role" | "content" | "refusal" | "tool_calls"));
    for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
        call.as_object_mut().unwrap().remove("extra_content");
    }
    message
}

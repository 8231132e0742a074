//! Answers of version 2, whole and streamed.

use serde_json::{Value, json};

use crate::client::{self, text};
use crate::exchange::{Answer, Call};
use crate::native::{events, morsels};

use super::{counts, usage};

pub fn given(mut answer: Answer) -> Answer {
    // There is no word for it.
    if answer.finish == "content_filter" {
        answer.finish = "stop".to_owned();
    }
    super::given(answer)
}

pub fn read(body: &Value) -> Answer {
    let message = &body["message"];
    let parts = |name: &str| {
        let parts = message["content"].as_array().into_iter().flatten();
        parts.filter_map(|part| part[name].as_str()).collect::<String>()
    };
    let cited = |source: &Value| Some((text(&source["document"]["url"])?, text(&source["document"]["title"])));
    let sources = |citation: &Value| citation["sources"].as_array().unwrap().iter().find_map(cited);
    let finish = match body["finish_reason"].as_str().unwrap() {
        "COMPLETE" | "STOP_SEQUENCE" => "stop",
        "MAX_TOKENS" => "length",
        "TOOL_CALL" => "tool_calls",
        reason => panic!("finish_reason {reason}"),
    };
    Answer {
        text: parts("text"),
        refusal: String::new(),
        thinking: text(&message["tool_plan"]).unwrap_or_default() + &parts("thinking"),
        proofs: Vec::new(),
        calls: message["tool_calls"].as_array().into_iter().flatten().map(client::call).collect(),
        citations: message["citations"].as_array().into_iter().flatten().filter_map(sources).collect(),
        finish: finish.to_owned(),
        usage: body.get("usage").map(counts),
    }
}

/// Puts the message together that a stream tells piece by piece.
pub fn read_stream(stream: &str) -> Answer {
    let mut whole = json!({ "message": { "content": [], "tool_plan": "", "tool_calls": [], "citations": [] } });
    for event in events(stream) {
        let delta = &event["delta"];
        let said = &delta["message"];
        let message = &mut whole["message"];
        let last = |list: &str| message[list].as_array().unwrap().len().saturating_sub(1);
        let joined =
            |so_far: &Value, piece: &Value| Value::from(so_far.as_str().unwrap().to_owned() + piece.as_str().unwrap());
        match event["type"].as_str().unwrap() {
            "content-start" => message["content"].as_array_mut().unwrap().push(said["content"].clone()),
            "content-delta" => {
                let at = last("content");
                for (name, piece) in said["content"].as_object().unwrap() {
                    message["content"][at][name] = joined(&message["content"][at][name], piece);
                }
            }
            "tool-plan-delta" => message["tool_plan"] = joined(&message["tool_plan"], &said["tool_plan"]),
            "tool-call-start" => message["tool_calls"].as_array_mut().unwrap().push(said["tool_calls"].clone()),
            "tool-call-delta" => {
                let at = last("tool_calls");
                let arguments = &mut message["tool_calls"][at]["function"]["arguments"];
                *arguments = joined(arguments, &said["tool_calls"]["function"]["arguments"]);
            }
            "citation-start" => message["citations"].as_array_mut().unwrap().push(said["citations"].clone()),
            "message-end" => {
                (whole["finish_reason"], whole["usage"]) = (delta["finish_reason"].clone(), delta["usage"].clone());
            }
            "message-start" | "content-end" | "tool-call-end" | "citation-end" => {}
            kind => panic!("an event of type {kind}"),
        }
    }
    read(&whole)
}

pub fn write(answer: &Answer) -> Value {
    let mut message = json!({ "role": "assistant" });
    if answer.calls.is_empty() {
        let mut content = Vec::new();
        if !answer.thinking.is_empty() {
            content.push(json!({ "type": "thinking", "thinking": answer.thinking }));
        }
        content.push(json!({ "type": "text", "text": answer.text }));
        message["content"] = content.into();
    } else {
        message["tool_plan"] = answer.thinking.as_str().into();
        let call = |Call { id, name, arguments, .. }: &Call| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments.to_string() } });
        message["tool_calls"] = answer.calls.iter().map(call).collect();
    }
    let cited = |(url, title): &(String, Option<String>)| {
        let document = json!({ "id": "d", "url": url, "title": title });
        json!({ "start": 0, "end": 1, "text": "…", "sources": [{ "type": "document", "id": "d", "document": document }] })
    };
    message["citations"] = answer.citations.iter().map(cited).collect();
    let finish = match answer.finish.as_str() {
        "stop" => "COMPLETE",
        "length" => "MAX_TOKENS",
        "tool_calls" => "TOOL_CALL",
        finish => panic!("no finish_reason for {finish}"),
    };
    json!({ "id": "c1", "finish_reason": finish, "message": message, "usage": usage(answer.usage.unwrap()) })
}

pub fn write_stream(answer: &Answer) -> String {
    let mut stream = String::new();
    let mut event = |kind: &str, said: Value| {
        let event = json!({ "type": kind, "index": 0, "delta": { "message": said } });
        stream += &format!("event: {kind}\ndata: {event}\n\n");
    };
    let whole = write(answer);
    let list = |name: &str| whole["message"][name].as_array().cloned().unwrap_or_default();
    event(
        "message-start",
        json!({ "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [] }),
    );
    for piece in morsels(whole["message"]["tool_plan"].as_str().unwrap_or_default()) {
        event("tool-plan-delta", json!({ "tool_plan": piece }));
    }
    for part in list("content") {
        let name = part["type"].as_str().unwrap();
        event("content-start", json!({ "content": { "type": name, name: "" } }));
        for piece in morsels(part[name].as_str().unwrap()) {
            event("content-delta", json!({ "content": { name: piece } }));
        }
        event("content-end", json!({}));
    }
    for mut call in list("tool_calls") {
        let arguments = call["function"]["arguments"].take();
        call["function"]["arguments"] = "".into();
        event("tool-call-start", json!({ "tool_calls": call }));
        for piece in morsels(arguments.as_str().unwrap()) {
            event("tool-call-delta", json!({ "tool_calls": { "function": { "arguments": piece } } }));
        }
        event("tool-call-end", json!({}));
    }
    for citation in list("citations") {
        event("citation-start", json!({ "citations": citation }));
        event("citation-end", json!({}));
    }
    let end = json!({ "finish_reason": whole["finish_reason"], "usage": whole["usage"] });
    stream + &format!("event: message-end\ndata: {}\n\n", json!({ "type": "message-end", "delta": end }))
}

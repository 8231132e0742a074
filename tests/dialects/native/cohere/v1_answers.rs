//! Answers of version 1, whole and streamed.

use serde_json::{Value, json};

use crate::client::text;
use crate::exchange::{Answer, Call};
use crate::native::morsels;

use super::{counts, usage};

/// Calls have no ids; they get them of the answer's own.
pub fn given(mut answer: Answer) -> Answer {
    if let Some(first) = answer.calls.first().map(|call| call.id.clone()) {
        for (number, call) in answer.calls.iter_mut().enumerate() {
            call.id = format!("answer-{first}_{number}");
        }
    } else {
        // Without calls, there is no room for a plan.
        answer.proofs.clear();
    }
    super::given(answer)
}

fn generation_id(answer: &Answer) -> &str {
    answer.calls.first().map_or("answer", |call| call.id.strip_suffix("_0").unwrap())
}

pub fn read(body: &Value) -> Answer {
    let id = body["generation_id"].as_str().unwrap();
    let call = |(number, call): (usize, &Value)| Call {
        id: format!("{id}_{number}"),
        name: text(&call["name"]).unwrap(),
        arguments: call["parameters"].clone(),
        proof: None,
    };
    let calls: Vec<_> = body["tool_calls"].as_array().into_iter().flatten().enumerate().map(call).collect();
    let documents = body["documents"].as_array().into_iter().flatten();
    let citations = documents.map(|found| (text(&found["url"]).unwrap(), text(&found["title"]))).collect();
    let said = text(&body["text"]).unwrap_or_default();
    let (text, thinking) = if calls.is_empty() { (said, String::new()) } else { (String::new(), said) };
    let finish = match body["finish_reason"].as_str().unwrap() {
        "MAX_TOKENS" => "length",
        "ERROR_TOXIC" => "content_filter",
        "COMPLETE" if !calls.is_empty() => "tool_calls",
        "COMPLETE" => "stop",
        reason => panic!("finish_reason {reason}"),
    };
    Answer {
        text,
        refusal: String::new(),
        thinking,
        proofs: Vec::new(),
        calls,
        citations,
        finish: finish.to_owned(),
        usage: body.get("meta").map(counts),
    }
}

/// The last event repeats the whole answer.
pub fn read_stream(stream: &str) -> Answer {
    let last: Value = serde_json::from_str(stream.lines().last().unwrap()).unwrap();
    read(&last["response"])
}

pub fn write(answer: &Answer) -> Value {
    let call = |Call { name, arguments, .. }: &Call| json!({ "name": name, "parameters": arguments });
    let documents = answer.citations.iter().enumerate();
    let found =
        documents.map(|(number, (url, title))| json!({ "id": format!("d{number}"), "url": url, "title": title }));
    let cited = (0..answer.citations.len())
        .map(|number| json!({ "start": 0, "end": 1, "document_ids": [format!("d{number}")] }));
    let finish = match answer.finish.as_str() {
        "length" => "MAX_TOKENS",
        "content_filter" => "ERROR_TOXIC",
        _ => "COMPLETE",
    };
    let mut whole = json!({
        "generation_id": generation_id(answer),
        "response_id": "r",
        "text": format!("{}{}", answer.thinking, answer.text),
        "documents": found.collect::<Value>(),
        "citations": cited.collect::<Value>(),
        "finish_reason": finish,
        "meta": usage(answer.usage.unwrap()),
    });
    if !answer.calls.is_empty() {
        whole["tool_calls"] = answer.calls.iter().map(call).collect();
    }
    whole
}

pub fn write_stream(answer: &Answer) -> String {
    let whole = write(answer);
    let mut events = vec![json!({ "event_type": "stream-start", "generation_id": whole["generation_id"] })];
    for piece in morsels(&answer.thinking) {
        events.push(json!({ "event_type": "tool-calls-chunk", "text": piece }));
    }
    if let Some(calls) = whole.get("tool_calls") {
        events.push(json!({ "event_type": "tool-calls-generation", "tool_calls": calls }));
    }
    for piece in morsels(&answer.text) {
        events.push(json!({ "event_type": "text-generation", "text": piece }));
    }
    events.push(json!({ "event_type": "stream-end", "finish_reason": whole["finish_reason"], "response": whole }));
    let last = events.len() - 1;
    let mut stream = String::new();
    for (number, mut event) in events.into_iter().enumerate() {
        event["is_finished"] = (number == last).into();
        stream += &format!("{event}\n");
    }
    stream
}

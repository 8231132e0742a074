//! Answers, whole and streamed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::client::text;
use crate::exchange::{ANTHROPIC, Answer, Call, Counts, Piece, put};
use crate::native::{events, morsels};

use super::{call, piece};

pub fn given(mut answer: Answer) -> Answer {
    for thought in &mut answer.proofs {
        if let Piece::Thought { proof: Some(proof), .. } | Piece::Redacted(proof) = thought {
            proof.format = ANTHROPIC.to_owned();
        }
        if let Piece::Thought { text, .. } = thought {
            answer.thinking += text;
        }
    }
    for call in &mut answer.calls {
        call.proof = None;
    }
    if answer.text.is_empty() {
        answer.citations.clear();
    }
    answer
}

/// Blocks of tools that run at Anthropic say nothing to a client.
pub fn read(body: &Value) -> Answer {
    let mut answer = Answer::default();
    for block in body["content"].as_array().unwrap() {
        match block["type"].as_str().unwrap() {
            "text" => {
                answer.text += block["text"].as_str().unwrap();
                let citations = block["citations"].as_array().into_iter().flatten();
                answer
                    .citations
                    .extend(citations.filter_map(|cited| Some((text(&cited["url"])?, text(&cited["title"])))));
            }
            "thinking" | "redacted_thinking" => {
                answer.thinking += block["thinking"].as_str().unwrap_or_default();
                answer.proofs.push(piece(block).unwrap());
            }
            "tool_use" => answer.calls.push(call(block)),
            _ => {}
        }
    }
    let finish = match body["stop_reason"].as_str().unwrap() {
        "end_turn" | "stop_sequence" | "pause_turn" => "stop",
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        reason => panic!("stop_reason {reason}"),
    };
    answer.finish = finish.to_owned();
    answer.usage = body.get("usage").map(|usage| {
        let count = |name: &str| usage[name].as_i64();
        let (cached, cache_written) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
        let prompt = count("input_tokens").unwrap() + cached.unwrap_or(0) + cache_written.unwrap_or(0);
        let completion = count("output_tokens").unwrap();
        let reasoning = usage["output_tokens_details"]["thinking_tokens"].as_i64();
        Counts { prompt, completion, total: prompt + completion, cached, cache_written, reasoning }
    });
    answer
}

/// Puts the message together that a stream tells piece by piece.
pub fn read_stream(stream: &str) -> Answer {
    let mut message = json!({});
    let mut blocks: BTreeMap<u64, Value> = BTreeMap::new();
    let mut inputs: BTreeMap<u64, String> = BTreeMap::new();
    for event in events(stream) {
        let index = event["index"].as_u64().unwrap_or_default();
        let delta = &event["delta"];
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => drop(blocks.insert(index, event["content_block"].clone())),
            "content_block_delta" => {
                let block = blocks.get_mut(&index).unwrap();
                let mut push = |name: &str| {
                    let joined = block[name].as_str().unwrap_or_default().to_owned() + delta[name].as_str().unwrap();
                    block[name] = joined.into();
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => push("text"),
                    "thinking_delta" => push("thinking"),
                    "signature_delta" => push("signature"),
                    "input_json_delta" => *inputs.entry(index).or_default() += delta["partial_json"].as_str().unwrap(),
                    "citations_delta" => {
                        let mut citations = block["citations"].as_array().cloned().unwrap_or_default();
                        citations.push(delta["citation"].clone());
                        block["citations"] = citations.into();
                    }
                    kind => panic!("a delta of type {kind}"),
                }
            }
            "message_delta" => {
                message["stop_reason"] = delta["stop_reason"].clone();
                for (name, count) in
                    event["usage"].as_object().into_iter().flatten().filter(|(_, count)| !count.is_null())
                {
                    message["usage"][name] = count.clone();
                }
            }
            "content_block_stop" | "message_stop" | "ping" => {}
            kind => panic!("an event of type {kind}"),
        }
    }
    for (index, input) in inputs.iter().filter(|(_, input)| !input.is_empty()) {
        blocks.get_mut(index).unwrap()["input"] = serde_json::from_str(input).unwrap();
    }
    message["content"] = blocks.into_values().collect();
    read(&message)
}

pub fn write(answer: &Answer) -> Value {
    let mut content = Vec::new();
    for thought in &answer.proofs {
        content.push(match thought {
            Piece::Thought { text, proof: Some(proof) } => {
                json!({ "type": "thinking", "thinking": text, "signature": proof.value })
            }
            Piece::Redacted(proof) => json!({ "type": "redacted_thinking", "data": proof.value }),
            other => panic!("{other:?} is no thought of a model"),
        });
    }
    if !answer.text.is_empty() {
        let cited = |(url, title): &(String, Option<String>)| json!({ "type": "web_search_result_location", "url": url, "title": title, "cited_text": "…" });
        let citations = (!answer.citations.is_empty()).then(|| answer.citations.iter().map(cited).collect::<Value>());
        content.push(json!({ "type": "text", "text": answer.text, "citations": citations }));
    }
    for Call { id, name, arguments, .. } in &answer.calls {
        content.push(json!({ "type": "tool_use", "id": id, "name": name, "input": arguments }));
    }
    let stop_reason = match answer.finish.as_str() {
        "stop" => "end_turn",
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        "content_filter" => "refusal",
        finish => panic!("no stop_reason for {finish}"),
    };
    let counts = answer.usage.unwrap();
    let mut usage = json!({
        "input_tokens": counts.prompt - counts.cached.unwrap_or(0) - counts.cache_written.unwrap_or(0),
        "output_tokens": counts.completion,
    });
    put(&mut usage, "cache_read_input_tokens", counts.cached);
    put(&mut usage, "cache_creation_input_tokens", counts.cache_written);
    put(&mut usage, "output_tokens_details", counts.reasoning.map(|count| json!({ "thinking_tokens": count })));
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content,
        "stop_reason": stop_reason, "stop_sequence": null, "usage": usage,
    })
}

pub fn write_stream(answer: &Answer) -> String {
    let mut stream = String::new();
    let mut event = |mut event: Value, kind: &str| {
        event["type"] = kind.into();
        stream += &format!("event: {kind}\ndata: {event}\n\n");
    };
    let whole = write(answer);
    let mut message = whole.clone();
    (message["content"], message["stop_reason"]) = (json!([]), Value::Null);
    message["usage"]["output_tokens"] = 1.into();
    event(json!({ "message": message }), "message_start");
    event(json!({}), "ping");
    for (index, block) in whole["content"].as_array().unwrap().iter().enumerate() {
        let mut start = block.clone();
        let mut deltas = Vec::new();
        for (name, kind) in [("text", "text_delta"), ("thinking", "thinking_delta"), ("signature", "signature_delta")] {
            let Some(text) = text(&block[name]) else { continue };
            start[name] = "".into();
            let pieces = if name == "signature" { vec![text] } else { morsels(&text) };
            deltas.extend(pieces.into_iter().map(|piece| json!({ "type": kind, name: piece })));
        }
        for citation in block["citations"].as_array().into_iter().flatten() {
            start["citations"] = json!([]);
            deltas.push(json!({ "type": "citations_delta", "citation": citation }));
        }
        if let Some(input) = block.get("input") {
            start["input"] = json!({});
            let pieces = [String::new()].into_iter().chain(if *input == json!({}) {
                vec![]
            } else {
                morsels(&input.to_string())
            });
            deltas.extend(pieces.map(|piece| json!({ "type": "input_json_delta", "partial_json": piece })));
        }
        event(json!({ "index": index, "content_block": start }), "content_block_start");
        for delta in deltas {
            event(json!({ "index": index, "delta": delta }), "content_block_delta");
        }
        event(json!({ "index": index }), "content_block_stop");
    }
    let usage = json!({ "output_tokens": whole["usage"]["output_tokens"] });
    event(json!({ "delta": { "stop_reason": whole["stop_reason"] }, "usage": usage }), "message_delta");
    event(json!({}), "message_stop");
    stream
}

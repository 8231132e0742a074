//! Answers, whole and streamed.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::client::text;
use crate::exchange::{Answer, Call, Counts, GOOGLE, Piece, Proof, put};
use crate::native::{events, morsels};

use super::requests::camel;

/// Thoughts are not signed, but text and calls are. Calls have ids in newer models only.
pub fn given(mut answer: Answer, with_ids: bool) -> Answer {
    let thoughts = std::mem::take(&mut answer.proofs);
    let mut signature = None;
    for thought in thoughts {
        match thought {
            Piece::Thought { text, proof } => {
                answer.thinking += &text;
                signature = proof.or(signature);
            }
            Piece::Redacted(proof) => signature = Some(proof),
            other => panic!("{other:?} is no thought"),
        }
    }
    if let Some(signature) = signature.filter(|_| !answer.text.is_empty()) {
        let proof = Some(Proof::new(GOOGLE, &signature.value));
        answer.proofs.push(Piece::Thought { text: String::new(), proof });
    }
    for call in &mut answer.calls {
        if let Some(proof) = &mut call.proof {
            proof.format = GOOGLE.to_owned();
        }
        if !with_ids {
            call.id.clear();
        }
    }
    let mut cited = BTreeSet::new();
    answer.citations.retain(|(url, _)| cited.insert(url.clone()));
    answer.usage = answer.usage.map(|counts| Counts { cache_written: None, ..counts });
    answer
}

/// Calls without an id have an empty one here.
pub fn read(body: &Value) -> Answer {
    let body = camel(body);
    let candidate = &body["candidates"][0];
    let mut answer = Answer::default();
    for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
        add(part, &mut answer);
    }
    let mut cited = BTreeSet::new();
    for chunk in candidate["groundingMetadata"]["groundingChunks"].as_array().into_iter().flatten() {
        let place = ["web", "retrievedContext", "maps"].iter().find_map(|name| chunk.get(name)).unwrap();
        if let Some(url) = text(&place["uri"]).filter(|url| cited.insert(url.clone())) {
            answer.citations.push((url, text(&place["title"])));
        }
    }
    let finish = match candidate["finishReason"].as_str().unwrap() {
        "STOP" if answer.calls.is_empty() => "stop",
        "STOP" => "tool_calls",
        "MAX_TOKENS" => "length",
        "SAFETY" | "RECITATION" | "PROHIBITED_CONTENT" | "BLOCKLIST" | "SPII" => "content_filter",
        reason => panic!("finishReason {reason}"),
    };
    answer.finish = finish.to_owned();
    answer.usage = body.get("usageMetadata").map(counts);
    answer
}

fn add(part: &Value, answer: &mut Answer) {
    let proof = text(&part["thoughtSignature"]).map(|value| Proof::new(GOOGLE, &value));
    let said = text(&part["text"]);
    if part["thought"] == true {
        answer.thinking += &said.clone().unwrap();
        answer.proofs.extend(proof.map(|proof| Piece::Thought { text: said.unwrap(), proof: Some(proof) }));
    } else if let Some(said) = said {
        answer.text += &said;
        answer.proofs.extend(proof.map(|proof| Piece::Thought { text: String::new(), proof: Some(proof) }));
    } else if let Some(call) = part.get("functionCall") {
        let (id, name) = (text(&call["id"]).unwrap_or_default(), text(&call["name"]).unwrap());
        answer.calls.push(Call { id, name, arguments: call["args"].clone(), proof });
    } else if let Some(code) = part.get("executableCode") {
        answer.text += &format!("\n```python\n{}\n```\n", code["code"].as_str().unwrap().trim_end_matches('\n'));
    } else {
        // Tools that run at Google say nothing to a client.
        assert!(part.get("toolCall").is_some() || part.get("toolResponse").is_some(), "{part}");
    }
}

fn counts(usage: &Value) -> Counts {
    let count = |name: &str| usage[name].as_i64();
    let sum = |one: &str, other: &str| count(one).unwrap_or(0) + count(other).unwrap_or(0);
    Counts {
        prompt: sum("promptTokenCount", "toolUsePromptTokenCount"),
        completion: sum("candidatesTokenCount", "thoughtsTokenCount"),
        total: count("totalTokenCount").unwrap(),
        cached: count("cachedContentTokenCount"),
        cache_written: None,
        reasoning: count("thoughtsTokenCount"),
    }
}

/// Puts the answer together that a stream tells piece by piece.
pub fn read_stream(stream: &str) -> Answer {
    let mut whole = json!({ "candidates": [{ "content": { "parts": [] } }] });
    for event in events(stream).map(|event| camel(&event)) {
        let (candidate, own) = (&mut whole["candidates"][0], &event["candidates"][0]);
        let parts = candidate["content"]["parts"].as_array_mut().unwrap();
        parts.extend(own["content"]["parts"].as_array().into_iter().flatten().cloned());
        for name in ["finishReason", "groundingMetadata"] {
            if let Some(value) = own.get(name) {
                candidate[name] = value.clone();
            }
        }
        for (name, count) in event["usageMetadata"].as_object().into_iter().flatten() {
            whole["usageMetadata"][name] = count.clone();
        }
    }
    read(&whole)
}

pub fn write(answer: &Answer) -> Value {
    let mut parts = Vec::new();
    if !answer.thinking.is_empty() {
        parts.push(json!({ "text": answer.thinking, "thought": true }));
    }
    if !answer.text.is_empty() {
        let mut part = json!({ "text": answer.text });
        if let [Piece::Thought { proof: Some(proof), .. }] = &answer.proofs[..] {
            part["thoughtSignature"] = proof.value.as_str().into();
        }
        parts.push(part);
    }
    for Call { id, name, arguments, proof } in &answer.calls {
        let mut part = json!({ "functionCall": { "name": name, "args": arguments } });
        if !id.is_empty() {
            part["functionCall"]["id"] = id.as_str().into();
        }
        if let Some(proof) = proof {
            part["thoughtSignature"] = proof.value.as_str().into();
        }
        parts.push(part);
    }
    let counts = answer.usage.unwrap();
    let thoughts = counts.reasoning.unwrap_or(0);
    let mut usage = json!({
        "promptTokenCount": counts.prompt,
        "candidatesTokenCount": counts.completion - thoughts,
        "totalTokenCount": counts.total,
    });
    put(&mut usage, "thoughtsTokenCount", counts.reasoning);
    put(&mut usage, "cachedContentTokenCount", counts.cached);
    let finish = match answer.finish.as_str() {
        "stop" | "tool_calls" => "STOP",
        "length" => "MAX_TOKENS",
        "content_filter" => "SAFETY",
        finish => panic!("no finishReason for {finish}"),
    };
    let grounds = |(url, title): &(String, Option<String>)| json!({ "web": { "uri": url, "title": title } });
    let grounds: Vec<_> = answer.citations.iter().map(grounds).collect();
    json!({
        "candidates": [{
            "content": { "parts": parts, "role": "model" },
            "finishReason": finish,
            "groundingMetadata": { "groundingChunks": grounds },
            "index": 0,
        }],
        "usageMetadata": usage,
        "modelVersion": "gemini",
    })
}

/// Events end with CR LF, as Google's do.
pub fn write_stream(answer: &Answer) -> String {
    let whole = write(answer);
    let candidate = &whole["candidates"][0];
    let mut pieces = Vec::new();
    for part in candidate["content"]["parts"].as_array().unwrap() {
        let Some(text) = text(&part["text"]) else {
            pieces.push(part.clone());
            continue;
        };
        for piece in morsels(&text) {
            let mut own = part.clone();
            own.as_object_mut().unwrap().remove("thoughtSignature");
            own["text"] = piece.into();
            pieces.push(own);
        }
        if let Some(signature) = part.get("thoughtSignature") {
            pieces.push(json!({ "text": "", "thoughtSignature": signature }));
        }
    }
    let mut stream = String::new();
    let mut event = |candidate: Value, usage: Value| {
        stream += &format!("data: {}\r\n\r\n", json!({ "candidates": [candidate], "usageMetadata": usage }));
    };
    let prompt = json!({ "promptTokenCount": whole["usageMetadata"]["promptTokenCount"], "totalTokenCount": 1 });
    for piece in pieces {
        event(json!({ "content": { "parts": [piece], "role": "model" }, "index": 0 }), prompt.clone());
    }
    let mut last = candidate.clone();
    last["content"]["parts"] = json!([{ "text": "" }]);
    event(last, whole["usageMetadata"].clone());
    stream
}

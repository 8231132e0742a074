//! Numbered answers in the words of both formats. Each piece is written to the socket on its own.

use serde_json::json;

use super::lot::{Kind, Lot};

/// The whole body of an answer that is not streamed.
pub fn whole(lot: &Lot) -> String {
    let text = lot.text();
    let model = lot.kind.model();
    match lot.kind {
        Kind::Embedding => json!({
            "object": "list", "model": model, "usage": {"prompt_tokens": 7, "total_tokens": 7},
            "data": [{"object": "embedding", "index": 0, "embedding": [lot.number, 0.25, -0.5]}],
        }),
        kind if kind.is_translated() => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_sequence": null,
            "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 7, "output_tokens": 5},
        }),
        _ => json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
        }),
    }
    .to_string()
}

/// What a stream has before its first word.
pub fn opening(lot: &Lot) -> String {
    if lot.kind.is_translated() {
        let usage = json!({"input_tokens": 7, "output_tokens": 1});
        let message = json!({
            "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": lot.kind.model(),
            "stop_reason": null, "usage": usage,
        });
        let block = json!({"type": "text", "text": ""});
        event("message_start", &format!(r#""message":{message}"#))
            + &event("content_block_start", &format!(r#""index":0,"content_block":{block}"#))
    } else {
        chunk(lot, r#"{"role":"assistant","content":""}"#, "null")
    }
}

/// One word of a stream.
pub fn word(lot: &Lot, word: usize) -> String {
    let word = lot.word(word);
    if lot.kind.is_translated() {
        event("content_block_delta", &format!(r#""index":0,"delta":{{"type":"text_delta","text":"{word}"}}"#))
    } else {
        chunk(lot, &format!(r#"{{"content":"{word}"}}"#), "null")
    }
}

/// What a stream has after its last word.
pub fn closing(lot: &Lot) -> String {
    if lot.kind.is_translated() {
        let delta = r#""delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}"#;
        [event("content_block_stop", r#""index":0"#), event("message_delta", delta), event("message_stop", "")].concat()
    } else {
        chunk(lot, "{}", r#""stop""#) + "data: [DONE]\n\n"
    }
}

fn chunk(lot: &Lot, delta: &str, finish: &str) -> String {
    let model = lot.kind.model();
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"{model}\",\
         \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

fn event(name: &str, fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { "," };
    format!("event: {name}\ndata: {{\"type\":\"{name}\"{comma}{fields}}}\n\n")
}

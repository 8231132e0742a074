//! What must hold for every input, whatever the upstream sends.

use bytes::Bytes;
use serde_json::Value;
use uni_api::canon::{ChatEvent, Failure};
use uni_api::dialect::openai_chat::{AnswerHead, write_answer};
use uni_api::dialect::passthrough::{ChatRequest, Demands};
use uni_api::dialect::translated::TranslatedStream;
use uni_api::dialect::{AnswerStream, Format, sse};

/// The answer's head, alike in every run.
fn head() -> AnswerHead {
    AnswerHead { id: "chatcmpl-1".to_owned(), created: 1, model: "m".to_owned() }
}

/// Ways to cut the same bytes: not at all, at every byte, and at places that the bytes decide.
pub fn cuts(data: &[u8]) -> [Vec<Bytes>; 3] {
    let all = Bytes::copy_from_slice(data);
    let every_byte = (0..data.len()).map(|at| all.slice(at..at + 1)).collect();
    let mut state = data
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let mut pieces = Vec::new();
    let mut rest = all.clone();
    while !rest.is_empty() {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let length = usize::try_from(state >> 59).unwrap_or(1).min(rest.len());
        pieces.push(rest.split_to(length));
    }
    [vec![all], every_byte, pieces]
}

/// What reached the client, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    bytes: Vec<u8>,
    failure: Option<Failure>,
}

/// Sends pieces through a stream as the gateway does: up to the first failure, or to the end.
fn pass(mut stream: AnswerStream, pieces: Vec<Bytes>) -> Outcome {
    let mut bytes = Vec::new();
    for piece in pieces {
        let was_done = stream.is_done();
        let passed = stream.push(piece);
        assert!(!was_done || (passed.bytes.is_empty() && passed.failure.is_none()), "something follows [DONE]");
        bytes.extend_from_slice(&passed.bytes);
        if passed.failure.is_some() {
            return Outcome { bytes, failure: passed.failure };
        }
    }
    let passed = stream.finish();
    bytes.extend_from_slice(&passed.bytes);
    Outcome { bytes, failure: passed.failure }
}

/// Sends a stream through, cut in several ways, and gives the datas of the client's events.
fn stream_datas(new_stream: impl Fn() -> AnswerStream, data: &[u8]) -> Vec<Vec<u8>> {
    let [whole, every_byte, pieces] = cuts(data).map(|pieces| pass(new_stream(), pieces));
    assert_eq!(whole, every_byte, "a cut at every byte changes the answer");
    assert_eq!(whole, pieces, "cuts change the answer");
    let datas: Vec<_> =
        sse::events(&whole.bytes).filter_map(|event| event.data.map(|data| data.into_owned())).collect();
    let dones = datas.iter().filter(|data| data.trim_ascii() == b"[DONE]").count();
    assert_eq!(dones, usize::from(whole.failure.is_none()), "success has one [DONE], failure has none");
    datas
}

/// An answer of an upstream that speaks like the client.
pub fn same_format_stream(data: &[u8]) {
    for asked in ["", r#","stream_options":{"include_usage":true}"#, r#","n":2"#] {
        let body = format!(r#"{{"model":"m","messages":[],"stream":true{asked}}}"#);
        let demands = Demands { model: "m", tools: true, stream_usage: true };
        let request = ChatRequest::parse(Bytes::from(body), 0).unwrap();
        stream_datas(|| AnswerStream::Passed(request.answer_stream(demands)), data);
    }
}

/// An answer of an upstream that does not, read as a stream and as a whole.
pub fn other_format(format: Format, data: &[u8]) {
    let new_stream = || AnswerStream::Translated(TranslatedStream::new(format, &head(), true));
    for data in stream_datas(new_stream, data) {
        if data != b"[DONE]" {
            let chunk: Value = serde_json::from_slice(&data).unwrap();
            assert!(chunk["choices"].is_array());
        }
    }
    let Ok(events) = format.read_answer(data) else { return };
    assert!(events.iter().any(|event| matches!(event, ChatEvent::Finish(_))), "a whole answer has no end");
    for event in &events {
        if let ChatEvent::ToolCall { id, .. } = event {
            assert!(!id.is_empty(), "a call has no id");
        }
    }
    let answer: Value = serde_json::from_slice(&write_answer(&head(), &events)).unwrap();
    assert!(answer["choices"][0]["finish_reason"].is_string());
}

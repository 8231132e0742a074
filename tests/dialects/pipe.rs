//! The way through the gateway, as its server goes it.

use bytes::Bytes;
use serde_json::Value;
use uni_api::canon::{Failure, Usage};
use uni_api::dialect::openai_chat::{self, AnswerHead};
use uni_api::dialect::translated::TranslatedStream;
use uni_api::dialect::{AnswerStream, Format};

pub fn head() -> AnswerHead {
    AnswerHead { id: "chatcmpl-1".to_owned(), created: 1_700_000_000, model: "alias".to_owned() }
}

/// What the provider is sent for the body of a client.
pub fn sent(body: &Value, format: Format, model: &str) -> Result<Value, Failure> {
    let body = body.to_string();
    let request = openai_chat::read_request(&body)?;
    let written = format.write_request(&request, model)?;
    Ok(serde_json::from_slice(&written).unwrap())
}

/// What the client is answered for a whole answer of the provider.
pub fn answered(body: &str, format: Format) -> Result<Value, Failure> {
    let events = format.read_answer(body.as_bytes())?;
    Ok(serde_json::from_slice(&openai_chat::write_answer(&head(), &events)).unwrap())
}

/// What a client that wants token counts is sent for a stream that arrives in these pieces, and how it failed.
pub fn streamed(pieces: impl IntoIterator<Item = Bytes>, format: Format) -> (Vec<u8>, Option<Failure>) {
    let (bytes, failure, _) = pushed(AnswerStream::Translated(TranslatedStream::new(format, &head(), true)), pieces);
    (bytes, failure)
}

/// What comes out of a stream that arrives in these pieces, how it failed, and what it used.
pub fn pushed(
    mut stream: AnswerStream,
    pieces: impl IntoIterator<Item = Bytes>,
) -> (Vec<u8>, Option<Failure>, Option<Usage>) {
    let mut out = Vec::new();
    for piece in pieces {
        let passed = stream.push(piece);
        out.extend_from_slice(&passed.bytes);
        if passed.failure.is_some() {
            return (out, passed.failure, stream.usage());
        }
    }
    let passed = stream.finish();
    out.extend_from_slice(&passed.bytes);
    (out, passed.failure, stream.usage())
}

/// A stream in pieces that end at these places.
pub fn cut(stream: &str, places: impl IntoIterator<Item = usize>) -> Vec<Bytes> {
    let stream = Bytes::from(stream.to_owned());
    let mut places: Vec<_> = places.into_iter().map(|place| place.min(stream.len())).collect();
    places.push(stream.len());
    places.sort_unstable();
    let mut from = 0;
    places.into_iter().map(|to| stream.slice(std::mem::replace(&mut from, to)..to)).collect()
}

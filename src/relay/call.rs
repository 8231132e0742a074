//! One attempt at anything but chat, up to the commit point.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header::HeaderValue;
use bytes::Bytes;
use tokio::time::Instant;

use crate::actors::Lease;
use crate::canon::{AnswerKind, Failure, FailureKind, Operation};
use crate::dialect::call::{Call, Payload, Told, Translation, TypedStream, read_answer};
use crate::dialect::passthrough::ChatStream;
use crate::dialect::{AnswerStream, Wire};
use crate::upstream::{self, Answer, Outgoing};

use super::attempt::{Begun, MAX_ANSWER_BYTES, begin_stream, within};
use super::overrides::overridden;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

/// Sends a call to the channel of the lease and waits for the commit point: the first event of a
/// stream, the first byte of a sound, the whole of anything else.
pub(super) async fn attempt(call: &Call, lease: &Lease, deadline: Instant) -> Result<Begun, Failure> {
    let (limits, model) = (lease.limits(), lease.upstream_model());
    let translation = match lease.target().wire() {
        Wire::Same => None,
        Wire::Call(translation) => Some(translation),
        Wire::Chat(_) => return Err(Failure::new(FailureKind::Internal, "this channel was asked for a chat")),
    };
    let outgoing: Outgoing = match translation {
        None => with_overrides(call.for_upstream(model), call, lease).into(),
        Some(translation) => {
            let body = Bytes::from(translation.write_request(call, model)?);
            overridden(body, lease.channel(), &call.model).into()
        }
    };
    let sent = Instant::now();
    let (first_event, total) = (sent + limits.first_event, sent + limits.total);
    let head = upstream::send(lease.target(), outgoing, limits);
    let answer = within(first_event, deadline, FailureKind::FirstEventTimeout, head).await?;
    if let Some(translation) = translation {
        let whole = translated(translation, call, answer);
        return within(total, deadline, FailureKind::TotalTimeout, whole).await;
    }
    let are_bytes = call.operation.row().answer == AnswerKind::Bytes;
    // Where OpenAI itself may answer with a document, that is passed on.
    let must_stream = call.stream && call.operation == Operation::Completions;
    if answer.is_event_stream() && !call.stream && !are_bytes {
        let message = "the upstream answered with a stream, which was not asked for";
        return Err(Failure::new(FailureKind::UnreadableAnswer, message));
    }
    if answer.is_event_stream() || must_stream {
        let fault_in = |document: Bytes| read_answer(call.operation, &document, "").err();
        let begun = begin_stream(answer, stream_of(call), fault_in);
        return within(first_event, deadline, FailureKind::FirstEventTimeout, begun).await;
    }
    if are_bytes && !is_text(&answer) {
        return within(first_event, deadline, FailureKind::FirstEventTimeout, bytes(answer)).await;
    }
    within(total, deadline, FailureKind::TotalTimeout, whole(call.operation, answer)).await
}

/// JSON is in one segment. Forms go on as they are.
fn with_overrides(payload: Payload, call: &Call, lease: &Lease) -> Payload {
    match payload.content_type {
        Some(_) => payload,
        None => {
            let segments = payload.segments.into_iter();
            let segments = segments.map(|json| overridden(json, lease.channel(), &call.model)).collect();
            Payload { segments, content_type: None }
        }
    }
}

async fn translated(translation: Translation, call: &Call, answer: Answer) -> Result<Begun, Failure> {
    let body = answer.body.collect(MAX_ANSWER_BYTES).await?;
    if body.trim_ascii().is_empty() {
        return Err(Failure::new(FailureKind::EmptyAnswer, "the upstream sent an empty answer"));
    }
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (body, usage) = translation.read_answer(call, &body, created)?;
    Ok(Begun::Whole { body: body.into(), content_type: if call.stream { EVENTS } else { JSON }, usage })
}

fn stream_of(call: &Call) -> AnswerStream {
    match call.operation {
        Operation::Completions => AnswerStream::Passed(ChatStream::new(false, call.choices)),
        operation => AnswerStream::Typed(TypedStream::new(operation)),
    }
}

async fn whole(operation: Operation, answer: Answer) -> Result<Begun, Failure> {
    let media_type = answer.media_type();
    let Answer { body, content_type, .. } = answer;
    let body = body.collect(MAX_ANSWER_BYTES).await?;
    let (content_type, usage) = match read_answer(operation, &body, &media_type)? {
        Told::Json(usage) => (JSON, usage),
        Told::Text => (content_type.unwrap_or(TEXT), None),
    };
    Ok(Begun::Whole { body, content_type, usage })
}

async fn bytes(answer: Answer) -> Result<Begun, Failure> {
    let Answer { mut body, content_type, length } = answer;
    let mut first = Bytes::new();
    while first.is_empty() {
        first = body
            .next()
            .await
            .transpose()?
            .ok_or_else(|| Failure::new(FailureKind::EmptyAnswer, "the upstream sent an empty answer"))?;
    }
    Ok(Begun::Bytes { first, content_type: content_type.unwrap_or(BYTES), length, body })
}

/// Whether it is an error or a page, and not what it should be.
fn is_text(answer: &Answer) -> bool {
    let media_type = answer.media_type();
    media_type.starts_with("text/") || media_type.contains("json") || media_type.contains("xml")
}

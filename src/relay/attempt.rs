//! One attempt, up to the commit point.

use std::pin::pin;

use actix_web::http::header::HeaderValue;
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use tokio::time::{Instant, timeout_at};

use crate::actors::Lease;
use crate::canon::{Failure, FailureKind, Usage};
use crate::dialect::{AnswerStream, Framing};
use crate::upstream::{self, Answer, Body};

use super::exchange::{Asked, Exchange, Request};
use super::journey::deadline_passed;

/// An answer that is not streamed may be this long, in bytes; images come as base64 in there.
pub(super) const MAX_ANSWER_BYTES: usize = 128 * 1024 * 1024;
/// As much of a stream is held back, in bytes, while it has nothing but announcements to say.
const MAX_HELD_BYTES: usize = 256 * 1024;

/// An attempt that has passed the commit point.
pub enum Begun {
    /// The whole answer.
    Whole {
        /// In the client's words.
        body: Bytes,
        /// What it is.
        content_type: HeaderValue,
        /// What it used.
        usage: Option<Usage>,
    },
    /// The beginning of a stream.
    Stream {
        /// What goes to the client first.
        first: Bytes,
        /// The reader of the stream, which has seen `first`.
        chat: Box<AnswerStream>,
        /// Where the rest comes from; `None` when there is no rest.
        body: Option<Body>,
    },
    /// The beginning of an answer that is passed on as it comes.
    Bytes {
        /// What goes to the client first.
        first: Bytes,
        /// What it is.
        content_type: HeaderValue,
        /// How long all of it is, if the upstream said so.
        length: Option<u64>,
        /// Where the rest comes from.
        body: Body,
    },
}

/// Sends the request to the channel of the lease and waits for the commit point, which has to come
/// before the deadline.
pub async fn attempt(asked: &Asked, lease: &Lease, deadline: Instant) -> Result<Begun, Failure> {
    let begun = match &asked.request {
        Request::Call(call) => super::call::attempt(call, lease, deadline).await,
        Request::Chat(chat) => {
            let exchange = Exchange::new(asked, chat, lease);
            match chat.stream {
                true => stream(&exchange, lease, deadline).await,
                false => whole(&exchange, lease, deadline).await,
            }
        }
    };
    begun.map_err(|failure| attributed(failure, lease))
}

/// The outcome of `step`, unless it is not there at its own limit, which is a failure of `kind`, or at the deadline of the
/// whole request. No async function: its future would have room for `step` twice. Nor does it have to hold a long one:
/// what is pinned where it was made does not move.
pub(super) fn within<T>(
    limit: Instant,
    deadline: Instant,
    kind: FailureKind,
    step: impl Future<Output = Result<T, Failure>>,
) -> impl Future<Output = Result<T, Failure>> {
    timeout_at(limit.min(deadline), step).map(move |outcome| match outcome {
        Ok(outcome) => outcome,
        Err(_) if deadline < limit => Err(deadline_passed()),
        Err(_) => Err(Failure::new(
            kind,
            match kind {
                FailureKind::TotalTimeout => "the upstream's whole answer took too long",
                _ => "the upstream did not begin to answer in time",
            },
        )),
    })
}

/// The failure without the channel's key, and with the channel's name; but what is said of the
/// client's request stays as it was said.
pub fn attributed(failure: Failure, lease: &Lease) -> Failure {
    let failure = upstream::without_secrets(lease.target(), failure);
    match failure.kind {
        FailureKind::Rejected
        | FailureKind::InvalidRequest
        | FailureKind::ContextTooLong
        | FailureKind::ContentFiltered
        | FailureKind::MediaUnavailable => failure,
        _ => Failure { message: format!("{}: {}", lease.channel().name, failure.message), ..failure },
    }
}

async fn whole(exchange: &Exchange<'_>, lease: &Lease, deadline: Instant) -> Result<Begun, Failure> {
    let limits = lease.limits();
    let outgoing = exchange.outgoing().await?;
    let sent = Instant::now();
    let (first_event, total) = (sent + limits.first_event, sent + limits.total);
    let (limit, kind) = match first_event <= total {
        true => (first_event, FailureKind::FirstEventTimeout),
        false => (total, FailureKind::TotalTimeout),
    };
    let head = pin!(upstream::send(lease.target(), outgoing, limits));
    let answer = within(limit, deadline, kind, head).await?;
    let is_complete = answer.length.is_some();
    let body = pin!(answer.body.collect(MAX_ANSWER_BYTES));
    let body = within(total, deadline, FailureKind::TotalTimeout, body).await?;
    let (body, usage) = exchange.read_answer(body, is_complete)?;
    Ok(Begun::Whole { body, content_type: HeaderValue::from_static("application/json"), usage })
}

async fn stream(exchange: &Exchange<'_>, lease: &Lease, deadline: Instant) -> Result<Begun, Failure> {
    let outgoing = exchange.outgoing().await?;
    let first_event = Instant::now() + lease.limits().first_event;
    let begun = pin!(async {
        let answer = upstream::send(lease.target(), outgoing, lease.limits()).await?;
        begin_stream(answer, exchange.stream(), |document| exchange.read_answer(document, false).err()).await
    });
    within(first_event, deadline, FailureKind::FirstEventTimeout, begun).await
}

/// Waits for the first event of a stream that says something. `fault_in` looks at a document that
/// came in place of the stream.
pub(super) async fn begin_stream(
    mut answer: Answer,
    mut chat: AnswerStream,
    fault_in: impl FnOnce(Bytes) -> Option<Failure>,
) -> Result<Begun, Failure> {
    let mut is_stream = answer.is_event_stream();
    let mut held = BytesMut::new();
    while let Some(piece) = answer.body.next().await {
        let piece = piece?;
        if !is_stream && let Some(first) = piece.trim_ascii_start().first() {
            if !begins_an_event(*first) && chat.framing() == Framing::ServerSentEvents {
                return Err(no_stream(fault_in, piece, answer.body).await);
            }
            is_stream = true;
        }
        let passed = chat.push(piece);
        held.extend_from_slice(&passed.bytes);
        if let Some(failure) = passed.failure {
            return Err(failure);
        }
        if chat.has_substance() || held.len() > MAX_HELD_BYTES {
            return Ok(Begun::Stream { first: held.freeze(), chat: Box::new(chat), body: Some(answer.body) });
        }
    }
    let passed = chat.finish();
    held.extend_from_slice(&passed.bytes);
    match passed.failure {
        Some(failure) => Err(failure),
        None => Ok(Begun::Stream { first: held.freeze(), chat: Box::new(chat), body: None }),
    }
}

/// Some servers forget to say that they stream.
fn begins_an_event(first: u8) -> bool {
    matches!(first, b'd' | b'e' | b'i' | b'r' | b':')
}

/// A stream was asked for and a document came: most often an error with a status of success.
async fn no_stream(fault_in: impl FnOnce(Bytes) -> Option<Failure>, first: Bytes, rest: Body) -> Failure {
    let mut document = BytesMut::from(first);
    if let Ok(rest) = rest.collect(MAX_HELD_BYTES).await {
        document.extend_from_slice(&rest);
    }
    fault_in(document.freeze()).unwrap_or_else(|| {
        Failure::new(FailureKind::UnreadableAnswer, "the upstream answered a request for a stream without one")
    })
}

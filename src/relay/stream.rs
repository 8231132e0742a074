//! A stream behind its commit point.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use tokio::time::timeout;

use crate::actors::{Lease, Outcome};
use crate::canon::Failure;
use crate::dialect::{AnswerStream, Passed, openai_chat, sse};
use crate::upstream::Body;

use super::account::Account;
use super::attempt::attributed;
use super::drain::{Over, shutting_down};
use super::kept_alive::{COMMENT, Silence};

/// How long the end of an upstream's stream is waited for behind its `[DONE]`, so that its
/// connection can be used again. The client does not wait with us.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
const MAX_DRAINED_BYTES: usize = 64 * 1024;

/// The body of a streamed answer. Dropping it closes the upstream connection at once and gives the
/// lease back.
pub struct EventStream {
    first: Bytes,
    chat: AnswerStream,
    body: Option<Body>,
    lease: Option<Lease>,
    account: Account,
    over: Over,
    silence: Silence,
}

impl EventStream {
    pub(super) fn new(
        first: Bytes,
        chat: AnswerStream,
        body: Option<Body>,
        lease: Lease,
        account: Account,
        over: Over,
    ) -> Self {
        let mut stream = Self { first, chat, body, lease: Some(lease), account, over, silence: Silence::default() };
        if stream.body.is_none() {
            stream.complete();
        }
        stream
    }

    /// The answer is whole.
    fn complete(&mut self) {
        self.body = None;
        self.account.used(self.chat.usage());
        self.account.succeeded();
        if let Some(lease) = self.lease.take() {
            lease.settle(Outcome::Succeeded);
        }
    }

    /// The answer will never be whole: says so in band. No `[DONE]` follows.
    fn fail(&mut self, bytes: &[u8], mut failure: Failure) -> Bytes {
        self.body = None;
        self.account.broke(&failure);
        self.account.used(self.chat.usage());
        if let Some(lease) = self.lease.take() {
            failure = attributed(failure, &lease);
            lease.failed(&failure);
        }
        let mut last = BytesMut::from(bytes);
        last.extend_from_slice(&error_event(&failure));
        last.freeze()
    }

    /// There is no time for the rest: says so in band. The channel is not to blame.
    fn cut_short(&mut self) -> Bytes {
        self.body = None;
        self.account.used(self.chat.usage());
        let failure = shutting_down();
        self.account.cut_short(&failure);
        self.lease = None;
        error_event(&failure)
    }

    fn take_in(&mut self, Passed { bytes, failure }: Passed) -> Bytes {
        match failure {
            Some(failure) if !self.chat.is_done() => self.fail(&bytes, failure),
            _ => bytes,
        }
    }
}

/// No `[DONE]` follows it.
fn error_event(failure: &Failure) -> Bytes {
    sse::write(&openai_chat::write_error(failure))
}

impl MessageBody for EventStream {
    /// Never: a body that yields an error loses what was not flushed yet.
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let stream = self.get_mut();
        if !stream.first.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut stream.first))));
        }
        while let Some(body) = &mut stream.body {
            if !stream.chat.is_done() && stream.over.poll_unpin(context).is_ready() {
                return Poll::Ready(Some(Ok(stream.cut_short())));
            }
            let bytes = match body.poll_piece(context) {
                Poll::Pending if stream.chat.is_done() => {
                    if let Some(body) = stream.body.take() {
                        actix_web::rt::spawn(timeout(DRAIN_LIMIT, body.drain(MAX_DRAINED_BYTES)));
                    }
                    stream.complete();
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    let interval = stream.lease.as_ref().and_then(|lease| lease.limits().keepalive);
                    ready!(stream.silence.poll(interval, context));
                    return Poll::Ready(Some(Ok(COMMENT)));
                }
                Poll::Ready(Some(Ok(piece))) => {
                    let passed = stream.chat.push(piece);
                    stream.take_in(passed)
                }
                Poll::Ready(Some(Err(failure))) => {
                    let left = stream.chat.finish();
                    match left.failure {
                        // The connection broke behind the end of the answer.
                        None => {
                            stream.complete();
                            left.bytes
                        }
                        Some(_) => stream.fail(&left.bytes, failure),
                    }
                }
                Poll::Ready(None) => {
                    let left = stream.chat.finish();
                    if left.failure.is_none() {
                        stream.complete();
                    }
                    stream.take_in(left)
                }
            };
            if !bytes.is_empty() {
                stream.silence.broken();
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
        Poll::Ready(None)
    }
}

//! Comments for a client whose stream says nothing: proxies in front of the gateway close what is
//! silent for long, and a model may think for minutes.
//!
//! Before the upstream has begun to answer, the first comment commits the answer to 200. Whatever
//! fails after it, when no channel is left to try, is told in band.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures::future::LocalBoxFuture;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::dialect::{openai_chat, sse};

use super::answer::{Answer, Reply};
use super::stream::EventStream;

/// What clients of events ignore.
pub(super) const COMMENT: Bytes = Bytes::from_static(b": keepalive\n\n");

/// How long a client may be told nothing, as the attempt has it that is under way.
#[derive(Clone, Default)]
pub struct Interval(Rc<Cell<Option<Duration>>>);

impl Interval {
    pub(super) fn set(&self, interval: Option<Duration>) {
        self.0.set(interval);
    }
}

/// Rings when nothing was said for an interval.
#[derive(Default)]
pub(super) struct Silence {
    said: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    /// Something was said.
    pub fn broken(&mut self) {
        self.said = None;
    }

    /// Ready when the silence has lasted for an interval; it begins anew then.
    pub fn poll(&mut self, interval: Option<Duration>, context: &mut Context<'_>) -> Poll<()> {
        let Some(interval) = interval else { return Poll::Pending };
        let since = *self.said.get_or_insert_with(Instant::now);
        let Some(end) = since.checked_add(interval) else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if timer.deadline() != end {
            timer.as_mut().reset(end);
        }
        ready!(timer.as_mut().poll(context));
        self.broken();
        Poll::Ready(())
    }
}

/// The body of an answer that has not begun when the client was told that it will.
pub struct KeptAlive {
    stage: Stage,
    interval: Interval,
    silence: Silence,
    /// It owes the client the comment for which it was begun.
    is_new: bool,
}

enum Stage {
    Waiting(LocalBoxFuture<'static, Reply>),
    Streaming(Box<EventStream>),
    Over,
}

impl KeptAlive {
    /// The reply, if it is there within the interval that its attempts have. If not, one that keeps
    /// its client until it is.
    pub async fn reply(mut answer: LocalBoxFuture<'static, Reply>, interval: Interval) -> Reply {
        let mut silence = Silence::default();
        let begun = poll_fn(|context| match answer.as_mut().poll(context) {
            Poll::Ready(reply) => Poll::Ready(Some(reply)),
            Poll::Pending => silence.poll(interval.0.get(), context).map(|()| None),
        });
        match begun.await {
            Some(reply) => reply,
            None => {
                let body = Self { stage: Stage::Waiting(answer), interval, silence, is_new: true };
                Reply { answer: Ok(Answer::KeptAlive(Box::new(body))), quota: None, trail: None }
            }
        }
    }

    fn begin(&mut self, reply: Reply) -> Option<Bytes> {
        self.stage = Stage::Over;
        match reply.answer {
            Ok(Answer::Events(stream)) => {
                self.stage = Stage::Streaming(stream);
                None
            }
            Ok(Answer::KeptAlive(_) | Answer::Bytes { .. }) => None,
            Ok(Answer::Whole { body, content_type }) if content_type.as_bytes().starts_with(b"text/event-stream") => {
                Some(body)
            }
            // Not what was asked for, but what there is.
            Ok(Answer::Whole { body, .. }) => Some(sse::write(&in_one_line(&body))),
            Err(failure) => Some(sse::write(&openai_chat::write_error(&failure))),
        }
    }
}

impl MessageBody for KeptAlive {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.is_new) {
            return Poll::Ready(Some(Ok(COMMENT)));
        }
        loop {
            match &mut this.stage {
                Stage::Waiting(answer) => match answer.as_mut().poll(context) {
                    Poll::Ready(reply) => {
                        if let Some(last) = this.begin(reply) {
                            return Poll::Ready(Some(Ok(last)));
                        }
                    }
                    Poll::Pending => {
                        ready!(this.silence.poll(this.interval.0.get(), context));
                        return Poll::Ready(Some(Ok(COMMENT)));
                    }
                },
                Stage::Streaming(stream) => return Pin::new(&mut **stream).poll_next(context),
                Stage::Over => return Poll::Ready(None),
            }
        }
    }
}

/// A JSON document, in whose texts no line ends.
fn in_one_line(document: &[u8]) -> String {
    String::from_utf8_lossy(document).replace(['\n', '\r'], " ")
}

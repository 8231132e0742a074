//! The body of an upstream's answer, as it comes in.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::canon::{Failure, FailureKind};

use super::response::{Cut, Response};

/// The pieces of an answer. Fails when the upstream is silent for longer than the idle limit, and
/// when it closes before the end that it announced or that chunks have: awc takes a cut body
/// for a whole one.
///
/// Dropping it closes the connection, unless the body was read to its end.
pub struct Body {
    /// Until its end.
    response: Option<Response>,
    /// Bytes that are still to come, if the upstream said how many.
    missing: Option<u64>,
    idle: IdleLimit,
}

impl Body {
    pub(super) fn new(response: impl Into<Response>, idle: Duration) -> Self {
        let response = response.into();
        Self { missing: response.content_length(), response: Some(response), idle: IdleLimit::new(idle) }
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// As of the stream, and when it is longer than `max_bytes`.
    pub async fn collect(mut self, max_bytes: usize) -> Result<Bytes, Failure> {
        let Some(first) = self.next().await.transpose()? else { return Ok(Bytes::new()) };
        let Some(second) = self.next().await.transpose()? else { return Ok(first) };
        let mut whole = BytesMut::from(first);
        whole.extend_from_slice(&second);
        while let Some(piece) = self.next().await {
            whole.extend_from_slice(&piece?);
            if whole.len() > max_bytes {
                return Err(Failure::new(FailureKind::UnreadableAnswer, "the upstream's answer is too large"));
            }
        }
        Ok(whole.freeze())
    }

    /// Reads what is left, up to `max_bytes`, so that the connection can be used again.
    pub async fn drain(mut self, max_bytes: usize) {
        let mut left = max_bytes;
        while let Some(Ok(piece)) = self.next().await {
            let Some(rest) = left.checked_sub(piece.len()) else { return };
            left = rest;
        }
    }

    /// The next piece.
    pub async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        std::future::poll_fn(|context| self.poll_piece(context)).await
    }

    /// The next piece; to be polled only while there is room for it.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        let Some(response) = &mut self.response else { return Poll::Ready(None) };
        let Poll::Ready(item) = response.poll_piece(context) else {
            ready!(self.idle.poll_expired(context));
            let message = "the upstream fell silent in the middle of its answer";
            return Poll::Ready(Some(Err(Failure::new(FailureKind::IdleTimeout, message))));
        };
        self.idle.progress();
        Poll::Ready(match item {
            Some(Ok(piece)) => {
                let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                self.missing = self.missing.map(|missing| missing.saturating_sub(length));
                Some(Ok(piece))
            }
            Some(Err(Cut)) => Some(Err(cut())),
            None => {
                let ends_whole = self.response.take().is_none_or(Response::ends_whole);
                let is_short = self.missing.is_some_and(|missing| missing > 0);
                (is_short || !ends_whole).then(|| Err(cut()))
            }
        })
    }
}

fn cut() -> Failure {
    Failure::new(FailureKind::CutAnswer, "the upstream's answer ended before it was whole")
}

/// Expires when nothing has come for a while. The clock runs only while somebody waits for the
/// upstream, not while a slow client holds things up; and the timer is moved only when it rings,
/// not with every piece.
struct IdleLimit {
    limit: Duration,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl IdleLimit {
    fn new(limit: Duration) -> Self {
        Self { limit, waiting_since: None, timer: None }
    }

    fn progress(&mut self) {
        self.waiting_since = None;
    }

    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let Some(deadline) = since.checked_add(self.limit) else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            ready!(timer.as_mut().poll(context));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

//! Bytes behind their commit point: a sound on its way to the client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures::FutureExt;

use crate::actors::{Lease, Outcome};
use crate::canon::Failure;
use crate::upstream::Body;

use super::account::Account;
use super::attempt::attributed;
use super::drain::{Over, shutting_down};

/// The body of an answer that is passed on as it comes. Dropping it closes the upstream connection
/// at once and gives the lease back.
///
/// There is no place in a sound for an error. One that was cut ends with the client's connection,
/// without the end that HTTP gives to a whole body.
pub struct ByteStream {
    first: Bytes,
    length: Option<u64>,
    body: Body,
    lease: Option<Lease>,
    account: Account,
    over: Over,
    cut: Cut,
}

/// How far an answer has come that will never be whole.
enum Cut {
    Not,
    /// What has come so far is on its way out.
    Flushing(io::Error),
    Done,
}

impl ByteStream {
    pub(super) fn new(
        first: Bytes,
        length: Option<u64>,
        body: Body,
        lease: Lease,
        account: Account,
        over: Over,
    ) -> Self {
        Self { first, length, body, lease: Some(lease), account, over, cut: Cut::Not }
    }

    fn complete(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.account.succeeded();
            lease.settle(Outcome::Succeeded);
        }
    }

    fn fail(&mut self, failure: Failure) -> io::Error {
        self.account.broke(&failure);
        if let Some(lease) = self.lease.take() {
            let failure = attributed(failure, &lease);
            lease.failed(&failure);
        }
        cut()
    }

    /// There is no time for the rest. The channel is not to blame.
    fn cut_short(&mut self) -> io::Error {
        self.account.cut_short(&shutting_down());
        self.lease = None;
        cut()
    }

    /// The server writes out what it has while it waits; with the error it would throw it away.
    fn cut_after_flush(&mut self, error: io::Error, context: &Context<'_>) {
        self.cut = Cut::Flushing(error);
        context.waker().wake_by_ref();
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ended before it was whole")
}

impl MessageBody for ByteStream {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        self.length.map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        let stream = self.get_mut();
        if !stream.first.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut stream.first))));
        }
        match std::mem::replace(&mut stream.cut, Cut::Done) {
            Cut::Not => stream.cut = Cut::Not,
            Cut::Flushing(error) => return Poll::Ready(Some(Err(error))),
            Cut::Done => return Poll::Ready(None),
        }
        if stream.over.poll_unpin(context).is_ready() {
            let error = stream.cut_short();
            stream.cut_after_flush(error, context);
            return Poll::Pending;
        }
        match stream.body.poll_piece(context) {
            Poll::Ready(Some(Err(failure))) => {
                let error = stream.fail(failure);
                stream.cut_after_flush(error, context);
                Poll::Pending
            }
            Poll::Ready(Some(Ok(piece))) => Poll::Ready(Some(Ok(piece))),
            Poll::Ready(None) => {
                stream.complete();
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

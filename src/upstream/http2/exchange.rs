//! One request and its answer on a connection that others use, too.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use awc::http::StatusCode;
use awc::http::header::HeaderMap;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use h2::{RecvStream, SendStream};
use http::Request;

use super::connection::Place;
use super::heads;

/// So much of a body is offered to the connection at once, in bytes; others send in between.
const SLICE_BYTES: usize = 64 * 1024;

/// An answer whose head has come. Dropping it tells the upstream to stop, unless the body was read to
/// its end.
pub(in crate::upstream) struct Incoming {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: RecvStream,
    /// What is left of the request: an upstream may answer before it has all of it.
    upload: Option<LocalBoxFuture<'static, ()>>,
    place: Place,
}

/// Sends a request and waits for the head of the answer.
///
/// # Errors
///
/// There is no answer.
pub(super) async fn exchange(place: Place, head: Request<()>, body: Vec<Bytes>) -> Result<Incoming, h2::Error> {
    let mut sender = place.connection.sender().ready().await?;
    let length: usize = body.iter().map(Bytes::len).sum();
    let (answer, stream) = sender.send_request(head, length == 0)?;
    let mut upload = (length > 0).then(|| send(stream, body, length).boxed_local());
    let mut answer = pin!(answer);
    let answer = poll_fn(|context| {
        poll_upload(&mut upload, context);
        answer.poll_unpin(context)
    });
    let (head, body) = answer.await?.into_parts();
    place.connection.heard(Instant::now());
    let (status, headers) = heads::answer(&head);
    Ok(Incoming { status, headers, body, upload, place })
}

fn poll_upload(upload: &mut Option<LocalBoxFuture<'static, ()>>, context: &mut Context<'_>) {
    if upload.as_mut().is_some_and(|upload| upload.poll_unpin(context).is_ready()) {
        *upload = None;
    }
}

/// Sends `left` bytes as fast as the upstream takes them. Should it not take them all, the answer says why.
async fn send(mut stream: SendStream<Bytes>, body: Vec<Bytes>, mut left: usize) {
    for mut segment in body {
        while !segment.is_empty() {
            stream.reserve_capacity(segment.len().min(SLICE_BYTES));
            let Some(Ok(room)) = poll_fn(|context| stream.poll_capacity(context)).await else { return };
            let slice = segment.split_to(room.min(segment.len()));
            left -= slice.len();
            if !slice.is_empty() && stream.send_data(slice, left == 0).is_err() {
                return;
            }
        }
    }
}

impl Incoming {
    /// The next piece, which is never empty. A body that breaks off ends with an error.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        poll_upload(&mut self.upload, context);
        loop {
            let piece = ready!(self.body.poll_data(context));
            self.place.connection.heard(Instant::now());
            if let Some(Ok(bytes)) = &piece {
                // It fails where the stream has ended, and then there is nobody to tell.
                let _ = self.body.flow_control().release_capacity(bytes.len());
                if bytes.is_empty() {
                    continue;
                }
            }
            return Poll::Ready(piece);
        }
    }
}

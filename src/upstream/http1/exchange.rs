//! One request and its answer.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use actix_http::h1::{ClientCodec, ClientPayloadCodec, MessageType};
use actix_http::{ConnectionType, ResponseHead};
use awc::http::{StatusCode, Version, header};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncWrite;
use tokio_util::codec::Decoder;

use super::connection::Connection;
use super::host::Host;

/// A body up to this length, in bytes, is copied behind the head, so that both go out as one.
const SMALL_BODY_BYTES: usize = 16 * 1024;
/// So many segments go out as one.
const MAX_SLICES: usize = 16;
/// A head is no longer than this, in bytes: so no name in it is longer than the codec can take.
const MAX_HEAD_BYTES: usize = 65_535;
/// As many interim answers are passed over.
const MAX_INTERIM: usize = 32;
/// For the line that tells the length.
const LENGTH_LINE_BYTES: usize = 48;

/// Why there is no answer.
pub(super) enum Lost {
    /// The connection was closed before anything of an answer.
    Closed,
    /// The connection was reset before anything of an answer.
    Reset,
    /// It ended within the head.
    Midway,
    /// What came is not HTTP.
    NotHttp,
}

/// An answer whose head has come. Dropping it closes the connection, unless the body was read to its end.
pub(in crate::upstream) struct Incoming {
    pub head: ResponseHead,
    host: Rc<Host>,
    /// Whether the connection can serve another request after the body.
    is_kept: bool,
    /// Until the end of the body.
    rest: Option<Rest>,
}

/// A body that still comes in.
struct Rest {
    connection: Connection,
    codec: ClientPayloadCodec,
    ends_with_connection: bool,
    /// What has come of it, as it came.
    buffer: BytesMut,
    /// What is left of the request: an upstream may answer before it has all of it.
    upload: Upload,
}

/// A body broke off.
pub(in crate::upstream) struct Broken;

/// Sends a request and waits for the head of the answer.
///
/// # Errors
///
/// There is no answer.
pub(super) async fn exchange(
    mut connection: Connection,
    host: &Rc<Host>,
    head: &Bytes,
    body: &[Bytes],
    length: Option<usize>,
) -> Result<Incoming, Lost> {
    let mut upload = Upload::new(head, body, length);
    let mut codec = ClientCodec::new(host.codec());
    let mut buffer = BytesMut::new();
    let mut interim = 0;
    let head = poll_fn(|context| {
        upload.poll(&mut connection, context);
        loop {
            if buffer.len() > MAX_HEAD_BYTES {
                return Poll::Ready(Err(Lost::NotHttp));
            }
            if !buffer.is_empty() {
                match codec.decode(&mut buffer) {
                    Ok(Some(head)) if is_interim(head.status) => {
                        interim += 1;
                        if interim > MAX_INTERIM || !matches!(codec.message_type(), MessageType::None) {
                            return Poll::Ready(Err(Lost::NotHttp));
                        }
                        continue;
                    }
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(_) => return Poll::Ready(Err(Lost::NotHttp)),
                }
            }
            let read = ready!(connection.poll_read(&mut buffer, context));
            match read {
                Ok(0) | Err(_) if interim > 0 || !buffer.is_empty() => return Poll::Ready(Err(Lost::Midway)),
                Ok(0) => return Poll::Ready(Err(Lost::Closed)),
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(Lost::Reset)),
            }
        }
    });
    let mut head = head.await?;
    let (end, is_clear) = end_of_body(&head, !matches!(codec.message_type(), MessageType::None))?;
    if !is_clear {
        // It says what is not so.
        head.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let is_kept = is_clear && head.version == Version::HTTP_11 && head.connection_type() == ConnectionType::KeepAlive;
    let rest = Rest {
        connection,
        codec: codec.into_payload_codec(),
        ends_with_connection: end == End::OfConnection,
        buffer,
        upload,
    };
    let mut incoming = Incoming { head, host: Rc::clone(host), is_kept, rest: None };
    match end {
        End::Here => incoming.end(rest),
        End::Told | End::OfConnection => incoming.rest = Some(rest),
    }
    Ok(incoming)
}

/// Where a body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// There is none.
    Here,
    /// Its length or its last chunk tells.
    Told,
    OfConnection,
}

/// Where the body of an answer ends (RFC 9112, section 6.3), and whether all that its head says agrees with that, so
/// that what follows can be the next answer. `is_read` is whether the codec reads a body.
fn end_of_body(head: &ResponseHead, is_read: bool) -> Result<(End, bool), Lost> {
    let is_chunked = head.headers().contains_key(header::TRANSFER_ENCODING);
    // What is no number the codec has refused.
    let length = head.headers().get(header::CONTENT_LENGTH).map(|length| length.to_str().ok()?.parse::<u64>().ok());
    let length = length.map(Option::unwrap_or_default);
    let is_bodiless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(match (is_chunked, length) {
        _ if is_bodiless => (End::Here, !is_chunked && length.unwrap_or_default() == 0),
        (true, _) if !is_read || head.version == Version::HTTP_10 => return Err(Lost::NotHttp),
        (true, length) => (End::Told, length.is_none()),
        (false, Some(0)) => (End::Here, true),
        (false, Some(_)) if !is_read => return Err(Lost::NotHttp),
        (false, Some(_)) => (End::Told, true),
        (false, None) if is_read => (End::OfConnection, false),
        // There may be one, which the codec leaves where it is.
        (false, None) => (End::Here, false),
    })
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

impl Incoming {
    /// The next piece. A body that breaks off ends with an error.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        rest.upload.poll(&mut rest.connection, context);
        loop {
            match rest.codec.decode(&mut rest.buffer) {
                Ok(Some(Some(piece))) => return Poll::Ready(Some(Ok(piece))),
                Ok(Some(None)) => {
                    if let Some(rest) = self.rest.take() {
                        self.end(rest);
                    }
                    return Poll::Ready(None);
                }
                Ok(None) => {}
                Err(_) => break,
            }
            match ready!(rest.connection.poll_read(&mut rest.buffer, context)) {
                Ok(0) if rest.ends_with_connection => {
                    self.rest = None;
                    return Poll::Ready(None);
                }
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        self.rest = None;
        Poll::Ready(Some(Err(Broken)))
    }

    /// The answer is complete: whether its connection can serve another request.
    fn end(&self, rest: Rest) {
        let Rest { connection, buffer, upload, .. } = rest;
        if self.is_kept && buffer.is_empty() && upload.is_done() {
            self.host.keep(connection, Instant::now());
        }
    }
}

/// What is still to be sent of a request.
struct Upload {
    /// Of what is left: at the beginning the head, with a body that is small. Empty when nothing is left.
    first: Bytes,
    /// What follows, no segment of which is empty.
    others: VecDeque<Bytes>,
    is_flushed: bool,
    has_failed: bool,
}

impl Upload {
    fn new(head: &Bytes, body: &[Bytes], length: Option<usize>) -> Self {
        let is_small = length.is_none_or(|length| length <= SMALL_BODY_BYTES);
        let copied = if is_small { length.unwrap_or_default() } else { 0 };
        let mut first = BytesMut::with_capacity(head.len() + LENGTH_LINE_BYTES + copied);
        first.extend_from_slice(head);
        if let Some(length) = length {
            // Nothing is refused by a buffer that grows.
            let _ = write!((&mut first).writer(), "content-length: {length}\r\n");
        }
        first.extend_from_slice(b"\r\n");
        let mut others = VecDeque::new();
        if is_small {
            body.iter().for_each(|segment| first.extend_from_slice(segment));
        } else {
            others.extend(body.iter().filter(|segment| !segment.is_empty()).cloned());
        }
        Self { first: first.freeze(), others, is_flushed: false, has_failed: false }
    }

    fn is_done(&self) -> bool {
        self.is_flushed && !self.has_failed
    }

    /// Sends as much as goes. Should the upstream not take it, what comes back says why.
    fn poll(&mut self, connection: &mut Connection, context: &mut Context<'_>) {
        if !self.is_flushed && !self.has_failed {
            match self.poll_send(connection, context) {
                Poll::Ready(Ok(())) => self.is_flushed = true,
                Poll::Ready(Err(_)) => self.has_failed = true,
                Poll::Pending => {}
            }
        }
    }

    fn poll_send(&mut self, connection: &mut Connection, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(&mut connection.stream);
        while !self.first.is_empty() {
            let written = match self.others.is_empty() {
                // For one segment the kernel has less to do.
                true => stream.as_mut().poll_write(context, &self.first),
                false => {
                    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                    let segments = std::iter::once(&self.first).chain(&self.others);
                    let count = slices.iter_mut().zip(segments).map(|(slice, segment)| *slice = IoSlice::new(segment));
                    let count = count.count();
                    stream.as_mut().poll_write_vectored(context, slices.get(..count).unwrap_or_default())
                }
            };
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent(written);
        }
        stream.poll_flush(context)
    }

    fn sent(&mut self, mut bytes: usize) {
        while bytes > 0 && !self.first.is_empty() {
            let of_this = bytes.min(self.first.len());
            self.first.advance(of_this);
            bytes -= of_this;
            if self.first.is_empty() {
                self.first = self.others.pop_front().unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests;

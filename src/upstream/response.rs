//! An upstream's answer in either version of HTTP: its head, and its body yet to be read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use awc::ClientResponse;
use awc::http::header::{self, HeaderMap};
use awc::http::{StatusCode, Version};
use bytes::Bytes;
use futures::Stream;

use super::noting::takes_a_connection_along;
use super::{http1, http2};

/// An answer whose head has come.
pub(super) enum Response {
    /// By HTTP/1.1 or HTTP/1.0.
    Http1(Box<http1::Incoming>),
    /// By HTTP/2.
    Http2(Box<http2::Incoming>),
    /// To something that awc has asked.
    OfAwc(ClientResponse),
}

/// A body ended before it was whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut;

impl From<ClientResponse> for Response {
    fn from(response: ClientResponse) -> Self {
        Self::OfAwc(response)
    }
}

impl From<http1::Incoming> for Response {
    fn from(incoming: http1::Incoming) -> Self {
        Self::Http1(Box::new(incoming))
    }
}

impl Response {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Http1(incoming) => incoming.head.status,
            Self::OfAwc(response) => response.status(),
            Self::Http2(incoming) => incoming.status,
        }
    }

    pub fn headers(&self) -> &HeaderMap {
        match self {
            Self::Http1(incoming) => incoming.head.headers(),
            Self::OfAwc(response) => response.headers(),
            Self::Http2(incoming) => &incoming.headers,
        }
    }

    /// How long the body says it is, in bytes.
    pub fn content_length(&self) -> Option<u64> {
        self.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// Whether the body can be read: actix-http reads none that only the end of the connection delimits.
    pub fn has_readable_end(&self) -> bool {
        let version = match self {
            Self::Http1(incoming) => incoming.head.version,
            Self::Http2(_) => return true,
            Self::OfAwc(response) => response.version(),
        };
        let headers = self.headers();
        headers.contains_key(header::CONTENT_LENGTH)
            || headers.contains_key(header::TRANSFER_ENCODING)
            || version == Version::HTTP_10
    }

    /// The next piece. An end may still turn out to be none, see [`ends_whole`](Self::ends_whole).
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let piece = match self {
            Self::Http1(incoming) => ready!(incoming.poll_piece(context)).map(|piece| piece.map_err(|_| Cut)),
            Self::OfAwc(response) => ready!(Pin::new(response).poll_next(context)).map(|piece| piece.map_err(|_| Cut)),
            Self::Http2(incoming) => ready!(incoming.poll_piece(context)).map(|piece| piece.map_err(|_| Cut)),
        };
        Poll::Ready(piece)
    }

    /// Whether a body after which there was nothing more was whole.
    pub fn ends_whole(self) -> bool {
        match self {
            // Its end is that of the connection.
            Self::OfAwc(response) if response.version() == Version::HTTP_10 => true,
            Self::OfAwc(response) => !takes_a_connection_along(response),
            // What breaks off there is an error.
            Self::Http1(_) | Self::Http2(_) => true,
        }
    }
}

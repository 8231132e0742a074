//! A connection for one request at a time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use actix_service::Service;
use actix_tls::connect::ConnectInfo;
use actix_tls::connect::rustls_0_23::TlsConnector;
use awc::error::ConnectError;
use awc::http::Uri;
use bytes::{BufMut, BytesMut};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_util::io::poll_read_buf;

use crate::upstream::client::Connector;

/// There is to be room for so much: at first, and while more comes than there was room for.
const READ_BYTES: (usize, usize) = (4 * 1024, 32 * 1024);
/// With less room than this, more is made.
const LITTLE_BYTES: usize = 1024;
/// Stays free behind what is read: with less than that, the decoder of actix-http sets 32 KiB aside with each piece of a
/// body, which for a slow stream are as good as lost.
const UNTOUCHED_BYTES: usize = 2 * 1024;

/// A connection for one request at a time.
pub(super) struct Connection {
    pub stream: Box<dyn Stream>,
    pub opened: Instant,
    /// What is read at once, in bytes: twice what came the last time.
    reads: usize,
}

/// What bytes come and go through.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl Connection {
    pub fn over(stream: Box<dyn Stream>, opened: Instant) -> Self {
        Self { stream, opened, reads: READ_BYTES.0 }
    }

    /// Opens one to the host of `uri`; `limit` is for TCP, and once more for TLS.
    ///
    /// # Errors
    ///
    /// There is none.
    pub async fn open(
        connector: &Connector,
        tls: &Arc<ClientConfig>,
        uri: &Uri,
        limit: Duration,
    ) -> Result<Self, ConnectError> {
        let late = |_| ConnectError::Timeout;
        let connection = timeout(limit, connector.call(ConnectInfo::new(uri.clone()))).await.map_err(late)??;
        let stream: Box<dyn Stream> = if uri.scheme_str() == Some("https") {
            let secure = timeout(limit, TlsConnector::service(Arc::clone(tls)).call(connection)).await.map_err(late)?;
            Box::new(secure.map_err(ConnectError::Io)?.into_parts().0)
        } else {
            Box::new(connection.into_parts().0)
        };
        Ok(Self::over(stream, Instant::now()))
    }

    /// Whether nothing has come while nobody asked: neither an end nor a word.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut self.stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// Reads what there is; how many bytes, none at the end.
    pub fn poll_read(&mut self, buffer: &mut BytesMut, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = |buffer: &BytesMut| (buffer.capacity() - buffer.len()).saturating_sub(UNTOUCHED_BYTES);
        if room(buffer) < LITTLE_BYTES {
            buffer.reserve(self.reads + UNTOUCHED_BYTES);
        }
        let room = room(buffer);
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), context, &mut buffer.limit(room)));
        if let Ok(read) = read {
            // What fills its room does not say how much there is.
            let came = if read < room { read } else { read.max(self.reads / 2) };
            self.reads = came.saturating_mul(2).clamp(READ_BYTES.0, READ_BYTES.1);
        }
        Poll::Ready(read)
    }
}

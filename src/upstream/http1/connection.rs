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
use bytes::BytesMut;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_util::io::poll_read_buf;

use crate::upstream::client::Connector;

/// There is room for so many bytes when more are read.
const READ_BYTES: usize = 4 * 1024;

/// A connection for one request at a time.
pub(super) struct Connection {
    pub stream: Box<dyn Stream>,
    pub opened: Instant,
}

/// What bytes come and go through.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl Connection {
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
        Ok(Self { stream, opened: Instant::now() })
    }

    /// Whether nothing has come while nobody asked: neither an end nor a word.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut self.stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// Reads what there is; how many bytes, none at the end.
    pub fn poll_read(&mut self, buffer: &mut BytesMut, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if buffer.capacity() == buffer.len() {
            buffer.reserve(READ_BYTES);
        }
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), context, buffer));
        Poll::Ready(read)
    }
}

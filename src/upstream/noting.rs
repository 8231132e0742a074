//! Connections that take note of their end.
//!
//! Where a body in chunks breaks off, awc says what it says at the end of a whole one. The difference
//! is in what its reading has met: the last chunk, behind which nothing more is read, or the end of
//! the connection. A body is read on one thread and all at once down to the socket, so the socket can
//! leave word for whoever asked.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_rt::net::{ActixStream, Ready, TcpStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

thread_local! {
    static HAS_CLOSED: Cell<bool> = const { Cell::new(false) };
}

/// What `read` comes to, and whether it has met the end of a connection.
pub(super) fn noting_the_end<T>(read: impl FnOnce() -> T) -> (T, bool) {
    HAS_CLOSED.set(false);
    let outcome = read();
    (outcome, HAS_CLOSED.take())
}

/// A TCP connection.
#[derive(Debug)]
pub(super) struct Noting(pub TcpStream);

impl AsyncRead for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (filled, has_room) = (buffer.filled().len(), buffer.remaining() > 0);
        let read = ready!(Pin::new(&mut self.0).poll_read(context, buffer));
        if has_room && buffer.filled().len() == filled {
            HAS_CLOSED.set(true);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Noting {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl ActixStream for Noting {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.0, context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.0, context)
    }
}

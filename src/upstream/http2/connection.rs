//! A connection that requests share, and their places on it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_service::Service;
use actix_tls::connect::ConnectInfo;
use actix_tls::connect::rustls_0_23::TlsConnector;
use awc::error::ConnectError;
use awc::http::Uri;
use bytes::Bytes;
use futures::FutureExt;
use h2::client::{Builder, SendRequest};
use rustls::ClientConfig;

use crate::upstream::client::{Connector, KEEP_ALIVE};

/// How HTTP/2 is called in the handshake of TLS (RFC 9113, section 3.2).
pub(in crate::upstream) const ALPN: &[u8] = b"h2";
/// No more requests share a connection, whatever the server takes. Most take 100 or more.
pub(super) const MAX_PLACES: usize = 100;
/// So much of an answer waits here for a slow client, in bytes, before the upstream has to wait.
const ANSWER_WINDOW_BYTES: u32 = 256 * 1024;
/// All answers together find room: one that waits for its client must not hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = 100 * ANSWER_WINDOW_BYTES;
/// What is counted on top for small pieces that wait, in bytes: enough for a connection full of answers
/// that wait in pieces of 64 bytes. With more, the connection ends.
const SMALL_PIECES_BYTES: usize = 300 * 256 * 1024;
/// The head of an answer may be this long, in bytes.
const MAX_HEAD_BYTES: u32 = 128 * 1024;
/// What still comes of so many answers that were given up is overlooked. With more of them, a server that
/// did not hear of it yet would look like one that breaks the protocol.
const MAX_GIVEN_UP: usize = 4096;

/// A connection that requests share. It is closed when no handle, and no request on it, is left.
#[derive(Clone)]
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    state: Rc<State>,
}

struct State {
    taken: Cell<usize>,
    unused_since: Cell<Instant>,
    /// There was a time when nobody used it any more.
    has_rested: Cell<bool>,
    /// Nothing has come back since the last such time.
    is_unheard: Cell<bool>,
    is_retired: Cell<bool>,
}

/// A place on a connection, for one request and its answer.
pub(super) struct Place {
    pub connection: Connection,
}

impl Drop for Place {
    fn drop(&mut self) {
        let State { taken, unused_since, has_rested, .. } = &*self.connection.state;
        taken.set(taken.get().saturating_sub(1));
        if taken.get() == 0 {
            unused_since.set(Instant::now());
            has_rested.set(true);
        }
    }
}

impl Connection {
    /// Opens one to the host of `uri`, which probably takes so many requests at a time; `None` where the
    /// server speaks HTTP/1.1 only.
    ///
    /// # Errors
    ///
    /// There is no connection, or no TLS.
    pub async fn open(
        connector: &Connector,
        tls: Arc<ClientConfig>,
        uri: Uri,
        places: usize,
    ) -> Result<Option<Self>, ConnectError> {
        let connection = connector.call(ConnectInfo::new(uri)).await?;
        let secure = TlsConnector::service(tls).call(connection).await.map_err(ConnectError::Io)?;
        let (stream, _) = secure.into_parts();
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Ok(None);
        }
        let (sender, connection) = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(places)
            .initial_window_size(ANSWER_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .data_frame_budget(SMALL_PIECES_BYTES)
            .max_header_list_size(MAX_HEAD_BYTES)
            .max_concurrent_reset_streams(MAX_GIVEN_UP)
            .handshake(stream)
            .await
            .map_err(|error| error.into_io().map_or(ConnectError::Disconnected, ConnectError::Io))?;
        // How it ends, everybody on it learns.
        actix_rt::spawn(connection.map(drop));
        let state = State {
            taken: Cell::new(0),
            unused_since: Cell::new(Instant::now()),
            has_rested: Cell::new(false),
            is_unheard: Cell::new(false),
            is_retired: Cell::new(false),
        };
        Ok(Some(Self { sender, state: Rc::new(state) }))
    }

    /// What sends a request.
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// Why nothing can be sent any more, if that is so.
    fn end(&self) -> Option<h2::Error> {
        self.sender().ready().now_or_never()?.err()
    }

    /// Whether requests may be sent: the server has neither gone nor announced that it will.
    pub fn is_open(&self) -> bool {
        !self.state.is_retired.get() && self.end().is_none()
    }

    /// Whether nobody has used it for so long that it has probably been forgotten on the way.
    pub fn is_stale(&self, now: Instant) -> bool {
        let State { taken, unused_since, .. } = &*self.state;
        taken.get() == 0 && now.duration_since(unused_since.get()) > KEEP_ALIVE
    }

    /// Whether it has ended without a word since it was taken into use again after a rest: then it had
    /// probably ended before. A server that announces the end says what it has looked at.
    pub fn ended_unheard(&self) -> bool {
        self.state.is_unheard.get() && self.end().is_none_or(|end| !end.is_go_away())
    }

    /// Something came back.
    pub fn heard(&self) {
        self.state.is_unheard.set(false);
    }

    /// The server has refused a request. If that was not one more than it takes, which it may have told
    /// only after the request was sent, it shall get no others here; those under way go on.
    pub fn refused(&self) {
        if self.state.taken.get() < self.places() {
            self.state.is_retired.set(true);
        }
    }

    /// So many requests at a time the server takes, as far as it has said.
    pub fn places(&self) -> usize {
        self.sender.current_max_send_streams().clamp(1, MAX_PLACES)
    }

    /// A place, if there is one left.
    pub fn place(&self) -> Option<Place> {
        let State { taken, has_rested, is_unheard, .. } = &*self.state;
        if taken.get() >= self.places() {
            return None;
        }
        if taken.get() == 0 && has_rested.get() {
            is_unheard.set(true);
        }
        taken.set(taken.get() + 1);
        Some(Place { connection: self.clone() })
    }
}

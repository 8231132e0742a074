//! A connection that requests share, and their places on it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_service::Service;
use actix_tls::connect::ConnectInfo;
use actix_tls::connect::rustls_0_23::TlsConnector;
use awc::error::ConnectError;
use awc::http::Uri;
use bytes::Bytes;
use futures::FutureExt;
use h2::Ping;
use h2::client::{Builder, SendRequest};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};

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
/// A connection on which requests wait and nothing comes may lead nowhere: after so long, new ones go over
/// another. For a model that thinks for longer, that costs no more than a connection.
const SILENCE: Duration = Duration::from_secs(5);

/// A connection that requests share. It is closed when no handle, and no request on it, is left.
#[derive(Clone)]
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    state: Rc<State>,
}

struct State {
    taken: Cell<usize>,
    /// When the first place was taken, or the last one given back.
    turned: Cell<Instant>,
    /// When something last came of an answer.
    heard: Cell<Instant>,
    is_retired: Cell<bool>,
}

/// A place on a connection, for one request and its answer.
pub(super) struct Place {
    pub connection: Connection,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.give_back(Instant::now());
    }
}

impl Connection {
    /// Opens one to the host of `uri`, which takes so many requests at a time if that is known; `None` where
    /// the server speaks HTTP/1.1 only.
    ///
    /// # Errors
    ///
    /// There is no connection, or no TLS.
    pub async fn open(
        connector: &Connector,
        tls: Arc<ClientConfig>,
        uri: Uri,
        places: Option<usize>,
    ) -> Result<Option<Self>, ConnectError> {
        let connection = connector.call(ConnectInfo::new(uri)).await?;
        let secure = TlsConnector::service(tls).call(connection).await.map_err(ConnectError::Io)?;
        let (stream, _) = secure.into_parts();
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Ok(None);
        }
        Self::over(stream, places)
            .await
            .map(Some)
            .map_err(|error| error.into_io().map_or(ConnectError::Disconnected, ConnectError::Io))
    }

    async fn over<S>(stream: S, places: Option<usize>) -> Result<Self, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(places.unwrap_or(MAX_PLACES))
            .initial_window_size(ANSWER_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .data_frame_budget(SMALL_PIECES_BYTES)
            .max_header_list_size(MAX_HEAD_BYTES)
            // What still comes of answers that were given up is no mistake of the server.
            .max_local_error_reset_streams(None)
            .handshake(stream)
            .await?;
        let ping = connection.ping_pong().filter(|_| places.is_none());
        // How it ends, everybody on it learns.
        actix_rt::spawn(connection.map(drop));
        // What the server takes is the first that it says, before it answers this. Requests that are too many
        // would wait here for those before them.
        if let Some(mut ping) = ping {
            ping.ping(Ping::opaque()).await?;
        }
        let now = Instant::now();
        let state =
            State { taken: Cell::new(0), turned: Cell::new(now), heard: Cell::new(now), is_retired: Cell::new(false) };
        Ok(Self { sender, state: Rc::new(state) })
    }

    /// What sends a request.
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// Whether requests may be sent: the server has neither gone nor announced that it will.
    pub fn is_open(&self) -> bool {
        !self.state.is_retired.get() && self.sender().ready().now_or_never().is_some_and(|ready| ready.is_ok())
    }

    /// Whether nobody has used it for so long that it has probably been forgotten on the way.
    pub fn is_stale(&self, now: Instant) -> bool {
        let State { taken, turned, .. } = &*self.state;
        taken.get() == 0 && now.duration_since(turned.get()) > KEEP_ALIVE
    }

    /// Whether those on it have been waiting for long, and nothing has come for any of them.
    fn is_silent(&self, now: Instant) -> bool {
        let State { taken, turned, heard, .. } = &*self.state;
        taken.get() > 0 && now.duration_since(turned.get().max(heard.get())) > SILENCE
    }

    /// Something of an answer has come.
    pub fn heard(&self, now: Instant) {
        self.state.heard.set(now);
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

    /// A place, if there is one left that probably leads somewhere.
    pub fn place(&self, now: Instant) -> Option<Place> {
        let State { taken, turned, .. } = &*self.state;
        if taken.get() >= self.places() || self.is_silent(now) {
            return None;
        }
        if taken.get() == 0 {
            turned.set(now);
        }
        taken.set(taken.get() + 1);
        Some(Place { connection: self.clone() })
    }

    fn give_back(&self, now: Instant) {
        let State { taken, turned, is_retired, .. } = &*self.state;
        // Whoever has waited in vain may have found out what the system has not yet.
        if self.is_silent(now) {
            is_retired.set(true);
        }
        taken.set(taken.get().saturating_sub(1));
        if taken.get() == 0 {
            turned.set(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::forget;

    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// A connection to a server that says nothing.
    async fn silent() -> (Connection, DuplexStream) {
        let (here, there) = duplex(64 * 1024);
        (Connection::over(here, Some(MAX_PLACES)).await.unwrap(), there)
    }

    fn in_system(test: impl AsyncFnOnce()) {
        actix_rt::System::new().block_on(test());
    }

    #[test]
    fn there_are_as_many_places_as_the_server_takes_and_they_can_be_taken_again() {
        in_system(async || {
            let (connection, _server) = silent().await;
            let now = Instant::now();
            let mut places: Vec<Place> = (0..MAX_PLACES).map(|_| connection.place(now).unwrap()).collect();
            assert!(connection.place(now).is_none());
            places.pop();
            assert!(connection.place(now).is_some());
        });
    }

    #[test]
    fn nobody_joins_those_who_wait_in_vain() {
        in_system(async || {
            let (connection, _server) = silent().await;
            let (start, long) = (Instant::now() + SILENCE, SILENCE + Duration::from_millis(1));
            forget(connection.place(start).unwrap());
            forget(connection.place(start + SILENCE).unwrap());
            assert!(connection.place(start + long).is_none());
            connection.heard(start + SILENCE);
            forget(connection.place(start + long).unwrap());
            connection.give_back(start + long);
            connection.give_back(start + long);
            assert!(connection.is_open(), "the last word was not long ago");
            connection.give_back(start + SILENCE + long);
            assert!(!connection.is_open(), "the last one has waited in vain");
        });
    }

    #[test]
    fn a_connection_that_rests_is_not_silent_but_stale_after_a_while() {
        in_system(async || {
            let (connection, _server) = silent().await;
            let start = Instant::now();
            forget(connection.place(start).unwrap());
            connection.give_back(start);
            let later = start + KEEP_ALIVE;
            assert!(!connection.is_stale(later) && connection.is_stale(later + Duration::from_millis(1)));
            forget(connection.place(later).unwrap());
            forget(connection.place(later + SILENCE).unwrap());
            assert!(connection.is_open() && !connection.is_stale(later + 2 * KEEP_ALIVE));
        });
    }

    #[test]
    fn a_connection_is_closed_when_nobody_is_left_on_it() {
        in_system(async || {
            let (connection, mut server) = silent().await;
            let place = connection.place(Instant::now()).unwrap();
            drop((connection, place));
            let mut said = Vec::new();
            let end = tokio::io::AsyncReadExt::read_to_end(&mut server, &mut said);
            tokio::time::timeout(Duration::from_secs(5), end).await.expect("an end").unwrap();
        });
    }
}

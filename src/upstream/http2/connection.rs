//! A connection that requests share, and their places on it.

use std::cell::Cell;
use std::future::poll_fn;
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
/// The head of an answer may be this long, in bytes.
const MAX_HEAD_BYTES: u32 = 128 * 1024;
/// What still comes of so many answers that were given up is overlooked. With more of them, a server that
/// did not hear of it yet would look like one that breaks the protocol.
const MAX_GIVEN_UP: usize = 4096;

/// A connection that requests share. It is closed when no handle, and no request on it, is left.
#[derive(Clone)]
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    occupancy: Rc<Occupancy>,
}

struct Occupancy {
    taken: Cell<usize>,
    /// So many requests at a time the server takes.
    places: Cell<usize>,
    unused_since: Cell<Instant>,
    is_retired: Cell<bool>,
}

/// A place on a connection, for one request and its answer.
pub(super) struct Place {
    pub connection: Connection,
    /// Whether the connection was there before, and nobody was on it: then it may have ended meanwhile.
    pub followed_a_rest: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Occupancy { taken, unused_since, .. } = &*self.connection.occupancy;
        taken.set(taken.get().saturating_sub(1));
        unused_since.set(Instant::now());
    }
}

impl Connection {
    /// Opens one to the host of `uri`; `None` where the server speaks HTTP/1.1 only.
    ///
    /// # Errors
    ///
    /// There is no connection, or no TLS.
    pub async fn open(connector: &Connector, tls: Arc<ClientConfig>, uri: Uri) -> Result<Option<Self>, ConnectError> {
        let connection = connector.call(ConnectInfo::new(uri)).await?;
        let secure = TlsConnector::service(tls).call(connection).await.map_err(ConnectError::Io)?;
        let (stream, _) = secure.into_parts();
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Ok(None);
        }
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(MAX_PLACES)
            .initial_window_size(ANSWER_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(MAX_HEAD_BYTES)
            .max_concurrent_reset_streams(MAX_GIVEN_UP)
            .handshake(stream)
            .await
            .map_err(ConnectError::H2)?;
        let occupancy = Rc::new(Occupancy {
            taken: Cell::new(0),
            places: Cell::new(MAX_PLACES),
            unused_since: Cell::new(Instant::now()),
            is_retired: Cell::new(false),
        });
        let told = Rc::clone(&occupancy);
        actix_rt::spawn(async move {
            // How it ends, everybody on it learns.
            let _ = poll_fn(|context| {
                let end = connection.poll_unpin(context);
                told.places.set(connection.max_concurrent_send_streams().clamp(1, MAX_PLACES));
                end
            })
            .await;
        });
        Ok(Some(Self { sender, occupancy }))
    }

    /// What sends a request.
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// Whether a request may still be sent: the server has neither gone nor announced that it will.
    pub fn is_alive(&self) -> bool {
        !self.occupancy.is_retired.get() && self.sender().ready().now_or_never().is_some_and(|ready| ready.is_ok())
    }

    /// Whether nobody has used it for so long that it has probably been forgotten on the way.
    pub fn is_stale(&self, now: Instant) -> bool {
        let Occupancy { taken, unused_since, .. } = &*self.occupancy;
        taken.get() == 0 && now.duration_since(unused_since.get()) > KEEP_ALIVE
    }

    /// Keeps further requests from it; those on it go on.
    pub fn retire(&self) {
        self.occupancy.is_retired.set(true);
    }

    /// A place, if there is one left.
    pub fn place(&self, is_new: bool) -> Option<Place> {
        let Occupancy { taken, places, .. } = &*self.occupancy;
        if taken.get() >= places.get() {
            return None;
        }
        let followed_a_rest = !is_new && taken.get() == 0;
        taken.set(taken.get() + 1);
        Some(Place { connection: self.clone(), followed_a_rest })
    }
}

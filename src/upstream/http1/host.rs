//! The connections of a thread to one host.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::ServiceConfig;
use awc::error::ConnectError;
use awc::http::Uri;
use rustls::ClientConfig;

use super::connection::Connection;
use crate::upstream::client::{Connector, KEEP_ALIVE, LIFETIME};

/// A host, and the connections to it that nobody uses just now.
pub(in crate::upstream) struct Host {
    connector: Connector,
    tls: Arc<ClientConfig>,
    /// What the codec wants to have been told; nothing of it is for clients.
    codec: ServiceConfig,
    /// The last one used is the last.
    idle: RefCell<VecDeque<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Host {
    pub fn new(connector: Connector, tls: Arc<ClientConfig>, codec: ServiceConfig) -> Self {
        Self { connector, tls, codec, idle: RefCell::default() }
    }

    pub(super) fn codec(&self) -> ServiceConfig {
        self.codec.clone()
    }

    /// The connection that was used last, if it is probably still open. Those that rest for long are closed.
    pub(super) fn kept(&self, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while idle.front().is_some_and(|oldest| now.duration_since(oldest.since) > KEEP_ALIVE) {
            idle.pop_front();
        }
        while let Some(Idle { mut connection, .. }) = idle.pop_back() {
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, connection: Connection, now: Instant) {
        if now.duration_since(connection.opened) < LIFETIME {
            self.idle.borrow_mut().push_back(Idle { connection, since: now });
        }
    }

    /// A connection of its own for a request to `uri`, which is at this host; `limit` is for TCP, and once more for TLS.
    ///
    /// # Errors
    ///
    /// None came about.
    pub(super) async fn connect(&self, uri: &Uri, limit: Duration) -> Result<Connection, ConnectError> {
        Connection::open(&self.connector, &self.tls, uri, limit).await
    }
}

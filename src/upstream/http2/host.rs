//! The connections of a thread to one host.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use awc::error::ConnectError;
use awc::http::Uri;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, Shared, WeakShared};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::connection::{Connection, MAX_PLACES, Place};
use crate::upstream::client::Connector;

/// A host, and the connections to it. Requests fill one before the next, and those that come while one
/// is opened wait for that one: a crowd of fifty shares one handshake.
pub(in crate::upstream) struct Host {
    connector: Connector,
    tls: Arc<ClientConfig>,
    connect_limit: Duration,
    speaks_http2: Cell<bool>,
    /// So many requests at a time it takes on a connection, as far as it has said.
    places: Cell<Option<usize>>,
    connections: RefCell<Vec<Connection>>,
    /// Each goes on as long as somebody waits for it.
    openings: RefCell<Vec<WeakShared<Opening>>>,
}

type Opening = LocalBoxFuture<'static, Result<Option<Connection>, Rc<ConnectError>>>;

impl Host {
    pub fn new(connector: Connector, tls: Arc<ClientConfig>, connect_limit: Duration) -> Self {
        Self {
            connector,
            tls,
            connect_limit,
            speaks_http2: Cell::new(true),
            places: Cell::default(),
            connections: RefCell::default(),
            openings: RefCell::default(),
        }
    }

    /// Takes from now on that the host speaks HTTP/1.1 only.
    pub fn speaks_http1_only(&self) {
        self.speaks_http2.set(false);
    }

    /// A place for a request to `uri`, which is at this host; `None` if it speaks HTTP/1.1 only.
    ///
    /// # Errors
    ///
    /// No connection came about, or it ended at once.
    pub(super) async fn place(self: &Rc<Self>, uri: &Uri) -> Result<Option<Place>, Rc<ConnectError>> {
        while self.speaks_http2.get() {
            if let Some(place) = self.free_place(Instant::now()) {
                return Ok(Some(place));
            }
            match self.opening(uri).await? {
                Some(connection) if !connection.is_open() => return Err(Rc::new(ConnectError::Disconnected)),
                // Others may have been faster, and have left no place on it.
                Some(connection) => {
                    if let Some(place) = connection.place(Instant::now()) {
                        return Ok(Some(place));
                    }
                }
                None => self.speaks_http1_only(),
            }
        }
        Ok(None)
    }

    /// The first place on a connection of its own.
    ///
    /// # Errors
    ///
    /// As of [`place`](Self::place).
    pub(super) async fn first_place(self: &Rc<Self>, uri: &Uri) -> Result<Option<Place>, Rc<ConnectError>> {
        let Some(connection) = self.connect(uri.clone()).await? else { return Ok(None) };
        let place = connection.place(Instant::now()).ok_or_else(|| Rc::new(ConnectError::Disconnected))?;
        self.connections.borrow_mut().push(connection);
        Ok(Some(place))
    }

    fn free_place(&self, now: Instant) -> Option<Place> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| connection.is_open() && !connection.is_stale(now));
        connections.iter().find_map(|connection| connection.place(now))
    }

    /// A connection that is about to be opened, and for which not too many wait.
    fn opening(self: &Rc<Self>, uri: &Uri) -> Shared<Opening> {
        let mut openings = self.openings.borrow_mut();
        openings.retain(|opening| opening.upgrade().is_some_and(|opening| opening.peek().is_none()));
        let places = self.places.get().unwrap_or(MAX_PLACES);
        let joined = openings.iter().filter_map(WeakShared::upgrade);
        let mut joined = joined.filter(|opening| opening.strong_count().is_some_and(|count| count <= places));
        if let Some(opening) = joined.next() {
            return opening;
        }
        let opening = Rc::clone(self).open(uri.clone()).boxed_local().shared();
        openings.extend(opening.downgrade());
        opening
    }

    async fn open(self: Rc<Self>, uri: Uri) -> Result<Option<Connection>, Rc<ConnectError>> {
        let opened = self.connect(uri).await?;
        self.connections.borrow_mut().extend(opened.clone());
        Ok(opened)
    }

    async fn connect(&self, uri: Uri) -> Result<Option<Connection>, ConnectError> {
        let opening = Connection::open(&self.connector, Arc::clone(&self.tls), uri, self.places.get());
        let opened = timeout(self.connect_limit, opening).await.unwrap_or(Err(ConnectError::Timeout))?;
        if let Some(connection) = &opened {
            self.places.set(Some(connection.places()));
        }
        Ok(opened)
    }
}

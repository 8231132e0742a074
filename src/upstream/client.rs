//! The HTTP client of a thread.
//!
//! awc's client is bound to its thread, and so is its pool of connections. What differs from its
//! defaults, and why:
//!
//! - no limit of connections: the default of 100 is shared by all hosts and blocks;
//! - no redirects: `x-api-key` and the like would follow to a foreign host;
//! - no time limit of its own: attempts have four named ones;
//! - TCP_NODELAY, which awc never sets: without it a body in two segments waits 40 ms;
//! - one TLS configuration for all threads, so that they share resumed sessions; HTTP/1.1 only: with
//!   HTTP/2, awc ends all streams of a connection when it grows old, when the server announces that
//!   it will close it, and when one request is given up while it waits for its turn.
//!
//! There is one client for each [`Outbound`], so that nothing goes through a connection of another
//! way.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_rt::net::TcpStream;
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Connector, Resolver};
use awc::error::FreezeRequestError;
use awc::http::{Uri, header};
use awc::{Client, FrozenClientRequest};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rustls::{ClientConfig, RootCertStore};

use crate::config::{Authorities, Outbound};

use super::noting::Noting;
use super::proxy::ThroughProxy;
use super::target::{Id, Target};

/// Keep-alive of pooled connections. Providers close theirs after 60 s or more.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// A connection is replaced after this time, so that a changed name record is noticed.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// How many prepared requests a thread keeps: as many as there are keys in any configuration of
/// ordinary size. Beyond it they are prepared anew.
const MAX_PREPARED: usize = 4096;
/// So many are never too many to keep.
const FEW_PREPARED: usize = 64;
/// How many clients and TLS configurations are kept. New ones come with a new configuration only, and
/// seldom then.
const MAX_WAYS: usize = 1024;

/// What the gateway calls itself.
pub(super) const USER_AGENT: &str = concat!("uni-api/", env!("CARGO_PKG_VERSION"));

thread_local! {
    static CLIENTS: RefCell<Vec<(Arc<Outbound>, Client)>> = const { RefCell::new(Vec::new()) };
    static PREPARED: RefCell<Prepared<FrozenClientRequest>> = RefCell::default();
}

/// Requests by target. Those of targets that are gone go before there are twice as many as the others,
/// so that a configuration that often changes keeps neither memory nor keys.
struct Prepared<R> {
    requests: HashMap<u64, (Weak<u64>, R)>,
    /// When there are so many, those that are of no more use go.
    sweep_at_len: usize,
}

impl<R> Default for Prepared<R> {
    fn default() -> Self {
        Self { requests: HashMap::new(), sweep_at_len: FEW_PREPARED }
    }
}

impl<R: Clone> Prepared<R> {
    fn get(&self, target: &Id) -> Option<R> {
        self.requests.get(target).map(|(_, request)| request.clone())
    }

    fn insert(&mut self, target: &Id, request: R) {
        if self.requests.len() >= self.sweep_at_len {
            self.requests.retain(|_, (target, _)| target.strong_count() > 0);
            if self.requests.len() >= MAX_PREPARED {
                self.requests.clear();
            }
            self.sweep_at_len = (2 * self.requests.len()).clamp(FEW_PREPARED, MAX_PREPARED);
        }
        self.requests.insert(**target, (Arc::downgrade(target), request));
    }
}

/// Chooses the cryptography of the process. To be called once before the first request.
pub fn install_crypto() {
    // The second call of a process finds the first one's choice, which is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The client of this thread for connections that are opened like this.
pub(super) fn client(outbound: &Arc<Outbound>, connect_limit: Duration) -> Client {
    CLIENTS.with_borrow_mut(|clients| kept(clients, outbound, || open_client(outbound, connect_limit)))
}

fn open_client(outbound: &Arc<Outbound>, connect_limit: Duration) -> Client {
    let tls = tls_config(&outbound.authorities);
    match &outbound.proxy {
        None => build(Connector::new(Resolver::default()).service(), tls, connect_limit),
        Some(proxy) => build(ThroughProxy::new(Rc::new(proxy.clone())), tls, connect_limit),
    }
}

/// The value for this key, which `make` makes.
fn kept<K: Clone + PartialEq, V: Clone>(all: &mut Vec<(K, V)>, key: &K, make: impl FnOnce() -> V) -> V {
    if let Some((_, value)) = all.iter().find(|(other, _)| other == key) {
        return value.clone();
    }
    let value = make();
    if all.len() >= MAX_WAYS {
        all.clear();
    }
    all.push((key.clone(), value.clone()));
    value
}

/// The request head of a POST to this target, built once per thread.
pub(super) fn post_request(
    target: &Target,
    connect_limit: Duration,
) -> Result<FrozenClientRequest, FreezeRequestError> {
    if let Some(request) = PREPARED.with_borrow(|prepared| prepared.get(&target.id)) {
        return Ok(request);
    }
    let mut request = client(&target.outbound, connect_limit)
        .post(target.uri.clone())
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .insert_header((header::USER_AGENT, USER_AGENT));
    if let Some(host) = host(&target.uri) {
        request = request.insert_header((header::HOST, host));
    }
    for (name, value) in &target.headers {
        request = request.insert_header((name.clone(), value.clone()));
    }
    let request = request.freeze()?;
    PREPARED.with_borrow_mut(|prepared| prepared.insert(&target.id, request.clone()));
    Ok(request)
}

fn host(uri: &Uri) -> Option<String> {
    let host = uri.host()?;
    Some(match uri.port_u16() {
        None | Some(80 | 443) => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    })
}

/// A client whose connections `connector` opens, with TLS of this kind.
pub(super) fn build<S>(connector: S, tls: Arc<ClientConfig>, connect_limit: Duration) -> Client
where
    S: Service<ConnectInfo<Uri>, Response = Connection<Uri, TcpStream>, Error = ConnectError> + Clone + 'static,
{
    let connector = awc::Connector::new()
        .connector(NoDelay(connector))
        .rustls_0_23(tls)
        .limit(0)
        .timeout(connect_limit)
        .handshake_timeout(connect_limit)
        .conn_keep_alive(KEEP_ALIVE)
        .conn_lifetime(LIFETIME);
    Client::builder().connector(connector).disable_redirects().disable_timeout().no_default_headers().finish()
}

/// Trusts the public authorities and these.
pub(super) fn tls_config(authorities: &Authorities) -> Arc<ClientConfig> {
    static CONFIGS: Mutex<Vec<(Authorities, Arc<ClientConfig>)>> = Mutex::new(Vec::new());
    let mut configs = CONFIGS.lock().unwrap_or_else(PoisonError::into_inner);
    kept(&mut configs, authorities, || {
        let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().chain(authorities).cloned());
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    })
}

/// A TCP connector whose connections send at once, and take note of their end.
#[derive(Clone)]
struct NoDelay<S>(S);

impl<S> Service<ConnectInfo<Uri>> for NoDelay<S>
where
    S: Service<ConnectInfo<Uri>, Response = Connection<Uri, TcpStream>, Error = ConnectError>,
    S::Future: 'static,
{
    type Response = Connection<Uri, Noting>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let connecting = self.0.call(info);
        async move {
            let connection = connecting.await?;
            connection.io_ref().set_nodelay(true).map_err(ConnectError::Io)?;
            let (stream, connection) = connection.replace_io(());
            Ok(connection.replace_io(Noting(stream)).1)
        }
        .boxed_local()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_targets_that_are_gone_are_not_kept() {
        let mut prepared = Prepared::default();
        let living: Vec<Id> = (0..40).map(Arc::new).collect();
        living.iter().for_each(|target| prepared.insert(target, ()));
        for gone in 1000..2000 {
            prepared.insert(&Arc::new(gone), ());
            assert!(prepared.requests.len() <= 2 * living.len(), "{}", prepared.requests.len());
        }
        assert!(living.iter().all(|target| prepared.get(target).is_some()));
    }

    #[test]
    fn however_many_targets_there_are_no_more_requests_are_kept_than_may_be() {
        let mut prepared = Prepared::default();
        let living: Vec<Id> = (0..10_000).map(Arc::new).collect();
        for target in &living {
            prepared.insert(target, ());
            assert!(prepared.requests.len() <= MAX_PREPARED && prepared.get(target).is_some());
        }
    }
}

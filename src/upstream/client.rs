//! How a thread opens connections to upstreams, and which it keeps.
//!
//! Providers are asked over [`http1`] and [`http2`]. Documents that are wanted once in a while are left to
//! awc, whose clients are bound to their thread like the connections here. What all have in common:
//!
//! - no limit of connections: awc's default of 100 is shared by all hosts and blocks;
//! - no redirects: `x-api-key` and the like would follow to a foreign host;
//! - no time limit for an answer: attempts have four named ones;
//! - TCP_NODELAY: without it a body in two segments waits 40 ms;
//! - names are looked up where that holds up nobody else, and an address that is silent holds up none
//!   of the host's others;
//! - one TLS configuration for all threads, so that they share resumed sessions.
//!
//! There is one of each for each [`Outbound`], so that nothing goes through a connection of another
//! way.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_http::ServiceConfig;
use actix_rt::net::TcpStream;
use actix_service::Service;
use actix_service::boxed::{RcService, rc_service};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::Client;
use awc::http::Uri;
use awc::http::header::HeaderMap;
use awc::http::uri::{Authority, Scheme};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rustls::{ClientConfig, RootCertStore};

use crate::config::{Authorities, Outbound};

use super::dial::Dialler;
use super::noting::Noting;
use super::prepared::Prepared;
use super::proxy::ThroughProxy;
use super::question::{Method, Question};
use super::target::Target;
use super::vanished::watch_over_upstream;
use super::{http1, http2};

/// Keep-alive of pooled connections. Providers close theirs after 60 s or more.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// A thread begins with new connections after this time, so that a changed name record is noticed. The
/// old ones are closed when they are done. Nobody else closes those of a host that is asked no more.
pub(super) const LIFETIME: Duration = Duration::from_secs(5 * 60);
/// How many clients and TLS configurations are kept. New ones come with a new configuration only, and
/// seldom then.
const MAX_WAYS: usize = 1024;

/// What the gateway calls itself.
pub(super) const USER_AGENT: &str = concat!("uni-api/", env!("CARGO_PKG_VERSION"));

thread_local! {
    static OPEN: RefCell<Open> = RefCell::default();
}

/// What a thread has opened since a time.
#[derive(Default)]
struct Open {
    since: Option<Instant>,
    clients: Kept<Arc<Outbound>, Client>,
    http1: Kept<Way, Rc<http1::Host>>,
    /// What the codec of HTTP/1.1 wants to have been told.
    codec: Option<ServiceConfig>,
    prepared: Prepared<http1::Ready>,
    http2: Kept<(Arc<Outbound>, Authority), Rc<http2::Host>>,
}

/// How a host is reached over HTTP/1.1.
type Way = (Arc<Outbound>, Option<Scheme>, Option<Authority>);

/// Opens connections to upstreams.
pub(super) type Connector = RcService<ConnectInfo<Uri>, Connection<Uri, Noting>, ConnectError>;

/// Chooses the cryptography of the process. To be called once before the first request.
pub fn install_crypto() {
    // The second call of a process finds the first one's choice, which is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The client of awc of this thread for connections that are opened like this.
pub(super) fn client(outbound: &Arc<Outbound>, connect_limit: Duration) -> Client {
    OPEN.with_borrow_mut(|open| open.at(Instant::now()).client(outbound, connect_limit))
}

fn open_client(outbound: &Arc<Outbound>, connect_limit: Duration, keep_alive: Duration) -> Client {
    let tls = tls_config(&outbound.authorities, HTTP1);
    match &outbound.proxy {
        None => build(Dialler::new(), tls, connect_limit, keep_alive),
        Some(proxy) => build(ThroughProxy::new(Rc::new(proxy.clone())), tls, connect_limit, keep_alive),
    }
}

/// Where this target is asked over HTTP/2; `None` if HTTP/1.1 is to be spoken. Without TLS there is nothing
/// to tell which of them a server speaks.
pub(super) fn http2_host(target: &Target, connect_limit: Duration) -> Option<Rc<http2::Host>> {
    let authority =
        target.uri.authority().filter(|_| target.outbound.http2 && target.uri.scheme_str() == Some("https"))?;
    OPEN.with_borrow_mut(|open| Some(open.at(Instant::now()).http2_host(&target.outbound, authority, connect_limit)))
}

/// What is kept for later, by what it is for.
type Kept<K, V> = Vec<(K, V)>;

/// The value for this key, which `make` makes.
fn kept<K: Clone + PartialEq, V: Clone>(all: &mut Kept<K, V>, key: &K, make: impl FnOnce() -> V) -> V {
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

/// A POST to this target with no headers of its own, prepared once per thread.
pub(super) fn post(target: &Target, now: Instant) -> http1::Ready {
    OPEN.with_borrow_mut(|open| open.at(now).post(target))
}

/// Any other request to this target.
pub(super) fn request(target: &Target, question: &Question<'_>, now: Instant) -> http1::Ready {
    OPEN.with_borrow_mut(|open| open.at(now).request(target, question))
}

impl Open {
    /// What is open and not too old.
    fn at(&mut self, now: Instant) -> &mut Self {
        if self.since.is_none_or(|since| now.duration_since(since) >= LIFETIME) {
            *self = Self { since: Some(now), ..Self::default() };
        }
        self
    }

    fn client(&mut self, outbound: &Arc<Outbound>, connect_limit: Duration) -> Client {
        kept(&mut self.clients, outbound, || open_client(outbound, connect_limit, KEEP_ALIVE))
    }

    fn http2_host(
        &mut self,
        outbound: &Arc<Outbound>,
        authority: &Authority,
        connect_limit: Duration,
    ) -> Rc<http2::Host> {
        kept(&mut self.http2, &(Arc::clone(outbound), authority.clone()), || {
            let tls = tls_config(&outbound.authorities, HTTP2_OR_1);
            Rc::new(http2::Host::new(connector(outbound), tls, connect_limit))
        })
    }

    fn http1_host(&mut self, target: &Target) -> Rc<http1::Host> {
        let uri = &target.uri;
        let way = (Arc::clone(&target.outbound), uri.scheme().cloned(), uri.authority().cloned());
        kept(&mut self.http1, &way, || {
            let tls = tls_config(&target.outbound.authorities, HTTP1);
            let codec = self.codec.get_or_insert_default().clone();
            Rc::new(http1::Host::new(connector(&target.outbound), tls, codec))
        })
    }

    fn request(&mut self, target: &Target, question: &Question<'_>) -> http1::Ready {
        let head = http1::head(&question.method, &target.uri, &question.headers_to(target));
        http1::Ready { host: self.http1_host(target), head }
    }

    fn post(&mut self, target: &Target) -> http1::Ready {
        if let Some(ready) = self.prepared.get(&target.id) {
            return ready;
        }
        let question = Question { method: Method::POST, headers: HeaderMap::new(), body: &[] };
        let ready = self.request(target, &question);
        self.prepared.insert(&target.id, ready.clone());
        ready
    }
}

/// Opens connections like this.
fn connector(outbound: &Outbound) -> Connector {
    match &outbound.proxy {
        None => rc_service(NoDelay(Dialler::new())),
        Some(proxy) => rc_service(NoDelay(ThroughProxy::new(Rc::new(proxy.clone())))),
    }
}

/// A client of awc whose connections `connector` opens, with TLS of this kind, and which uses those again that
/// were idle for less than `keep_alive`.
pub(super) fn build<S>(connector: S, tls: Arc<ClientConfig>, connect_limit: Duration, keep_alive: Duration) -> Client
where
    S: Service<ConnectInfo<Uri>, Response = Connection<Uri, TcpStream>, Error = ConnectError> + Clone + 'static,
{
    let connector = awc::Connector::new()
        .connector(NoDelay(connector))
        .rustls_0_23(tls)
        .limit(0)
        .timeout(connect_limit)
        .handshake_timeout(connect_limit)
        .conn_keep_alive(keep_alive)
        .conn_lifetime(LIFETIME);
    Client::builder().connector(connector).disable_redirects().disable_timeout().no_default_headers().finish()
}

/// What a TLS connection is for, by the names in its handshake; the first one is preferred.
type Protocols = &'static [&'static [u8]];
pub(super) const HTTP1: Protocols = &[b"http/1.1"];
const HTTP2_OR_1: Protocols = &[http2::ALPN, b"http/1.1"];

/// Trusts the public authorities and these.
pub(super) fn tls_config(authorities: &Authorities, protocols: Protocols) -> Arc<ClientConfig> {
    static CONFIGS: Mutex<Kept<(Authorities, Protocols), Arc<ClientConfig>>> = Mutex::new(Vec::new());
    let mut configs = CONFIGS.lock().unwrap_or_else(PoisonError::into_inner);
    kept(&mut configs, &(authorities.clone(), protocols), || {
        let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().chain(authorities).cloned());
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    })
}

/// A TCP connector whose connections send at once, notice when nobody is there any more, and take note of their end.
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
            watch_over_upstream(connection.io_ref()).map_err(ConnectError::Io)?;
            let (stream, connection) = connection.replace_io(());
            Ok(connection.replace_io(Noting::new(stream)).1)
        }
        .boxed_local()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn connections_that_nobody_needs_any_more_are_closed() {
        install_crypto();
        actix_rt::System::new().block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let address = format!("http://{}/", listener.local_addr().unwrap());
            let (mut open, start) = (Open::default(), Instant::now());
            let mut ask = |now| {
                let client = open.at(now).client(&Arc::default(), Duration::from_secs(5));
                let address = address.clone();
                async move { client.get(address).send().await.unwrap().body().await.unwrap() }
            };
            let answered = async |stream: &mut TcpStream| {
                assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0, "it is closed");
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nHi").await.unwrap();
            };
            let first = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                answered(&mut stream).await;
                stream
            };
            let (_, mut stream) = tokio::join!(ask(start), first);
            tokio::join!(ask(start + LIFETIME / 2), answered(&mut stream));
            let (_, _second) = tokio::join!(ask(start + LIFETIME), async {
                let (mut stream, _) = listener.accept().await.unwrap();
                answered(&mut stream).await;
                stream
            });
            let closed = timeout(Duration::from_secs(5), stream.read(&mut [0; 1])).await;
            assert_eq!(closed.expect("an end").unwrap(), 0);
        });
    }
}

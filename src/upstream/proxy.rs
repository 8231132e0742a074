//! Connections through a proxy.
//!
//! A proxy is asked for a tunnel, to plain http as well as to https: one way for everything, and what
//! a request carries is none of the proxy's business. The proxy looks the upstream's name up; nothing
//! of it is asked for here, where it may not be known or not be anybody's business.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_rt::net::TcpStream;
use actix_service::Service;
use actix_tls::connect::{ConnectError as TcpError, ConnectInfo, Connection, Resolver, ResolverService};
use awc::error::ConnectError;
use awc::http::Uri;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use thiserror::Error;

use crate::config::{Proxy, ProxyProtocol};

use super::dial::dial;
use super::names::Names;
use super::{connect, socks};

/// Why a proxy gives no tunnel; goes on from its name. Never says anything of its user.
#[derive(Debug, Error)]
pub(super) enum Fault {
    /// Its name is unknown.
    #[error("has no address; check preferences.proxy")]
    NoAddress,
    /// It is not there.
    #[error("cannot be reached: {0}; check preferences.proxy")]
    Unreachable(io::ErrorKind),
    /// It took too long, or the upstream behind it did.
    #[error("did not open a connection to the upstream in time")]
    Slow,
    /// The connection to it broke.
    #[error("broke the connection: {0}")]
    Broken(io::ErrorKind),
    /// It wants to know who asks.
    #[error("asks for a user and a password; add them to preferences.proxy")]
    LoginWanted,
    /// It does not know who asks.
    #[error("refuses the user and the password in preferences.proxy")]
    LoginRefused,
    /// It does not, or cannot, reach the upstream.
    #[error("did not open a connection to the upstream: {0}")]
    Refused(String),
    /// It says something else than a proxy would.
    #[error("does not answer like one; check the scheme and the port in preferences.proxy")]
    NotAProxy,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.kind())
    }
}

/// What is wrong with the proxy, if a connection was not opened for that.
pub(super) fn fault_of_proxy(error: &ConnectError) -> Option<&Fault> {
    match error {
        ConnectError::Timeout => Some(&Fault::Slow),
        ConnectError::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// Where a tunnel is to lead.
pub(super) struct Destination {
    /// A name or an address; an IPv6 address stands in brackets.
    pub host: String,
    pub port: u16,
}

/// Opens tunnels through one proxy.
#[derive(Clone)]
pub(super) struct ThroughProxy {
    proxy: Rc<Proxy>,
    resolver: ResolverService,
}

impl ThroughProxy {
    pub fn new(proxy: Rc<Proxy>) -> Self {
        Self { proxy, resolver: Resolver::custom(Names::of_upstreams()).service() }
    }

    async fn open(self, info: ConnectInfo<Uri>) -> Result<Connection<Uri, TcpStream>, Fault> {
        let destination = Destination { host: info.hostname().to_owned(), port: info.port() };
        let address = format!("http://{}", self.proxy).parse::<Uri>().map_err(|_| Fault::NoAddress)?;
        let found = self.resolver.call(ConnectInfo::new(address)).await.map_err(|_| Fault::NoAddress)?;
        // The request stays that to the upstream: TLS takes the name from it.
        let info = ConnectInfo::new(info.request().clone()).set_addrs(found.addrs());
        let connection = dial(info).await.map_err(|error| match error {
            TcpError::Io(error) => Fault::Unreachable(error.kind()),
            _ => Fault::NoAddress,
        })?;
        let (mut stream, uri) = connection.into_parts();
        match self.proxy.protocol {
            ProxyProtocol::Http => connect::open_tunnel(&mut stream, &self.proxy, &destination).await?,
            ProxyProtocol::Socks5 => socks::open_tunnel(&mut stream, &self.proxy, &destination).await?,
        }
        Ok(Connection::new(uri, stream))
    }
}

impl Service<ConnectInfo<Uri>> for ThroughProxy {
    type Response = Connection<Uri, TcpStream>;
    type Error = TcpError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<ConnectInfo<Uri>>::poll_ready(&self.resolver, context)
    }

    /// Those who call give it no longer than the connect limit, all of it together.
    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let opening = self.clone().open(info);
        async move { opening.await.map_err(|fault| TcpError::Io(io::Error::other(fault))) }.boxed_local()
    }
}

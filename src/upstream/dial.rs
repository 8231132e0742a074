//! Connections to hosts, of whose addresses some may lead nowhere.
//!
//! An address that drops what is sent to it would take all the time there is to connect, and those
//! behind it would never be tried. So each has a head start over the next one, and the first to answer
//! is taken.
//!
//! Source: RFC 8305, "Happy Eyeballs Version 2", section 5.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_rt::net::TcpStream;
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Resolver, ResolverService};
use awc::http::Uri;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::sleep;

use super::names::Names;

/// The "Connection Attempt Delay".
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to a host whose addresses have been found.
pub(super) async fn dial(host: ConnectInfo<Uri>) -> Result<Connection<Uri, TcpStream>, ConnectError> {
    let addresses: Vec<SocketAddr> = host.addrs().collect();
    match first(addresses, TcpStream::connect).await {
        Some(stream) => Ok(Connection::new(host.request().clone(), stream.map_err(ConnectError::Io)?)),
        None => Err(ConnectError::NoRecords),
    }
}

/// The first connection that comes about, or the last error; `None` without addresses.
async fn first<T, F>(addresses: Vec<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> Option<io::Result<T>>
where
    F: Future<Output = io::Result<T>>,
{
    let mut addresses = addresses.into_iter();
    let mut under_way = FuturesUnordered::from_iter(addresses.next().map(&connect));
    loop {
        let error = tokio::select! {
            outcome = under_way.next() => match outcome? {
                Ok(connection) => return Some(Ok(connection)),
                Err(error) => Some(error),
            },
            () = sleep(HEAD_START), if !addresses.as_slice().is_empty() => None,
        };
        under_way.extend(addresses.next().map(&connect));
        if let Some(error) = error.filter(|_| under_way.is_empty()) {
            return Some(Err(error));
        }
    }
}

/// Finds the addresses of a host that the configuration names, and connects.
#[derive(Clone)]
pub(super) struct Dialler(ResolverService);

impl Dialler {
    pub fn new() -> Self {
        Self(Resolver::custom(Names::of_upstreams()).service())
    }
}

impl Service<ConnectInfo<Uri>> for Dialler {
    type Response = Connection<Uri, TcpStream>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<ConnectInfo<Uri>>::poll_ready(&self.0, context)
    }

    fn call(&self, host: ConnectInfo<Uri>) -> Self::Future {
        let finding = self.0.call(host);
        async move { dial(finding.await?).await }.boxed_local()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Instant;

    use super::*;

    const SILENT: u16 = 1;
    const REFUSING: u16 = 2;
    const GOOD: u16 = 3;

    /// What comes of addresses that behave like this, and which ones were tried.
    async fn tried(ports: &[u16]) -> (Option<Result<u16, io::ErrorKind>>, Vec<u16>) {
        let tried = RefCell::<Vec<u16>>::default();
        let connect = async |address: SocketAddr| {
            tried.borrow_mut().push(address.port());
            match address.port() {
                SILENT => std::future::pending().await,
                REFUSING => Err(io::ErrorKind::ConnectionRefused.into()),
                port => Ok(port),
            }
        };
        let addresses = ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port)));
        let outcome = first(addresses.collect(), connect).await;
        (outcome.map(|outcome| outcome.map_err(|error| error.kind())), tried.into_inner())
    }

    #[tokio::test]
    async fn the_first_address_that_answers_is_taken() {
        assert_eq!(tried(&[GOOD, REFUSING]).await, (Some(Ok(GOOD)), vec![GOOD]));
        assert_eq!(tried(&[REFUSING, REFUSING, GOOD]).await, (Some(Ok(GOOD)), vec![REFUSING, REFUSING, GOOD]));
        let refused = Some(Err(io::ErrorKind::ConnectionRefused));
        assert_eq!(tried(&[REFUSING, REFUSING]).await, (refused, vec![REFUSING, REFUSING]));
        assert_eq!(tried(&[]).await, (None, vec![]));
    }

    #[tokio::test]
    async fn an_address_that_is_silent_costs_a_moment() {
        let started = Instant::now();
        assert_eq!(tried(&[SILENT, GOOD]).await, (Some(Ok(GOOD)), vec![SILENT, GOOD]));
        assert!(started.elapsed() >= HEAD_START);
        assert_eq!(tried(&[SILENT, REFUSING, GOOD]).await.0, Some(Ok(GOOD)));
    }

    #[tokio::test]
    async fn an_address_that_is_silent_is_waited_for_after_the_others_have_failed() {
        let waiting = tokio::time::timeout(2 * HEAD_START, tried(&[SILENT, REFUSING]));
        assert!(waiting.await.is_err(), "it may still answer");
    }
}

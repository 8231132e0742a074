//! The addresses of hosts, found without harm to anybody else.
//!
//! The system is asked, and no name server by itself: the system knows `/etc/hosts`, the names of
//! containers and whatever else `nsswitch.conf` says. But it keeps the thread that asks, for half a
//! minute and longer when a name server is silent. So it is asked on threads for that alone, by one
//! at a time for each host, however many requests want to know. Requests that wait leave when their
//! own time is over; the thread goes on, and its answer is there for the next one.
//!
//! Those who run the gateway name a few hosts, and clients name any: each kind has a book of its own,
//! so that no client's host keeps a request from its upstream.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use actix_tls::connect::Resolve;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use thiserror::Error;
use tokio::sync::{Semaphore, watch};

/// An answer is good for so long: requests that come together share it, and a record that changes is
/// noticed. The system does not say how long the name server wants it kept.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// The same for the answer that there is no address.
const MISSING_FOR: Duration = Duration::from_secs(1);
/// As many hosts of each kind are looked up at a time.
const AT_ONCE: usize = 64;
/// Old answers are thrown away when there are more of them.
const MAX_HOSTS: usize = 1024;

type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// A book of names; clones are the same book.
#[derive(Clone)]
pub(super) struct Names(Arc<Book>);

struct Book {
    look_up: Box<LookUp>,
    room: Arc<Semaphore>,
    hosts: Mutex<HashMap<Box<str>, Asked>>,
}

/// A look-up; `None` while it is under way.
type Asked = watch::Receiver<Option<Found>>;

#[derive(Clone)]
struct Found {
    addresses: Result<Arc<[IpAddr]>, NoAddress>,
    at: Instant,
}

impl Found {
    fn is_fresh(&self, now: Instant) -> bool {
        let kept_for = if self.addresses.is_ok() { KEPT_FOR } else { MISSING_FOR };
        now.duration_since(self.at) < kept_for
    }
}

/// A host has no address, or nobody knows it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the host has no address")]
pub(super) struct NoAddress;

impl Names {
    /// Of hosts that the configuration names.
    pub fn of_upstreams() -> Self {
        static NAMES: LazyLock<Names> = LazyLock::new(|| Names::new(of_system));
        NAMES.clone()
    }

    /// Of hosts that clients name.
    pub fn of_strangers() -> Self {
        static NAMES: LazyLock<Names> = LazyLock::new(|| Names::new(of_system));
        NAMES.clone()
    }

    fn new(look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        Self(Arc::new(Book { look_up: Box::new(look_up), room, hosts: Mutex::default() }))
    }

    /// The addresses of a host, in the order in which they should be tried.
    async fn find(&self, host: &str) -> Result<Arc<[IpAddr]>, NoAddress> {
        let mut asked = match self.asked(host) {
            Some(asked) => asked,
            None => self.ask(host).await?,
        };
        let found = asked.wait_for(Option::is_some).await.map_err(|_| NoAddress)?;
        found.as_ref().map_or(Err(NoAddress), |found| found.addresses.clone())
    }

    /// The look-up that is under way, or the one whose answer is still good.
    fn asked(&self, host: &str) -> Option<Asked> {
        let now = Instant::now();
        self.hosts(|hosts| hosts.get(host).filter(|asked| is_of_use(asked, now)).cloned())
    }

    /// Begins a look-up, as soon as there is room for one more.
    async fn ask(&self, host: &str) -> Result<Asked, NoAddress> {
        let room = Arc::clone(&self.0.room).acquire_owned().await.map_err(|_| NoAddress)?;
        // Somebody else who waited for room may have been first.
        if let Some(asked) = self.asked(host) {
            return Ok(asked);
        }
        let (tell, asked) = watch::channel(None);
        self.hosts(|hosts| {
            if hosts.len() >= MAX_HOSTS {
                let now = Instant::now();
                hosts.retain(|_, asked| is_of_use(asked, now));
            }
            hosts.insert(host.into(), asked.clone());
        });
        let (names, host) = (self.clone(), host.to_owned());
        let look = move || {
            let addresses = (names.0.look_up)(&host).map(Arc::from).map_err(|_| NoAddress);
            tell.send_replace(Some(Found { addresses, at: Instant::now() }));
            drop(room);
        };
        // Without a thread nothing is told, which is an answer as well.
        let _ = thread::Builder::new().name("look-up".to_owned()).spawn(look);
        Ok(asked)
    }

    fn hosts<T>(&self, use_them: impl FnOnce(&mut HashMap<Box<str>, Asked>) -> T) -> T {
        use_them(&mut self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether it is under way and will be answered, or its answer is still good.
fn is_of_use(asked: &Asked, now: Instant) -> bool {
    match &*asked.borrow() {
        Some(found) => found.is_fresh(now),
        None => asked.has_changed().is_ok(),
    }
}

fn of_system(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

impl Resolve for Names {
    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> LocalBoxFuture<'a, Result<Vec<SocketAddr>, Box<dyn Error>>> {
        async move {
            // As it stands in a URL.
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            if let Ok(address) = bare.parse::<IpAddr>() {
                return Ok(vec![SocketAddr::new(address, port)]);
            }
            let found = self.find(bare).await?;
            Ok(found.iter().map(|address| SocketAddr::new(*address, port)).collect())
        }
        .boxed_local()
    }
}

#[cfg(test)]
mod tests;

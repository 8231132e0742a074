//! Builds the whole gateway from a [`Config`]: actors, server, and the order in which they stop.
//! `main` and the tests call the same [`start`]. Signals are the caller's.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix::Arbiter;
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::actors::{Control, StatsQueue};
use crate::config::Config;
use crate::http::{Edge, Gateway, Reports, configure};
use crate::relay::{Drain, Relay};
use crate::upstream;

/// Idle client connections stay open this long: longer than the pools of proxies in front.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// So long clients may take to read that there is no time left for their answers.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the environment decides.
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// The SQLite file; `None` keeps no statistics.
    pub database: Option<PathBuf>,
    /// Worker threads; `None` is one for each CPU.
    pub workers: Option<usize>,
}

/// A gateway that serves.
pub struct Running {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Who schedules.
    pub control: Arc<Control>,
    /// Where statistics go.
    pub stats: StatsQueue,
    drain: Drain,
    connections: Connections,
    server: ServerHandle,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    arbiters: [Option<Arbiter>; 2],
}

/// Starts a gateway on the current actix system.
///
/// # Errors
///
/// It cannot listen.
pub fn start(config: Config, settings: Settings) -> std::io::Result<Running> {
    upstream::install_crypto();
    let workers = settings.workers.unwrap_or_else(|| available_parallelism().map_or(1, NonZero::get));
    let control = Control::new(config);
    // Where there is one worker only, the actors live on its thread: a second thread could do
    // nothing at the same time, and each request would pay for two switches between them.
    let shares_thread = workers == 1;
    let control_arbiter = (!shares_thread).then(Arbiter::new);
    if let Some(arbiter) = &control_arbiter {
        control.run_on(arbiter.handle());
    }
    let stats_arbiter = Arbiter::new();
    let reports = Reports::of(settings.database.clone());
    let stats = match settings.database {
        Some(path) => StatsQueue::start(path, Arc::clone(&control), &stats_arbiter.handle()),
        None => StatsQueue::disabled(),
    };
    let drain = Drain::default();
    let relay = Relay { control: Arc::clone(&control), stats: stats.clone(), drain: drain.clone() };
    let gateway = web::Data::new(Gateway { relay, reports });

    let worker_control = Arc::clone(&control);
    let app = move || {
        if shares_thread {
            worker_control.run_on(Arbiter::current());
        }
        App::new().app_data(gateway.clone()).wrap(Edge).configure(configure)
    };
    let connections = Connections::default();
    let counted = connections.clone();
    let server = HttpServer::new(app)
        .workers(workers)
        .keep_alive(KEEP_ALIVE)
        // Without it the end of a streamed answer waits for Nagle's algorithm.
        .tcp_nodelay(true)
        // Without it a client that went away is not noticed, and its upstream goes on billing.
        .h1_allow_half_closed(false)
        .on_connect(move |connection, of_connection| {
            upstream::watch_over_client(connection);
            of_connection.insert(counted.opened());
        })
        .disable_signals()
        // `Running::drain` has its own limit.
        .shutdown_timeout(u64::MAX)
        .bind(settings.listen.as_slice())?;
    let addresses = server.addrs();
    let server = server.run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    let arbiters = [control_arbiter, Some(stats_arbiter)];
    Ok(Running { addresses, control, stats, drain, connections, server: handle, serving, arbiters })
}

impl Running {
    /// Waits until the server ends by itself, which it does only when something is wrong with it.
    pub async fn broken(&mut self) -> std::io::Error {
        match (&mut self.serving).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => std::io::Error::other("the server ended by itself"),
            Err(error) => std::io::Error::other(error),
        }
    }

    /// Stops in good order. New connections are refused and idle ones closed at once; what is under
    /// way may take until `limit`, and is then told that there is no time left. At last statistics
    /// are brought to disk.
    pub async fn drain(self, limit: Duration) {
        // Asked for by the call, waited for below: the server itself looks only once a second.
        drop(self.server.stop(true));
        if timeout(limit, self.connections.closed()).await.is_err() {
            log::warn!("{} connections have not finished in time and are told to end", self.connections.count());
            self.drain.end();
            let _ = timeout(FAREWELL, self.connections.closed()).await;
        }
        self.stop().await;
    }

    /// Stops at once; only statistics are waited for.
    pub async fn stop(self) {
        // A server that is dropped closes what is still open.
        self.serving.abort();
        let _ = self.serving.await;
        let _ = timeout(FAREWELL, self.connections.closed()).await;
        let _ = timeout(FAREWELL, self.stats.all_told()).await;
        self.stats.flush().await;
        for arbiter in self.arbiters.into_iter().flatten() {
            arbiter.stop();
        }
    }
}

/// How many connections of clients are open.
#[derive(Clone, Default)]
struct Connections(Arc<watch::Sender<usize>>);

impl Connections {
    /// One more, until what this gives is dropped.
    fn opened(&self) -> Connection {
        self.0.send_modify(|open| *open += 1);
        Connection(self.clone())
    }

    fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until there is none.
    async fn closed(&self) {
        // Its sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|open| *open == 0).await;
    }
}

struct Connection(Connections);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.0.send_modify(|open| *open -= 1);
    }
}

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
use actix_web::http::KeepAlive;
use actix_web::{App, HttpServer, web};
use tokio::time::{sleep, timeout};

use crate::actors::{Control, StatsQueue};
use crate::config::Config;
use crate::http::{Connections, Edge, Gateway, Reports, configure};
use crate::relay::{Drain, Relay};
use crate::upstream;

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
    /// How many files the process may have open; `None` if that has no limit.
    pub open_files: Option<u64>,
}

/// A gateway that serves.
pub struct Running {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Who schedules.
    pub control: Arc<Control>,
    /// Where statistics go.
    pub stats: StatsQueue,
    /// Who is connected.
    pub connections: Connections,
    drain: Drain,
    server: ServerHandle,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    sweeping: tokio::task::JoinHandle<()>,
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
    let most = most_connections(settings.open_files);
    let connections = Connections::new(control.config().connections, most);
    let (counted, worker_limits) = (connections.clone(), Arc::clone(&control));
    let server = HttpServer::new(app)
        .workers(workers)
        // `Connections` has the limits that these are, and those that the server has not.
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        // Somewhat more, or nobody could be told that there are too many.
        .max_connections(most.saturating_add(SURPLUS))
        // Without it the end of a streamed answer waits for Nagle's algorithm.
        .tcp_nodelay(true)
        // Without it a client that went away is not noticed, and its upstream goes on billing.
        .h1_allow_half_closed(false)
        .on_connect(move |stream, of_connection| {
            let Some(stream) = stream.downcast_ref() else { return };
            upstream::watch_over_client(stream, worker_limits.config().connections.send);
            if let Some(connection) = counted.opened(stream) {
                of_connection.insert(connection);
            }
        })
        .disable_signals()
        // `Running::drain` has its own limit.
        .shutdown_timeout(u64::MAX)
        .bind(settings.listen.as_slice())?;
    let addresses = server.addrs();
    let server = server.run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    let sweeping = actix_web::rt::spawn(sweep(connections.clone(), Arc::clone(&control)));
    let arbiters = [control_arbiter, Some(stats_arbiter)];
    Ok(Running { addresses, control, stats, drain, connections, server: handle, serving, sweeping, arbiters })
}

/// A connection of a client has its socket, a second handle on it, and a connection to an upstream.
const FILES_PER_CONNECTION: u64 = 3;

/// So many connections more than may be are accepted, to make room for them or to refuse what they ask.
const SURPLUS: usize = 32;

/// Files for everything else: workers, the database, the log, lists of models.
const OTHER_FILES: u64 = 128;

/// So many clients can be served at the same time without running out of files.
fn most_connections(open_files: Option<u64>) -> usize {
    let most = open_files.map(|files| files.saturating_sub(OTHER_FILES) / FILES_PER_CONNECTION);
    most.and_then(|most| usize::try_from(most).ok()).map_or(usize::MAX, |most| most.max(1))
}

/// Closes connections that take too long, as long as the gateway serves.
async fn sweep(connections: Connections, control: Arc<Control>) {
    loop {
        let pause = connections.sweep(control.config().connections);
        sleep(pause).await;
    }
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
        self.sweeping.abort();
        let _ = timeout(FAREWELL, self.stats.all_told()).await;
        self.stats.flush().await;
        for arbiter in self.arbiters.into_iter().flatten() {
            arbiter.stop();
        }
    }
}

//! Builds the whole gateway from a [`Config`]: actors, server, and the order in which they stop.
//! `main` and the tests call the same [`start`].

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix::Arbiter;
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};

use crate::actors::{Control, StatsQueue};
use crate::config::Config;
use crate::http::{Edge, Gateway, Reports, configure};
use crate::relay::Relay;
use crate::upstream;

/// Idle client connections stay open this long: longer than the pools of proxies in front.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What the environment decides.
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// The SQLite file; `None` keeps no statistics.
    pub database: Option<PathBuf>,
    /// Worker threads; `None` is one for each CPU.
    pub workers: Option<usize>,
    /// Whether SIGTERM and SIGINT stop the server.
    pub signals: bool,
}

/// A gateway that serves.
pub struct Running {
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Who schedules.
    pub control: Arc<Control>,
    /// Where statistics go.
    pub stats: StatsQueue,
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
    let relay = Relay { control: Arc::clone(&control), stats: stats.clone() };
    let gateway = web::Data::new(Gateway { relay, reports });

    let worker_control = Arc::clone(&control);
    let app = move || {
        if shares_thread {
            worker_control.run_on(Arbiter::current());
        }
        App::new().app_data(gateway.clone()).wrap(Edge).configure(configure)
    };
    let mut server = HttpServer::new(app)
        .workers(workers)
        .keep_alive(KEEP_ALIVE)
        // Without it the end of a streamed answer waits for Nagle's algorithm.
        .tcp_nodelay(true)
        // Without it a client that went away is not noticed, and its upstream goes on billing.
        .h1_allow_half_closed(false);
    if !settings.signals {
        server = server.disable_signals();
    }
    let server = server.bind(settings.listen.as_slice())?;
    let addresses = server.addrs();
    let server = server.run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    Ok(Running { addresses, control, stats, server: handle, serving, arbiters: [control_arbiter, Some(stats_arbiter)] })
}

impl Running {
    /// Waits until the server has stopped by a signal, then brings statistics to disk.
    ///
    /// # Errors
    ///
    /// The server failed.
    pub async fn finished(self) -> std::io::Result<()> {
        let served = self.serving.await.map_err(std::io::Error::other)?;
        self.stats.flush().await;
        for arbiter in self.arbiters.into_iter().flatten() {
            arbiter.stop();
        }
        served
    }

    /// Stops: requests may finish if `graceful`.
    ///
    /// # Errors
    ///
    /// The server failed.
    pub async fn stop(self, graceful: bool) -> std::io::Result<()> {
        self.server.stop(graceful).await;
        self.finished().await
    }
}

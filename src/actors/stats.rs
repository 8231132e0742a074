//! The writer of statistics, on a thread of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, Supervised, Supervisor,
};
use tokio::sync::{mpsc, oneshot};

use crate::stats::{RequestRow, Store, StoreError};

/// Rows wait at most this long before they are written.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
/// As many rows are written in one transaction: a multiple of the rows of one statement.
const BATCH: usize = 512;
/// As many rows can wait while the database is locked; further ones are dropped and counted. Half a
/// minute of 1,000 requests a second, and at most some 100 MB of text.
const CAPACITY: usize = 32_768;
/// While nothing can be written, the log says so this often.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
/// The pause before the database is opened again after it could not be.
const REOPEN_PAUSE: Duration = Duration::from_secs(5);

/// The workers' end of the queue. Never waits and wakes nobody: the actor comes to look.
#[derive(Clone)]
pub struct StatsQueue {
    rows: Option<mpsc::Sender<RequestRow>>,
    dropped: Arc<AtomicU64>,
    /// Shared: each account has a queue, and cloning an address allocates.
    writer: Option<Arc<Addr<StatsActor>>>,
}

impl StatsQueue {
    /// A queue that forgets: statistics are switched off.
    pub fn disabled() -> Self {
        Self { rows: None, dropped: Arc::default(), writer: None }
    }

    /// Starts the writer of this file on its arbiter.
    pub fn start(path: PathBuf, arbiter: &ArbiterHandle) -> Self {
        let (rows, waiting) = mpsc::channel(CAPACITY);
        let dropped = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&dropped);
        let writer = Supervisor::start_in_arbiter(arbiter, |_| StatsActor::new(path, waiting, counter));
        Self { rows: Some(rows), dropped, writer: Some(Arc::new(writer)) }
    }

    /// Whether rows go anywhere.
    pub fn is_enabled(&self) -> bool {
        self.rows.is_some()
    }

    /// Hands over a row; drops and counts it when the queue is full.
    pub fn push(&self, row: RequestRow) {
        if let Some(rows) = &self.rows
            && rows.try_send(row).is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many rows were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything that was pushed is written.
    pub async fn flush(&self) {
        if let Some(writer) = &self.writer {
            let (done, is_done) = oneshot::channel();
            writer.do_send(Flush(done));
            // No answer means that the writer is gone, and then nothing will be written.
            let _ = is_done.await;
        }
    }
}

/// Writes everything that waits, then says so.
#[derive(Message)]
#[rtype(result = "()")]
struct Flush(oneshot::Sender<()>);

/// Takes rows from the queue every 250 ms and writes them in batches.
pub struct StatsActor {
    path: PathBuf,
    waiting: mpsc::Receiver<RequestRow>,
    store: Option<Store>,
    /// Taken from the queue, not yet written.
    batch: Vec<RequestRow>,
    dropped: Arc<AtomicU64>,
    /// How many dropped rows the log has told of.
    told_dropped: u64,
    /// When the log last told that rows cannot be written.
    told_waiting: Option<Instant>,
}

impl StatsActor {
    fn new(path: PathBuf, waiting: mpsc::Receiver<RequestRow>, dropped: Arc<AtomicU64>) -> Self {
        Self { path, waiting, store: None, batch: Vec::new(), dropped, told_dropped: 0, told_waiting: None }
    }

    /// Opens the database unless it is open; tries again later if it cannot be opened.
    fn open(&mut self, context: &mut Context<Self>) {
        if self.store.is_some() {
            return;
        }
        match Store::open(&self.path) {
            Ok(store) => self.store = Some(store),
            Err(error) => {
                log::error!("statistics are not written, next try in {} s: {error}", REOPEN_PAUSE.as_secs());
                context.run_later(REOPEN_PAUSE, Self::open);
            }
        }
    }

    fn write_waiting(&mut self) -> Result<(), StoreError> {
        let Some(store) = &mut self.store else { return Ok(()) };
        loop {
            while self.batch.len() < BATCH
                && let Ok(row) = self.waiting.try_recv()
            {
                self.batch.push(row);
            }
            if self.batch.is_empty() {
                return Ok(());
            }
            store.write(&self.batch)?;
            self.batch.clear();
        }
    }

    fn tell_waiting(&mut self, error: &StoreError, now: Instant) {
        if self.told_waiting.is_none_or(|told| now.duration_since(told) >= COMPLAINT_INTERVAL) {
            self.told_waiting = Some(now);
            log::warn!("statistics wait to be written: {error}");
        }
    }

    fn tell_dropped(&mut self) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > self.told_dropped {
            log::warn!("{dropped} rows of statistics were dropped since the start, as more came than could wait");
            self.told_dropped = dropped;
        }
    }

    fn flush(&mut self, context: &mut Context<Self>) {
        match catch_unwind(AssertUnwindSafe(|| self.write_waiting())) {
            Ok(Ok(())) => self.tell_dropped(),
            // The batch stays and is tried again; the queue behind it bounds the memory.
            Ok(Err(error)) => self.tell_waiting(&error, Instant::now()),
            Err(_) => {
                log::error!("the statistics writer panicked and is restarted");
                self.batch.clear();
                self.store = None;
                context.stop();
            }
        }
    }
}

impl Actor for StatsActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.open(context);
        context.run_interval(FLUSH_INTERVAL, Self::flush);
    }
}

impl Supervised for StatsActor {
    fn restarting(&mut self, context: &mut Context<Self>) {
        context.wait(actix::fut::wrap_future(actix::clock::sleep(FLUSH_INTERVAL)));
    }
}

impl Handler<Flush> for StatsActor {
    type Result = ();

    fn handle(&mut self, Flush(done): Flush, context: &mut Context<Self>) {
        self.flush(context);
        // Nobody may be waiting any more.
        let _ = done.send(());
    }
}

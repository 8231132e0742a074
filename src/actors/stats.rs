//! The way of statistics from the workers to the file: a bounded queue, and a writer on a thread of
//! its own.

mod complaints;
mod waiting;
mod writer;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use actix::{Addr, ArbiterHandle, Supervisor};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::config::StatsSettings;
use crate::stats::RequestRow;

use super::control::Control;
use super::messages::Crash;
use waiting::Waiting;
use writer::Flush;
pub use writer::StatsActor;

/// As much text can wait with rows, in bytes: prompts that are kept whole may be long.
const TEXT_CAPACITY: usize = 128 << 20;

/// How often whoever waits for rows that are yet to come looks whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The workers' end of the queue. Waits for no writing and wakes nobody: the writer comes to look. Shared by
/// all clones, as each account has one.
#[derive(Clone)]
pub struct StatsQueue(Option<Arc<Line>>);

struct Line {
    waiting: Arc<Waiting>,
    counts: Arc<Counts>,
    writer: Addr<StatsActor>,
    control: Arc<Control>,
}

/// What is told of rows on their way.
#[derive(Default)]
struct Counts {
    /// Requests whose rows are yet to come.
    expected: AtomicUsize,
    /// Rows that are not written yet.
    queued: AtomicUsize,
    /// Their text, in bytes.
    text_bytes: AtomicUsize,
    /// Rows that were never written.
    dropped: AtomicU64,
}

impl Counts {
    /// Takes a row into account, if there is room for its text of so many bytes.
    fn enter(&self, bytes: usize) -> bool {
        if self.text_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > TEXT_CAPACITY {
            self.text_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.queued.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// So many rows wait no longer, and their text.
    fn leave(&self, rows: usize, bytes: usize) {
        self.text_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.queued.fetch_sub(rows, Ordering::Relaxed);
    }

    fn drop_rows(&self, rows: usize) {
        self.dropped.fetch_add(u64::try_from(rows).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

fn text_bytes(row: &RequestRow) -> usize {
    row.text.as_ref().map_or(0, |text| text.len())
}

impl StatsQueue {
    /// A queue that forgets: statistics are switched off.
    pub fn disabled() -> Self {
        Self(None)
    }

    /// Starts the writer of this file on its arbiter.
    pub fn start(path: PathBuf, control: Arc<Control>, arbiter: &ArbiterHandle) -> Self {
        let (waiting, counts) = (Arc::<Waiting>::default(), Arc::<Counts>::default());
        let actor = StatsActor::new(path, Arc::clone(&waiting), Arc::clone(&counts), Arc::clone(&control));
        let writer = Supervisor::start_in_arbiter(arbiter, |_| actor);
        Self(Some(Arc::new(Line { waiting, counts, writer, control })))
    }

    /// What is to be kept; `None` when statistics are switched off.
    pub fn settings(&self) -> Option<StatsSettings> {
        self.0.as_ref().map(|line| line.control.config().stats)
    }

    /// Whether rows go anywhere.
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// The place of a row that is yet to come.
    pub fn place(&self) -> Place {
        if let Some(line) = &self.0 {
            line.counts.expected.fetch_add(1, Ordering::Relaxed);
        }
        Place(self.clone())
    }

    /// Waits until every place is given up. A connection counts as closed shortly before what was under
    /// way on it is.
    pub async fn all_told(&self) {
        while self.0.as_ref().is_some_and(|line| line.counts.expected.load(Ordering::Acquire) > 0) {
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Hands over a row; drops and counts it when the queue is full.
    pub fn push(&self, row: RequestRow) {
        let Some(Line { waiting, counts, .. }) = self.0.as_deref() else { return };
        let bytes = text_bytes(&row);
        if !counts.enter(bytes) {
            return counts.drop_rows(1);
        }
        if !waiting.push(row) {
            counts.leave(1, bytes);
            counts.drop_rows(1);
        }
    }

    /// How many rows were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |line| line.counts.dropped.load(Ordering::Relaxed))
    }

    /// How many rows are still to be written.
    pub fn queued(&self) -> usize {
        self.0.as_ref().map_or(0, |line| line.counts.queued.load(Ordering::Relaxed))
    }

    /// Makes the writer panic; see [`Crash`].
    pub fn crash(&self, crash: Crash) {
        if let Some(line) = &self.0 {
            line.writer.do_send(crash);
        }
    }

    /// Waits until everything that was pushed is written. A database that is locked is waited for, up
    /// to half a minute; one that cannot be written to is not.
    pub async fn flush(&self) {
        if let Some(line) = &self.0 {
            let (done, is_done) = oneshot::channel();
            line.writer.do_send(Flush(done));
            // No answer means that the writer is gone, and then nothing will be written.
            let _ = is_done.await;
        }
    }
}

/// The place of a request's row in the queue, from the beginning of the request until its row was pushed: whoever ends
/// the gateway waits for it.
pub struct Place(StatsQueue);

impl Deref for Place {
    type Target = StatsQueue;

    fn deref(&self) -> &StatsQueue {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(line) = &self.0.0 {
            line.counts.expected.fetch_sub(1, Ordering::Release);
        }
    }
}

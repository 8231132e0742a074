//! The writer of statistics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};
use tokio::sync::oneshot;

use crate::stats::{Credit, PORTION, Progress, RequestRow, Store, StoreError, Trouble, WallClock, set_aside};

use super::super::control::Control;
use super::super::messages::Crash;
use super::complaints::Complaints;
use super::waiting::Waiting;
use super::{Counts, text_bytes};

/// Rows wait at most this long before they are written.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
/// The pause before the database is opened again after it could not be.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// Damaged files are set aside no more often than this; if they come faster, the disk is to blame.
const ASIDE_PAUSE: Duration = Duration::from_secs(60);
/// Whoever wants everything written waits so long for a database that is locked.
const FLUSH_PATIENCE: Duration = Duration::from_secs(30);
/// How often the writer looks whether there is enough to add up.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How often it adds up what there is, deletes what is too old and gives space back.
const WHOLE_UPKEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// When it first does so after it was started.
const UPKEEP_DELAY: Duration = Duration::from_secs(2);
/// The pause between two steps of it, for rows to be written and other programs to have their turn.
const STEP_PAUSE: Duration = Duration::from_millis(50);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Takes rows from the queue every 250 ms and writes them in batches.
pub struct StatsActor {
    path: PathBuf,
    waiting: Arc<Waiting>,
    counts: Arc<Counts>,
    control: Arc<Control>,
    store: Option<Store>,
    /// Not before this is the database opened again.
    opens_at: Option<Instant>,
    /// The last trouble was one behind which the next rows may be written.
    may_pass: bool,
    /// Taken from the queue, not yet written.
    batch: Vec<RequestRow>,
    /// Who waits for everything to be written, and until when.
    flushers: Vec<(Instant, oneshot::Sender<()>)>,
    complaints: Complaints,
    set_aside_at: Option<Instant>,
    whole_upkeep_at: Option<Instant>,
    wall_clock: WallClock,
    /// What is older is to be deleted.
    deletes_before: Option<SystemTime>,
}

/// Writes everything that waits, then says so.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Flush(pub oneshot::Sender<()>);

/// What is to be done beside writing rows, in this order.
#[derive(Clone, Copy)]
enum Upkeep {
    /// Add up rows, if there are at least so many.
    AddUp(i64),
    Delete,
    GiveBack,
}

impl StatsActor {
    pub(super) fn new(path: PathBuf, waiting: Arc<Waiting>, counts: Arc<Counts>, control: Arc<Control>) -> Self {
        Self {
            path,
            waiting,
            counts,
            control,
            store: None,
            opens_at: None,
            may_pass: false,
            batch: Vec::new(),
            flushers: Vec::new(),
            complaints: Complaints::default(),
            set_aside_at: None,
            whole_upkeep_at: None,
            wall_clock: WallClock::default(),
            deletes_before: None,
        }
    }

    /// Opens the database unless it is open, or it is too early to try again.
    fn open(&mut self, now: Instant) -> Result<(), StoreError> {
        // Whoever deletes the file wants a new one, and SQLite would go on writing to the old.
        if self.store.is_some() && matches!(self.path.try_exists(), Ok(false)) {
            log::warn!("{} is gone, and statistics begin anew", self.path.display());
            self.store = None;
        }
        if self.store.is_none() && self.opens_at.is_none_or(|at| at <= now) {
            let opened = Store::open(&self.path);
            // Where the file is locked, opening it has taken as long as the pause.
            self.opens_at = Some(Instant::now() + REOPEN_PAUSE);
            self.store = Some(opened?);
        }
        Ok(())
    }

    /// Writes everything that waits now; whether there is a database to write it to.
    fn write_waiting(&mut self, now: Instant) -> Result<bool, StoreError> {
        self.open(now)?;
        loop {
            // What comes meanwhile waits for the next time: one row costs as many pages as a hundred, and under load
            // there would always be one more.
            let is_last = self.batch.is_empty() && self.waiting.take(&mut self.batch);
            let Some(store) = &mut self.store else { return Ok(false) };
            if !self.batch.is_empty() {
                store.write(&self.batch)?;
                self.clear_batch();
            }
            if is_last {
                return Ok(true);
            }
        }
    }

    fn clear_batch(&mut self) {
        self.counts.leave(self.batch.len(), self.batch.iter().map(text_bytes).sum());
        self.batch.clear();
    }

    fn drop_batch(&mut self) {
        self.counts.drop_rows(self.batch.len());
        self.clear_batch();
    }

    /// Does what helps against a trouble; whether that may have helped at once. Rows that can still be
    /// written some time stay, and the queue behind them bounds the memory.
    fn suffer(&mut self, error: &StoreError, now: Instant) -> bool {
        let trouble = error.trouble();
        self.may_pass = matches!(trouble, Trouble::Locked | Trouble::Refused);
        match trouble {
            Trouble::Locked => {}
            Trouble::NoRoom => {
                self.store = None;
                while !self.batch.is_empty() {
                    self.drop_batch();
                    self.waiting.take(&mut self.batch);
                }
            }
            Trouble::Damaged => {
                self.store = None;
                if self.begin_anew(error, now) {
                    return true;
                }
            }
            Trouble::Unusable => self.store = None,
            Trouble::Refused => {
                (self.store, self.opens_at) = (None, None);
                self.drop_batch();
            }
        }
        let dropped = self.counts.dropped.load(Ordering::Relaxed);
        if let Some(complaint) = self.complaints.of(error, &self.path, dropped, now) {
            log::error!("{complaint}");
        }
        false
    }

    /// Sets a damaged file aside, if that can be done.
    fn begin_anew(&mut self, error: &StoreError, now: Instant) -> bool {
        if self.set_aside_at.is_some_and(|at| now.duration_since(at) < ASIDE_PAUSE) {
            return false;
        }
        let Ok(aside) = set_aside(&self.path, SystemTime::now()) else { return false };
        self.set_aside_at = Some(now);
        self.opens_at = None;
        let (path, aside) = (self.path.display(), aside.display());
        log::error!("{path} is damaged ({error}): it is kept as {aside}, and statistics begin anew");
        true
    }

    fn flush(&mut self, context: &mut Context<Self>) {
        let now = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| self.write_waiting(now))) {
            Ok(Ok(true)) => {
                self.may_pass = false;
                if let Some(news) = self.complaints.none(self.counts.dropped.load(Ordering::Relaxed), now) {
                    log::warn!("{news}");
                }
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                if self.suffer(&error, now) {
                    return self.flush(context);
                }
            }
            Err(_) => self.restart(context),
        }
        self.answer_flushers();
    }

    /// Begins anew after a panic, without the rows over which it may have come.
    fn restart(&mut self, context: &mut Context<Self>) {
        log::error!("the statistics writer panicked and is restarted");
        self.drop_batch();
        (self.store, self.may_pass) = (None, true);
        context.stop();
    }

    fn answer_flushers(&mut self) {
        let now = Instant::now();
        let queued = self.counts.queued.load(Ordering::Relaxed);
        let is_waiting = self.may_pass && queued > 0;
        for (until, done) in std::mem::take(&mut self.flushers) {
            if is_waiting && now < until {
                self.flushers.push((until, done));
                continue;
            }
            if is_waiting {
                log::error!("statistics still cannot be written, rows that are not: {queued}");
            }
            // Nobody may be waiting any more.
            let _ = done.send(());
        }
    }

    fn begin_upkeep(&mut self, context: &mut Context<Self>) {
        let (now, time_of_day) = (Instant::now(), SystemTime::now());
        let is_believed = self.believes(now, time_of_day);
        let is_whole = self.whole_upkeep_at.is_none_or(|at| now >= at);
        if is_whole {
            self.whole_upkeep_at = Some(now + WHOLE_UPKEEP_INTERVAL);
            let days = self.control.config().stats.retention_days.filter(|_| is_believed);
            self.deletes_before = days.and_then(|days| time_of_day.checked_sub(DAY.saturating_mul(days)));
        }
        self.keep_up(Upkeep::AddUp(if is_whole { 1 } else { PORTION }), context);
    }

    /// Whether rows may be deleted by this time of day.
    fn believes(&mut self, now: Instant, time_of_day: SystemTime) -> bool {
        let credit = self.wall_clock.look(now, time_of_day);
        if let Credit::Leapt(ahead) = credit {
            let hours = ahead.as_secs() / 3600;
            log::warn!("the clock has leapt ahead by {hours} hours; by its time no statistics are deleted for an hour");
        }
        credit == Credit::Given
    }

    fn keep_up(&mut self, step: Upkeep, context: &mut Context<Self>) {
        let progress = match catch_unwind(AssertUnwindSafe(|| self.do_step(step))) {
            Ok(Ok(progress)) => progress,
            Ok(Err(error)) => return self.suffer_upkeep(&error),
            Err(_) => {
                log::error!("the upkeep of statistics panicked and is put off");
                self.store = None;
                return;
            }
        };
        let next = match (progress, step) {
            (Progress::More, _) => step,
            (Progress::Done, Upkeep::AddUp(1)) => Upkeep::Delete,
            (Progress::Done, Upkeep::Delete) => Upkeep::GiveBack,
            (Progress::Done, Upkeep::AddUp(_) | Upkeep::GiveBack) => return,
        };
        context.run_later(STEP_PAUSE, move |this, context| this.keep_up(next, context));
    }

    fn do_step(&mut self, step: Upkeep) -> Result<Progress, StoreError> {
        let Some(store) = &mut self.store else { return Ok(Progress::Done) };
        match (step, self.deletes_before) {
            (Upkeep::AddUp(at_least), _) => store.add_up(at_least),
            (Upkeep::Delete, Some(oldest)) => store.delete_before(oldest),
            (Upkeep::Delete, None) => Ok(Progress::Done),
            (Upkeep::GiveBack, _) => store.give_back(),
        }
    }

    /// Rows that are refused are those that were to be added up: none are dropped for it.
    fn suffer_upkeep(&mut self, error: &StoreError) {
        self.whole_upkeep_at = None;
        match error.trouble() {
            Trouble::Refused => log::error!("statistics cannot be added up: {error}"),
            _ => {
                self.suffer(error, Instant::now());
            }
        }
    }
}

impl Actor for StatsActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.opens_at = None;
        self.flush(context);
        context.run_interval(FLUSH_INTERVAL, Self::flush);
        context.run_later(UPKEEP_DELAY, |this, context| {
            this.begin_upkeep(context);
            context.run_interval(UPKEEP_INTERVAL, Self::begin_upkeep);
        });
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
        self.flushers.push((Instant::now() + FLUSH_PATIENCE, done));
        self.flush(context);
    }
}

impl Handler<Crash> for StatsActor {
    type Result = ();

    #[expect(clippy::panic, reason = "it is what the message asks for")]
    fn handle(&mut self, crash: Crash, context: &mut Context<Self>) {
        match crash {
            Crash::InHandler => {
                if catch_unwind(|| panic!("crash on request")).is_err() {
                    self.restart(context);
                }
            }
            Crash::Fatal => panic!("fatal crash on request"),
        }
    }
}

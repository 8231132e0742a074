//! Rows that wait to be written.
//!
//! Workers add them one at a time, the writer takes many at once: it exchanges its list for theirs, so that under an even
//! load nobody takes memory for the queue or gives any back.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::stats::RequestRow;

/// As many rows can wait while the database is locked; further ones are dropped and counted. Half a
/// minute of 1,000 requests a second.
const CAPACITY: usize = 32_768;
/// As many rows are written in one transaction: a multiple of the rows of one statement.
pub(super) const BATCH: usize = 2040;

/// The queue. Its lock is held for the moment that it takes to move a row, or a list.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Batches>);

#[derive(Default)]
struct Batches {
    /// Of [`BATCH`] rows each.
    whole: VecDeque<Vec<RequestRow>>,
    last: Vec<RequestRow>,
}

impl Waiting {
    /// Adds a row; whether there was room for it.
    pub(super) fn push(&self, row: RequestRow) -> bool {
        let mut batches = self.batches();
        if batches.len() >= CAPACITY {
            return false;
        }
        if batches.last.len() == BATCH {
            let whole = std::mem::take(&mut batches.last);
            batches.whole.push_back(whole);
        }
        batches.last.push(row);
        true
    }

    /// Puts the oldest rows, up to [`BATCH`], into a list that is empty; whether these are all.
    pub(super) fn take(&self, batch: &mut Vec<RequestRow>) -> bool {
        let mut batches = self.batches();
        if let Some(whole) = batches.whole.pop_front() {
            *batch = whole;
            return false;
        }
        std::mem::swap(&mut batches.last, batch);
        true
    }

    fn batches(&self) -> MutexGuard<'_, Batches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batches {
    fn len(&self) -> usize {
        self.whole.len() * BATCH + self.last.len()
    }
}

//! The admissions of one sliding window.

use std::collections::VecDeque;
use std::time::Duration;

/// Up to this limit every admission is remembered by itself, and the window is exact. Above it,
/// admissions that lie closer together than this part of the window are remembered as one.
const RESOLUTION: u32 = 128;

/// What was admitted in the last span of a certain length.
#[derive(Debug)]
pub(super) struct Window {
    /// How long an admission counts.
    pub length: Duration,
    /// In the order of time.
    admissions: VecDeque<Admissions>,
}

/// Admissions that stop counting together, when the last of them does: too late for the others, so
/// that never more than the limit is admitted.
#[derive(Debug)]
struct Admissions {
    first: Duration,
    last: Duration,
    count: u32,
}

impl Window {
    /// Nothing admitted yet.
    pub fn new(length: Duration) -> Self {
        Self { length, admissions: VecDeque::new() }
    }

    /// How many admissions count now.
    pub fn used(&self, now: Duration) -> u32 {
        self.counting(now).map(|some| some.count).sum()
    }

    /// How long until so many of the admissions that count now do so no more.
    pub fn until_freed(&self, count: u32, now: Duration) -> Duration {
        let mut freed = 0;
        let enough = self.counting(now).find(|some| {
            freed += some.count;
            freed >= count
        });
        enough.map_or(self.length, |some| self.end(some).saturating_sub(now))
    }

    /// How long until no admission counts any more.
    pub fn until_empty(&self, now: Duration) -> Duration {
        self.admissions.back().map_or(Duration::ZERO, |last| self.end(last).saturating_sub(now))
    }

    /// Adds an admission, `limit` being how many there may be.
    pub fn admit(&mut self, limit: u32, now: Duration) {
        let expired = self.admissions.len() - self.counting(now).count();
        self.admissions.drain(..expired);
        match self.admissions.back_mut() {
            Some(latest) if limit > RESOLUTION && now.saturating_sub(latest.first) <= self.length / RESOLUTION => {
                latest.last = latest.last.max(now);
                latest.count += 1;
            }
            _ => self.admissions.push_back(Admissions { first: now, last: now, count: 1 }),
        }
    }

    fn counting(&self, now: Duration) -> impl Iterator<Item = &Admissions> {
        self.admissions.iter().skip_while(move |some| self.end(some) <= now)
    }

    fn end(&self, some: &Admissions) -> Duration {
        some.last.saturating_add(self.length)
    }

    #[cfg(test)]
    pub fn entries(&self) -> usize {
        self.admissions.len()
    }
}

//! Rate limits over sliding windows: in any span of a rate's window, however it is laid, at most as
//! many requests are admitted as the rate says.
//!
//! [`Buckets`] has a bucket for each key, whatever that stands for. [`Buckets::look`] tells how
//! much is left, [`Buckets::take`] counts a request. They are apart so that a request which several
//! buckets have to admit is counted by all of them or by none: look at each, then take from each.
//!
//! A bucket remembers at most about 130 moments for each of its rates, however high the rate.

mod window;

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::hash::Hash;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

use crate::config::Rate;

use window::Window;

/// So many buckets are never too many to keep.
const FEW: usize = 64;

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many requests the rate admits in its window.
    pub limit: u32,
    /// How many more it would admit now.
    pub remaining: u32,
    /// How long until it admits one more; zero when it does now.
    pub wait: Duration,
    /// How long until it has forgotten all requests, unless more come.
    pub reset: Duration,
}

impl Quota {
    /// Whether no request is admitted now.
    pub fn is_spent(&self) -> bool {
        self.remaining == 0
    }

    /// The one of two that refuses a request sooner; of two that are spent, the one that does so
    /// longer.
    pub fn tighter(self, other: Self) -> Self {
        let room = |quota: &Self| (quota.remaining, Reverse(quota.wait), Reverse(quota.reset));
        if room(&other) < room(&self) { other } else { self }
    }
}

/// One bucket for each key, made when it is first needed and dropped when all it counted is past.
#[derive(Debug)]
pub struct Buckets<K> {
    buckets: HashMap<K, Bucket>,
    /// When there are so many, or at that time, the idle ones are dropped.
    sweep_at_len: usize,
    sweep_at: Duration,
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self { buckets: HashMap::new(), sweep_at_len: FEW, sweep_at: Duration::ZERO }
    }
}

impl<K: Hash + Eq> Buckets<K> {
    /// What is left for the key under the tightest of these rates; `None` without rates.
    pub fn look<Q>(&self, key: &Q, rates: &[Rate], now: Duration) -> Option<Quota>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        match self.buckets.get(key) {
            Some(bucket) => bucket.quota(rates, now),
            None => Bucket::default().quota(rates, now),
        }
    }

    /// Counts a request of the key if all of these rates admit it, and tells what is then left.
    ///
    /// # Errors
    ///
    /// It is not admitted, and not counted. The quota says when one will be.
    pub fn take<Q>(&mut self, key: &Q, rates: &[Rate], now: Duration) -> Result<Option<Quota>, Quota>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        match self.look(key, rates, now) {
            None => return Ok(None),
            Some(quota) if quota.is_spent() => return Err(quota),
            Some(_) => {}
        }
        if let Some(bucket) = self.buckets.get_mut(key) {
            bucket.admit(rates, now);
            return Ok(bucket.quota(rates, now));
        }
        self.sweep(now);
        let mut bucket = Bucket::default();
        bucket.admit(rates, now);
        let quota = bucket.quota(rates, now);
        self.buckets.insert(key.to_owned(), bucket);
        Ok(quota)
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether there is no bucket.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Drops idle buckets, when it is time to: the number of buckets has doubled, or all that were
    /// there may be idle by now.
    fn sweep(&mut self, now: Duration) {
        if self.buckets.len() < self.sweep_at_len && now < self.sweep_at {
            return;
        }
        self.buckets.retain(|_, bucket| !bucket.until_idle(now).is_zero());
        self.sweep_at_len = FEW.max(self.buckets.len() * 2);
        self.buckets.shrink_to(self.sweep_at_len);
        let longest = self.buckets.values().map(|bucket| bucket.until_idle(now)).max();
        self.sweep_at = now + longest.unwrap_or_default();
    }
}

/// What was admitted under the rates of one key.
#[derive(Debug, Default)]
struct Bucket {
    /// One for each length of window. Rates may change while requests of before still count.
    windows: Vec<Window>,
}

impl Bucket {
    fn quota(&self, rates: &[Rate], now: Duration) -> Option<Quota> {
        let quotas = rates.iter().map(|rate| {
            let Some(window) = self.window(rate.window) else {
                return Quota {
                    limit: rate.requests,
                    remaining: rate.requests,
                    wait: Duration::ZERO,
                    reset: Duration::ZERO,
                };
            };
            let used = window.used(now);
            let remaining = rate.requests.saturating_sub(used);
            let wait = match remaining {
                0 => window.until_freed(used - rate.requests + 1, now),
                _ => Duration::ZERO,
            };
            Quota { limit: rate.requests, remaining, wait, reset: window.until_empty(now) }
        });
        quotas.reduce(Quota::tighter)
    }

    fn window(&self, length: Duration) -> Option<&Window> {
        self.windows.iter().find(|window| window.length == length)
    }

    fn admit(&mut self, rates: &[Rate], now: Duration) {
        for rate in rates {
            if self.window(rate.window).is_none() {
                self.windows.push(Window::new(rate.window));
            }
        }
        self.windows.retain_mut(|window| {
            // Several rates over the same time share a window.
            let limit = rates.iter().filter(|rate| rate.window == window.length).map(|rate| rate.requests).min();
            match limit {
                Some(limit) => window.admit(limit, now),
                None if window.until_empty(now).is_zero() => return false,
                None => {}
            }
            true
        });
    }

    fn until_idle(&self, now: Duration) -> Duration {
        self.windows.iter().map(|window| window.until_empty(now)).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;

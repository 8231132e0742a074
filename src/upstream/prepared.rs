//! What a thread keeps of requests that it sends again and again.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::target::Id;

/// How many prepared requests a thread keeps: as many as there are keys in any configuration of
/// ordinary size. Beyond it they are prepared anew.
const MAX_PREPARED: usize = 4096;
/// So many are never too many to keep.
const FEW_PREPARED: usize = 64;

/// Requests by target. Those of targets that are gone go before there are twice as many as the others,
/// so that a configuration that often changes keeps neither memory nor keys.
pub(super) struct Prepared<R> {
    requests: HashMap<u64, (Weak<u64>, R)>,
    /// When there are so many, those that are of no more use go.
    sweep_at_len: usize,
}

impl<R> Default for Prepared<R> {
    fn default() -> Self {
        Self { requests: HashMap::new(), sweep_at_len: FEW_PREPARED }
    }
}

impl<R: Clone> Prepared<R> {
    /// The request for this target.
    pub fn get(&self, target: &Id) -> Option<R> {
        self.requests.get(target).map(|(_, request)| request.clone())
    }

    /// Keeps the request for this target.
    pub fn insert(&mut self, target: &Id, request: R) {
        if self.requests.len() >= self.sweep_at_len {
            self.requests.retain(|_, (target, _)| target.strong_count() > 0);
            if self.requests.len() >= MAX_PREPARED {
                self.requests.clear();
            }
            self.sweep_at_len = (2 * self.requests.len()).clamp(FEW_PREPARED, MAX_PREPARED);
        }
        self.requests.insert(**target, (Arc::downgrade(target), request));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_targets_that_are_gone_are_not_kept() {
        let mut prepared = Prepared::default();
        let living: Vec<Id> = (0..40).map(Arc::new).collect();
        living.iter().for_each(|target| prepared.insert(target, ()));
        for gone in 1000..2000 {
            prepared.insert(&Arc::new(gone), ());
            assert!(prepared.requests.len() <= 2 * living.len(), "{}", prepared.requests.len());
        }
        assert!(living.iter().all(|target| prepared.get(target).is_some()));
    }

    #[test]
    fn however_many_targets_there_are_no_more_requests_are_kept_than_may_be() {
        let mut prepared = Prepared::default();
        let living: Vec<Id> = (0..10_000).map(Arc::new).collect();
        for target in &living {
            prepared.insert(target, ());
            assert!(prepared.requests.len() <= MAX_PREPARED && prepared.get(target).is_some());
        }
    }
}

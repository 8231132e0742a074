//! What the log says of statistics that are not written: a line when it begins, one a minute while it
//! lasts, and one when it is over.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::stats::{StoreError, Trouble};

/// While nothing can be written, the log says so this often.
const INTERVAL: Duration = Duration::from_secs(60);

/// Knows what has been said.
#[derive(Default)]
pub(super) struct Complaints {
    /// Which trouble there is, and when the log last spoke of it.
    trouble: Option<(Trouble, Instant)>,
    told_dropped: u64,
    told_dropped_at: Option<Instant>,
}

impl Complaints {
    /// What to say of this trouble, if it is time to.
    pub fn of(&mut self, error: &StoreError, path: &Path, dropped: u64, now: Instant) -> Option<String> {
        let trouble = error.trouble();
        let is_due = self.trouble.is_none_or(|(told, at)| told != trouble || now.duration_since(at) >= INTERVAL);
        if !is_due {
            return None;
        }
        self.trouble = Some((trouble, now));
        let path = path.display();
        let what = match trouble {
            Trouble::Locked => format!("statistics wait, because another program has locked {path}: {error}"),
            Trouble::NoRoom => {
                format!("statistics are dropped until there is room on the disk of {path}, free some: {error}")
            }
            Trouble::Damaged => format!("statistics wait, because {path} is damaged and cannot be set aside: {error}"),
            Trouble::Unusable => {
                format!("statistics wait, because {path} cannot be written to, look at its permissions: {error}")
            }
            Trouble::Refused => format!("statistics are dropped, because {path} does not take them: {error}"),
        };
        Some(what + &self.newly_dropped(dropped, now))
    }

    /// What to say when rows are written.
    pub fn none(&mut self, dropped: u64, now: Instant) -> Option<String> {
        if self.trouble.take().is_some() {
            // All of them once more: it is over, and this is what it cost.
            self.told_dropped = 0;
            return Some(format!("statistics are written again{}", self.newly_dropped(dropped, now)));
        }
        let is_due = self.told_dropped_at.is_none_or(|at| now.duration_since(at) >= INTERVAL);
        (dropped > self.told_dropped && is_due)
            .then(|| format!("statistics come faster than they can be written{}", self.newly_dropped(dropped, now)))
    }

    fn newly_dropped(&mut self, dropped: u64, now: Instant) -> String {
        if dropped <= self.told_dropped {
            return String::new();
        }
        (self.told_dropped, self.told_dropped_at) = (dropped, Some(now));
        format!("; rows dropped since the start: {dropped}")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    fn unusable() -> StoreError {
        Error::from(ErrorKind::PermissionDenied).into()
    }

    fn full() -> StoreError {
        Error::from(ErrorKind::StorageFull).into()
    }

    #[test]
    fn a_trouble_is_told_once_a_minute_and_at_its_end() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        let mut told = |error: Option<StoreError>, dropped, second| {
            let now = start + Duration::from_secs(second);
            match error {
                Some(error) => complaints.of(&error, Path::new("stats.db"), dropped, now),
                None => complaints.none(dropped, now),
            }
            .is_some()
        };
        assert!(!told(None, 0, 0));
        assert!(told(Some(unusable()), 0, 1));
        assert!(!told(Some(unusable()), 0, 2));
        assert!(told(Some(full()), 10, 3), "another trouble");
        assert!(!told(Some(full()), 20, 62));
        assert!(told(Some(full()), 30, 63));
        assert!(told(None, 30, 64));
        assert!(!told(None, 30, 65));
    }

    #[test]
    fn a_queue_that_is_too_short_is_told_once_a_minute() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        let mut told = |dropped, second| complaints.none(dropped, start + Duration::from_secs(second));
        assert!(told(5, 0).unwrap().ends_with("since the start: 5"));
        assert_eq!(told(6, 1), None);
        assert!(told(7, 60).unwrap().ends_with("since the start: 7"));
        assert_eq!(told(7, 200), None);
    }
}

//! The keys of one channel, used in the order of its schedule.

use fastrand::Rng;

use crate::config::KeySchedule;

/// Hands out positions `0..size`.
///
/// A channel without keys has one position that stands for "no key".
#[derive(Debug)]
pub struct KeyRing {
    schedule: KeySchedule,
    turn: Turn,
}

/// Positions `0..size` in turn.
#[derive(Debug)]
pub struct Turn {
    size: usize,
    next: usize,
}

impl KeyRing {
    /// A ring over this many keys.
    pub fn new(keys: usize, schedule: KeySchedule) -> Self {
        Self { schedule, turn: Turn::new(keys.max(1)) }
    }

    /// All positions.
    pub fn positions(&self) -> std::ops::Range<usize> {
        0..self.turn.size
    }

    /// The next key that `is_out` does not exclude; `None` when it excludes all.
    pub fn pick(&mut self, is_out: impl Fn(usize) -> bool, rng: &mut Rng) -> Option<usize> {
        match self.schedule {
            KeySchedule::RoundRobin => self.turn.pick(is_out),
            KeySchedule::FixedPriority => self.positions().find(|key| !is_out(*key)),
            KeySchedule::Random => rng.choice(self.positions().filter(|key| !is_out(*key)).collect::<Vec<_>>()),
        }
    }
}

impl Turn {
    /// Over this many positions.
    pub fn new(size: usize) -> Self {
        Self { size, next: 0 }
    }

    /// The next position that `is_out` does not exclude; `None` when it excludes all.
    pub fn pick(&mut self, is_out: impl Fn(usize) -> bool) -> Option<usize> {
        let at = (self.next..self.size).chain(0..self.next).find(|at| !is_out(*at))?;
        self.next = (at + 1) % self.size;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(schedule: KeySchedule, keys: usize, count: usize, is_out: impl Fn(usize) -> bool) -> Vec<usize> {
        let (mut ring, mut rng) = (KeyRing::new(keys, schedule), Rng::with_seed(3));
        (0..count).filter_map(|_| ring.pick(&is_out, &mut rng)).collect()
    }

    #[test]
    fn keys_are_used_in_turn() {
        assert_eq!(picks(KeySchedule::RoundRobin, 3, 5, |_| false), [0, 1, 2, 0, 1]);
    }

    #[test]
    fn a_key_that_is_out_is_passed_over() {
        assert_eq!(picks(KeySchedule::RoundRobin, 3, 4, |key| key == 1), [0, 2, 0, 2]);
        for (schedule, _) in KeySchedule::ALL {
            assert_eq!(picks(schedule, 3, 1, |_| true), [0; 0]);
        }
    }

    #[test]
    fn fixed_priority_stays_with_the_first_key() {
        assert_eq!(picks(KeySchedule::FixedPriority, 3, 3, |_| false), [0, 0, 0]);
        assert_eq!(picks(KeySchedule::FixedPriority, 3, 2, |key| key == 0), [1, 1]);
    }

    #[test]
    fn random_keys_are_drawn_evenly() {
        let drawn = picks(KeySchedule::Random, 4, 9000, |key| key == 1);
        for key in [0, 2, 3] {
            let times = drawn.iter().filter(|drawn| **drawn == key).count();
            assert!(times.abs_diff(3000) < 250, "{key}: {times}");
        }
    }

    #[test]
    fn a_channel_without_keys_can_be_used_once_per_request() {
        assert_eq!(picks(KeySchedule::RoundRobin, 0, 1, |_| false), [0]);
        assert_eq!(picks(KeySchedule::RoundRobin, 0, 1, |key| key == 0), [0; 0]);
    }
}

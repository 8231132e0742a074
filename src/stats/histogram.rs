//! How long things took, as counts per class of length.
//!
//! Classes are exact below 32 ms; above, each power of two is divided into 16 of them, so that what
//! is read from a class is at most 3.2 % off. Histograms of parts add up to that of the whole, which
//! percentiles do not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// 2^4 classes for each power of two.
const CLASS_BITS: u32 = 4;
const CLASSES: u16 = 1 << CLASS_BITS;

/// Counts by class of milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram(BTreeMap<u16, u64>);

impl Histogram {
    /// Counts one length.
    pub fn add(&mut self, ms: u32) {
        *self.0.entry(class(ms)).or_default() += 1;
    }

    /// Counts all that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (class, count) in &other.0 {
            *self.0.entry(*class).or_default() += count;
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The length in milliseconds that this share of all, in percent, do not exceed; `None` without any.
    pub fn percentile(&self, percent: u64) -> Option<u32> {
        let total: u64 = self.0.values().sum();
        let rank = total.saturating_mul(percent).div_ceil(100).max(1);
        let mut below = 0;
        let found = self.0.iter().find(|(_, count)| {
            below += **count;
            below >= rank
        });
        found.map(|(class, _)| middle(*class))
    }
}

fn class(ms: u32) -> u16 {
    let shift = (u32::BITS - ms.leading_zeros()).saturating_sub(CLASS_BITS + 1);
    // At most 27 * 16 + 31.
    u16::try_from(shift * u32::from(CLASSES) + (ms >> shift)).unwrap_or(u16::MAX)
}

/// The middle of what falls into a class.
fn middle(class: u16) -> u32 {
    let shift = (class / CLASSES).saturating_sub(1);
    let lowest = u64::from(class - shift * CLASSES) << shift;
    let width = 1u64 << shift;
    u32::try_from(lowest + (width - 1) / 2).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_times_are_exact_and_classes_grow_without_gaps() {
        for ms in 0..32 {
            assert_eq!(middle(class(ms)), ms);
        }
        let classes: Vec<u16> = (0..100_000).map(class).collect();
        assert!(classes.windows(2).all(|pair| pair[1] - pair[0] <= 1));
        assert!(class(u32::MAX) < 500);
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50), None);
        (1..=20).for_each(|ms| histogram.add(ms));
        assert_eq!([50, 95, 100].map(|percent| histogram.percentile(percent)), [Some(10), Some(19), Some(20)]);
    }

    proptest! {
        #[test]
        fn what_is_read_is_close_to_what_was_counted(ms in any::<u32>()) {
            let read = f64::from(middle(class(ms)));
            prop_assert!((read - f64::from(ms)).abs() <= f64::from(ms) * 0.032, "{ms} became {read}");
        }

        #[test]
        fn parts_add_up(one in prop::collection::vec(0u32..100_000, 0..50), other in prop::collection::vec(0u32..100_000, 0..50)) {
            let of = |all: &[u32]| {
                let mut histogram = Histogram::default();
                all.iter().for_each(|ms| histogram.add(*ms));
                histogram
            };
            let mut merged = of(&one);
            merged.merge(&of(&other));
            prop_assert_eq!(merged, of(&[one, other].concat()));
        }
    }
}

//! How requests and attempts end.

use std::collections::BTreeMap;

use crate::canon::FailureKind;

/// How a request or an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a whole answer.
    Answered,
    /// The client left.
    Cancelled,
    /// With a failure of this kind.
    Failed(FailureKind),
}

/// How many there are.
pub const ENDINGS: usize = 2 + FailureKind::ALL.len();

impl Ending {
    /// Its name: `ok`, `cancelled`, or the code of its failure, which several kinds may share.
    pub fn code(self) -> &'static str {
        match self {
            Self::Answered => "ok",
            Self::Cancelled => "cancelled",
            Self::Failed(kind) => kind.public().code,
        }
    }

    /// Its place among all of them.
    pub(super) fn place(self) -> usize {
        match self {
            Self::Answered => 0,
            Self::Cancelled => 1,
            Self::Failed(kind) => {
                FailureKind::ALL.iter().position(|other| *other == kind).map_or(usize::MAX, |place| 2 + place)
            }
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        [Self::Answered, Self::Cancelled].into_iter().chain(FailureKind::ALL.map(Self::Failed))
    }
}

/// Counts by place as counts by code, without those that are zero.
pub fn by_code(counts: &[u64; ENDINGS]) -> BTreeMap<&'static str, u64> {
    let mut codes = BTreeMap::new();
    for (ending, count) in Ending::all().zip(counts).filter(|(_, count)| **count > 0) {
        *codes.entry(ending.code()).or_default() += count;
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ending_has_a_place_of_its_own() {
        assert!(Ending::all().map(Ending::place).eq(0..ENDINGS));
    }

    #[test]
    fn kinds_with_the_same_code_count_together() {
        let mut counts = [0; ENDINGS];
        counts[Ending::Answered.place()] = 5;
        counts[Ending::Failed(FailureKind::LimitReached).place()] = 1;
        counts[Ending::Failed(FailureKind::RateLimited).place()] = 2;
        assert_eq!(by_code(&counts), BTreeMap::from([("ok", 5), ("rate_limit_exceeded", 3)]));
    }
}

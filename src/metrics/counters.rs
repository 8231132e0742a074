//! What counts are kept in.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

/// A number that only grows.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// How much it is.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A row of counters.
pub struct Counters<const N: usize>([Counter; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Counters<N> {
    /// Adds to the counter at this place, if there is one.
    pub fn add(&self, place: usize, number: u64) {
        if let Some(counter) = self.0.get(place) {
            counter.add(number);
        }
    }

    /// All of them.
    pub fn get(&self) -> [u64; N] {
        std::array::from_fn(|place| self.0.get(place).map_or(0, Counter::get))
    }
}

/// The upper ends of the classes into which times are counted, in milliseconds: an answer from a
/// cache is there, and one that thinks for minutes.
pub const BOUNDS_MS: [u64; 14] =
    [50, 100, 250, 500, 1000, 2500, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000];
/// One more, for times that are longer.
pub const CLASSES: usize = BOUNDS_MS.len() + 1;

/// How long something took, counted in classes.
#[derive(Default)]
pub struct Histogram {
    classes: Counters<CLASSES>,
    sum_us: Counter,
}

impl Histogram {
    /// Counts a time.
    pub fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let class = BOUNDS_MS.iter().position(|bound| micros <= bound * 1000).unwrap_or(BOUNDS_MS.len());
        self.classes.add(class, 1);
        self.sum_us.add(micros);
    }
}

/// What several [`Histogram`]s have counted.
#[derive(Default)]
pub struct Times {
    /// How many there were in each class.
    pub classes: [u64; CLASSES],
    /// All together, in microseconds.
    pub sum_us: u64,
}

impl Times {
    /// The sum of these.
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Self {
        histograms.fold(Self::default(), |mut sum, histogram| {
            add_to(&mut sum.classes, histogram.classes.get());
            sum.sum_us = sum.sum_us.saturating_add(histogram.sum_us.get());
            sum
        })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }
}

/// The sum of several rows of counters.
pub fn sums<'a, const N: usize>(rows: impl Iterator<Item = &'a Counters<N>>) -> [u64; N] {
    rows.fold([0; N], |mut sum, row| {
        add_to(&mut sum, row.get());
        sum
    })
}

fn add_to<const N: usize>(sum: &mut [u64; N], numbers: [u64; N]) {
    sum.iter_mut().zip(numbers).for_each(|(sum, number)| *sum = sum.saturating_add(number));
}

/// More threads than that share what they count in.
const MAX_SHARDS: usize = 16;

static SHARDS: LazyLock<usize> = LazyLock::new(|| available_parallelism().map_or(1, usize::from).min(MAX_SHARDS));

thread_local! {
    /// Threads take places in turn.
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % *SHARDS
    };
}

/// The same counters several times, so that threads that count do not wait for each other's caches.
pub struct Sharded<T> {
    first: Apart<T>,
    others: Box<[Apart<T>]>,
}

/// No two of them are in the same cache line, nor in a pair that is fetched together.
#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

impl<T: Default> Default for Sharded<T> {
    fn default() -> Self {
        Self { first: Apart::default(), others: (1..*SHARDS).map(|_| Apart::default()).collect() }
    }
}

impl<T> Sharded<T> {
    /// The ones that this thread counts in.
    pub fn mine(&self) -> &T {
        let other = SHARD.with(|shard| shard.checked_sub(1)).and_then(|other| self.others.get(other));
        &other.unwrap_or(&self.first).0
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        [&self.first].into_iter().chain(&self.others).map(|shard| &shard.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_thread_counts_nothing_gets_lost() {
        let sharded = Sharded::<Counters<2>>::default();
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| (0..1000).for_each(|_| sharded.mine().add(1, 2)));
            }
        });
        assert_eq!(sums(sharded.all()), [0, 80_000]);
        assert_eq!(sharded.all().count(), *SHARDS);
    }

    #[test]
    fn a_time_is_in_the_first_class_that_is_not_too_short() {
        let histogram = Histogram::default();
        for micros in [0, 50_000, 50_001, 599_999_999, 600_000_001, 3_600_000_000] {
            histogram.add(Duration::from_micros(micros));
        }
        let times = Times::of([&histogram, &Histogram::default()].into_iter());
        let mut expected = [0; CLASSES];
        (expected[0], expected[1], expected[13], expected[14]) = (2, 1, 1, 2);
        assert_eq!((times.classes, times.count()), (expected, 6));
        assert_eq!(times.sum_us, 50_000 + 50_001 + 599_999_999 + 600_000_001 + 3_600_000_000);
    }
}

//! What is counted of requests.

use std::time::Duration;

use super::counters::{Counter, Counters, Histogram, Sharded, Times, sums};
use super::ending::{ENDINGS, Ending, by_code};
use super::text::{Kind, Text};

/// Requests to one endpoint.
pub struct Endpoint {
    name: &'static str,
    counts: Sharded<Counts>,
}

#[derive(Default)]
struct Counts {
    begun: Counter,
    /// By class of the status, then by ending.
    ended: [Counters<ENDINGS>; CLASSES.len()],
    time: Histogram,
}

/// Classes of statuses; the client got none where it left before there was one.
const CLASSES: [&str; 4] = ["none", "2xx", "4xx", "5xx"];

impl Endpoint {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, counts: Sharded::default() }
    }

    /// How it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A request has come in.
    pub fn begin(&self) {
        self.counts.mine().begun.add(1);
    }

    /// A request is over, with this status if the client got one, after this time.
    pub fn end(&self, status: Option<u16>, ending: Ending, time: Duration) {
        let counts = self.counts.mine();
        let class = match status {
            None => 0,
            Some(..300) => 1,
            Some(300..500) => 2,
            Some(500..) => 3,
        };
        if let Some(ended) = counts.ended.get(class) {
            ended.add(ending.place(), 1);
        }
        counts.time.add(time);
    }

    fn ended(&self, class: usize) -> [u64; ENDINGS] {
        sums(self.counts.all().filter_map(|counts| counts.ended.get(class)))
    }

    fn begun(&self) -> u64 {
        self.counts.all().map(|counts| counts.begun.get()).sum()
    }

    fn in_flight(&self) -> u64 {
        // What has ended is read first: it had begun by then.
        let ended: u64 = (0..CLASSES.len()).flat_map(|class| self.ended(class)).sum();
        self.begun().saturating_sub(ended)
    }
}

/// Writes down those that were asked.
pub fn write(endpoints: &[&Endpoint], text: &mut Text) {
    let used = || endpoints.iter().filter(|endpoint| endpoint.begun() > 0);
    text.family(
        "requests_total",
        Kind::Counter,
        "Requests that are over, by class of the status and by outcome: ok, cancelled (the client left) or an error code.",
    );
    for endpoint in used() {
        for (class, status) in CLASSES.into_iter().enumerate() {
            for (code, count) in by_code(&endpoint.ended(class)) {
                text.sample(&[("endpoint", endpoint.name), ("status", status), ("outcome", code)], count);
            }
        }
    }
    text.family("requests_in_flight", Kind::Gauge, "Requests that are under way.");
    for endpoint in used() {
        text.sample(&[("endpoint", endpoint.name)], endpoint.in_flight());
    }
    text.family("request_duration_seconds", Kind::Histogram, "From a request to the end of whatever became of it.");
    for endpoint in used() {
        let times = Times::of(endpoint.counts.all().map(|counts| &counts.time));
        text.times(&[("endpoint", endpoint.name)], &times);
    }
}

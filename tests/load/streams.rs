//! Thousands of streams that are all open at the same moment, twice.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::{self, KEY, Program, gateway::eventually};

use super::client::{Client, Got};
use super::figures::{Metrics, all_is_settled, count, figure, rows_left_by};
use super::lot::{Ending, Kind, Lot};
use super::scale::Scale;
use super::upstream::Upstream;

const WORDS: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);
const WAVES: u64 = 2;
/// In percent of the memory that the first wave took at most.
const MAX_GROWTH: u64 = 5;

/// Request 0 warms up, all others are streams.
fn lot(number: u64) -> Lot {
    let kind = if number == 0 { Kind::Short } else { Kind::Stream };
    Lot { number, kind, faults: Vec::new(), ending: Ending::Whole, words: WORDS, pause: PAUSE }
}

/// Makes these requests, has all of them wait after their first word for `gate` until the gateway was looked at, and
/// tells how much memory it had then, in KiB.
async fn open_at_once(
    numbers: impl ExactSizeIterator<Item = u64>,
    gate: &watch::Sender<bool>,
    (client, upstream): (&Arc<Client>, &Arc<Upstream>),
    (program, console): (&Program, &support::Client),
) -> u64 {
    let streams = numbers.len();
    gate.send(false).unwrap();
    let mut asked = JoinSet::new();
    for number in numbers {
        let (client, upstream) = (Arc::clone(client), Arc::clone(upstream));
        asked.spawn(async move { client.ask(&lot(number), &upstream).await });
    }
    eventually("the first word of every stream", async || upstream.counts().streaming == streams).await;
    let all = f64::from(u32::try_from(streams).unwrap());
    eventually("the gateway to count them", async || {
        let now = Metrics::of(console).await;
        [now.sum("uni_api_attempts_in_flight", "up"), now.sum("uni_api_requests_in_flight", "chat")] == [all; 2]
    })
    .await;
    assert_eq!(upstream.counts().streaming, streams, "all of them at this moment");
    let held_kib = figure(&program.pid(), "VmRSS:");
    gate.send(true).unwrap();
    while let Some(got) = asked.join_next().await {
        assert_eq!(got.unwrap(), Ok(Got::Whole));
    }
    held_kib
}

#[actix_web::test]
async fn streams_that_are_all_open_at_once_are_all_whole() {
    let streams = Scale::from_environment().streams;
    let (gate, is_open) = watch::channel(false);
    let upstream = Arc::new(Upstream::start(lot, is_open));
    let provider =
        json!({"provider": "up", "base_url": upstream.url("/v1"), "api": "sk-up-0123456789", "model": ["native"]});
    let preferences = json!({"RATE_LIMIT": "1000000/s"});
    let document = json!({"providers": [provider], "api_keys": [{"api": KEY, "preferences": preferences}]});
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("api.yaml"), document.to_string()).unwrap();
    let mut program = Program::start(folder.path(), &[("RUST_LOG", "info,uni_api::request=off")]);
    let address = program.address().await;
    let console = support::Client::new(address);
    let client = Arc::new(Client::new(address));
    assert_eq!(client.ask(&lot(0), &upstream).await, Ok(Got::Whole));
    let idle_kib = figure(&program.pid(), "VmRSS:");

    let mut peaks = Vec::new();
    for wave in 0..WAVES {
        let numbers = (0..streams).map(|place| 1 + wave * count(streams) + count(place));
        let held_kib = open_at_once(numbers, &gate, (&client, &upstream), (&program, &console)).await;
        let settled = all_is_settled(&console).await;
        assert_eq!(upstream.counts().under_way, 0);
        let peak_kib = figure(&program.pid(), "VmHWM:");
        let each = |kib: u64| kib.saturating_sub(idle_kib) / count(streams);
        println!(
            "{streams} streams of {WORDS} chunks at once: all whole. Resident: {idle_kib} KiB idle, {held_kib} KiB with \
             all open, {peak_kib} KiB at most so far: {} KiB for each stream that waits, {} KiB at most. CPU so far: \
             {:.2} s",
            each(held_kib),
            each(peak_kib),
            settled.sum("process_cpu_seconds_total", ""),
        );
        peaks.push(peak_kib);
    }
    let (first, last) = (peaks[0], peaks[peaks.len() - 1]);
    assert!(last <= first + first * MAX_GROWTH / 100, "{peaks:?} KiB: what was free is used again");
    let rows = WAVES * count(streams) + 1;
    assert_eq!(rows_left_by(program, folder.path(), "nobody").await, (rows, rows));
}

//! Thousands of streams that are all open at the same moment.

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

/// Request 0 warms up, all others are streams.
fn lot(number: u64) -> Lot {
    let kind = if number == 0 { Kind::Short } else { Kind::Stream };
    Lot { number, kind, faults: Vec::new(), ending: Ending::Whole, words: WORDS, pause: PAUSE }
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

    let mut asked = JoinSet::new();
    for number in 1..=count(streams) {
        let (client, upstream) = (Arc::clone(&client), Arc::clone(&upstream));
        asked.spawn(async move { client.ask(&lot(number), &upstream).await });
    }
    eventually("the first word of every stream", async || upstream.counts().streaming == streams).await;
    let streams_now = f64::from(u32::try_from(streams).unwrap());
    eventually("the gateway to count them", async || {
        let now = Metrics::of(&console).await;
        [now.sum("uni_api_attempts_in_flight", "up"), now.sum("uni_api_requests_in_flight", "chat")] == [streams_now; 2]
    })
    .await;
    assert_eq!(upstream.counts().streaming, streams, "all of them at this moment");
    let held_kib = figure(&program.pid(), "VmRSS:");
    gate.send(true).unwrap();
    while let Some(got) = asked.join_next().await {
        assert_eq!(got.unwrap(), Ok(Got::Whole));
    }
    let settled = all_is_settled(&console).await;
    assert_eq!(upstream.counts().under_way, 0);

    let peak_kib = figure(&program.pid(), "VmHWM:");
    let each = |kib: u64| (kib - idle_kib) / count(streams);
    println!(
        "{streams} streams of {WORDS} chunks at once: all whole. Resident: {idle_kib} KiB idle, {held_kib} KiB with all \
         open, {peak_kib} KiB at most: {} KiB for each stream that waits, {} KiB at most. CPU: {:.2} s",
        each(held_kib),
        each(peak_kib),
        settled.sum("process_cpu_seconds_total", ""),
    );
    let rows = count(streams) + 1;
    assert_eq!(rows_left_by(program, folder.path(), "nobody").await, (rows, rows));
}

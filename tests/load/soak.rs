//! Requests of every kind at a steady rate, before upstreams that fail at random, while the configuration changes.
//!
//! What is promised: a request ends in exactly one honest way, and has the whole answer unless its lot says that
//! every attempt fails, that it is refused as wrong, that its stream breaks after the first words, or that its client
//! leaves. Everything else (up to two attempts that fail, keys that are refused, a channel that cannot be reached) is
//! made good by further attempts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::support::{self, KEY, Program, gateway::eventually, refusing_address};

use super::client::{Client, Got, Wrong};
use super::figures::{Sample, all_is_settled, count, median, percentile, rows_left_by};
use super::lot::{Ending, Kind, Lot};
use super::scale::Scale;
use super::upstream::{BAD, Fate, Upstream};

const SEED: u64 = 20_261_123;
/// Limits of an attempt, to the first event and between two, in seconds.
const TIMEOUT: &str = "5";
/// What the log tells unless `RUST_LOG` says otherwise: nothing of single requests, which would be read here.
const QUIET: &str = "info,uni_api::request=off,uni_api::relay=off,uni_api::actors=off";
/// Keys of a channel: as many as it takes for some of them to rest.
const KEYS: usize = 20;
/// Between two changes of the configuration.
const RELOAD_INTERVAL: Duration = Duration::from_secs(3);
/// The channel that nobody can connect to.
const GONE: &str = "gone";
/// Memory is looked at when the first minute, in which it settles, is not part of what is compared.
const SHORTEST_FLAT: Duration = Duration::from_secs(600);
/// In percent of the memory early in the run.
const MAX_GROWTH: u64 = 5;
/// So many lines has the table of samples.
const LINES: usize = 30;

/// One run.
struct Run {
    client: Client,
    upstream: Upstream,
}

/// How one request went.
struct Told {
    lot: Lot,
    got: Result<Got, Wrong>,
    /// From the moment when it was due.
    micros: u32,
}

/// How all of them went.
#[derive(Default)]
struct Tally {
    requests: u64,
    gots: BTreeMap<Got, u64>,
    /// By how much a request was made too late, because this very program had to wait for its turn.
    latest: Duration,
    wrongs: Vec<Wrong>,
    /// Of requests that nothing went wrong with: short ones.
    short_micros: Vec<u32>,
    /// Of those that met faults and were answered all the same.
    saved_micros: Vec<u32>,
}

/// The configuration at this time: with other keys of one channel, with and without another channel.
fn version(number: usize, upstream: &Upstream, gone: &str) -> Value {
    let channel = |name: &str, base_url: String, models: Value| {
        let keys: Vec<String> = (0..KEYS)
            .map(|key| match (key, name) {
                (0, _) => format!("sk-{name}{BAD}0123456789"),
                (_, "c") => format!("sk-{name}-{key:02}-{number:05}-0123456789"),
                _ => format!("sk-{name}-{key:02}-0123456789"),
            })
            .collect();
        json!({"provider": name, "base_url": base_url, "api": keys, "model": models})
    };
    let native = |name: &str| channel(name, upstream.url("/v1"), json!(["native", "embedder"]));
    let claude = |name: &str| channel(name, upstream.url("/v1/messages"), json!(["translated"]));
    let gone = channel(GONE, gone.to_owned(), json!(["native", "embedder", "translated"]));
    let mut providers = vec![native("a"), native("b"), native("c"), claude("w"), claude("x"), claude("y"), gone];
    if number.is_multiple_of(2) {
        providers.push(claude("z"));
    }
    json!({
        "providers": providers, "preferences": {"deadline": 30},
        "api_keys": [{"api": KEY, "preferences": {"RATE_LIMIT": "1000000/s"}}],
    })
}

/// Puts a version in place at once, as a careful editor does.
fn write(folder: &Path, document: &Value) {
    std::fs::write(folder.join("api.yaml~"), document.to_string()).unwrap();
    std::fs::rename(folder.join("api.yaml~"), folder.join("api.yaml")).unwrap();
}

#[actix_web::test]
async fn whatever_fails_upstream_every_request_ends_honestly_and_nothing_is_left_behind() {
    let scale = Scale::from_environment();
    let (_gate, is_open) = watch::channel(true);
    let upstream = Upstream::start(|number| Lot::drawn(SEED, number), is_open);
    let gone = format!("http://{}/v1", refusing_address().await);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &version(0, &upstream, &gone));
    let log = std::env::var("RUST_LOG").unwrap_or_else(|_| QUIET.to_owned());
    let mut program = Program::start(folder.path(), &[("RUST_LOG", &log), ("TIMEOUT", TIMEOUT)]);
    let address = program.address().await;
    let console = support::Client::new(address);
    let run = Arc::new(Run { client: Client::new(address), upstream });

    let (over, is_over) = watch::channel(false);
    let asking = async {
        let tally = ask_steadily(&run, scale).await;
        over.send(true).unwrap();
        tally
    };
    let pid = program.pid();
    let sampling = sample(&pid, is_over.clone());
    let reloading = async {
        let mut reloads = 0;
        while !ends_within(RELOAD_INTERVAL, &is_over).await {
            reloads += 1;
            write(folder.path(), &version(reloads, &run.upstream, &gone));
            program.says("is reloaded").await;
        }
        reloads
    };
    let (tally, samples, reloads) = tokio::join!(asking, sampling, reloading);
    let settled = all_is_settled(&console).await;
    eventually("the upstream to be left alone", async || run.upstream.counts().under_way == 0).await;

    let counts = run.upstream.counts();
    let cpu = settled.sum("process_cpu_seconds_total", "");
    println!("{} requests at {}/s, {reloads} reloads, {cpu:.1} s of CPU", tally.requests, scale.rate);
    println!("upstream: {counts:?}");
    tally.print();
    print_samples(&samples);

    assert!(tally.wrongs.is_empty(), "{} requests, among them {:#?}", tally.wrongs.len(), tally.first_wrongs());
    assert_eq!(settled.sum("uni_api_config_reloads_total", ""), f64::from(u32::try_from(reloads).unwrap()));
    let (requests, attempts) = rows_left_by(program, folder.path(), GONE).await;
    assert_eq!(
        (requests, attempts),
        (tally.requests, count(counts.received - counts.resent)),
        "rows and what they tell"
    );
    assert!(attempts > requests, "faults were met");
    if scale.time >= SHORTEST_FLAT {
        assert_flat(&samples);
    }
}

/// Whether the run ends within this time.
async fn ends_within(time: Duration, is_over: &watch::Receiver<bool>) -> bool {
    let mut is_over = is_over.clone();
    tokio::time::timeout(time, is_over.wait_for(|over| *over)).await.is_ok()
}

async fn sample(pid: &str, is_over: watch::Receiver<bool>) -> Vec<Sample> {
    let mut samples = Vec::new();
    let began = Instant::now();
    while !ends_within(Duration::from_secs(1), &is_over).await {
        samples.push(Sample::of(pid, began.elapsed().as_secs()));
    }
    samples
}

/// Makes a request whenever one is due, whatever became of those before.
async fn ask_steadily(run: &Arc<Run>, scale: Scale) -> Tally {
    let mut tally = Tally::default();
    let mut asked = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let began = Instant::now();
    while began.elapsed() < scale.time {
        ticks.tick().await;
        loop {
            let due = began + Duration::from_micros(tally.requests * 1_000_000 / u64::from(scale.rate));
            if due > Instant::now() {
                break;
            }
            tally.latest = tally.latest.max(due.elapsed());
            asked.spawn(ask(Arc::clone(run), tally.requests, due));
            tally.requests += 1;
        }
        while let Some(told) = asked.try_join_next() {
            tally.take(told.unwrap());
        }
    }
    while let Some(told) = asked.join_next().await {
        tally.take(told.unwrap());
    }
    tally
}

async fn ask(run: Arc<Run>, number: u64, due: Instant) -> Told {
    let lot = Lot::drawn(SEED, number);
    let got = run.client.ask(&lot, &run.upstream).await;
    let micros = due.elapsed().as_micros().try_into().expect("a time within patience");
    let fate = run.upstream.forget(number);
    let got = got.and_then(|got| if is_right(&lot, &got, fate) { Ok(got) } else { Err(format!("{got:?}, {fate:?}")) });
    Told { lot, got, micros }
}

/// Whether this is what was promised, given what the upstream has done last.
fn is_right(lot: &Lot, got: &Got, fate: Fate) -> bool {
    match (lot.ending, got) {
        (Ending::Whole | Ending::Slow, got) => *got == Got::Whole,
        (Ending::Cut | Ending::Reset | Ending::Silence, Got::ToldInBand(_)) => fate == Fate::Cut,
        // It was cut before the gateway had passed any of it on.
        (Ending::Cut | Ending::Reset | Ending::Silence, got) => *got == Got::Whole && fate == Fate::Whole,
        (Ending::Rejected, Got::Refused(400, _)) => true,
        (Ending::Doomed, Got::Refused(status, _)) => *status >= 500,
        (Ending::LeftEarly | Ending::LeftMidway, Got::Left) => true,
        _ => false,
    }
}

impl Tally {
    fn take(&mut self, Told { lot, got, micros }: Told) {
        match got {
            Ok(got) => {
                if lot.is_clean() && lot.kind == Kind::Short {
                    self.short_micros.push(micros);
                }
                if !lot.faults.is_empty() && !lot.kind.streams() && got == Got::Whole {
                    self.saved_micros.push(micros);
                }
                *self.gots.entry(got).or_default() += 1;
            }
            Err(wrong) => self.wrongs.push(format!("{wrong}: {lot:?}")),
        }
    }

    fn first_wrongs(&self) -> &[Wrong] {
        &self.wrongs[..self.wrongs.len().min(20)]
    }

    fn print(&self) {
        println!("requests were made at most {:.2} ms late", self.latest.as_secs_f64() * 1000.0);
        for (got, count) in &self.gots {
            println!("{count:>9}  {got:?}");
        }
        let times =
            [("short answers, nothing wrong", &self.short_micros), ("answers after faults", &self.saved_micros)];
        for (what, micros) in times {
            let mut sorted = micros.clone();
            sorted.sort_unstable();
            let [p50, p99, most] = [50, 99, 100].map(|percent| percentile(&sorted, percent));
            println!("{what}: {} of them, p50 {p50:.2} ms, p99 {p99:.2} ms, at most {most:.2} ms", sorted.len());
        }
    }
}

fn print_samples(samples: &[Sample]) {
    println!("{:>8} {:>12} {:>10} {:>7}", "second", "resident KiB", "open files", "threads");
    for Sample { second, resident_kib, open_files, threads } in samples.iter().step_by(samples.len() / LINES + 1) {
        println!("{second:>8} {resident_kib:>12} {open_files:>10} {threads:>7}");
    }
}

/// The last tenth of the run has not more than the second one.
fn assert_flat(samples: &[Sample]) {
    let tenth = samples.len() / 10;
    let (early, late) = (&samples[tenth..2 * tenth], &samples[samples.len() - tenth..]);
    let medians = |of: fn(&Sample) -> u64| [early, late].map(|samples| median(samples.iter().map(of).collect()));
    let [resident, files, threads] =
        [medians(|sample| sample.resident_kib), medians(|sample| sample.open_files), medians(|sample| sample.threads)];
    println!("second tenth and last tenth: {resident:?} KiB, {files:?} files, {threads:?} threads");
    assert!(resident[1] <= resident[0] + resident[0] * MAX_GROWTH / 100, "{resident:?} KiB");
    assert!(files[1] <= files[0] + files[0] / 5, "{files:?} open files");
    assert_eq!(threads[0], threads[1], "threads");
}

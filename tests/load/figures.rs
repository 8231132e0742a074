//! What the system says of the gateway's process, and what it says of itself.

use std::fs;

use crate::support::{Client, KEY, Program, gateway::eventually};

/// A process at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub second: u64,
    pub resident_kib: u64,
    pub open_files: u64,
    pub threads: u64,
}

impl Sample {
    pub fn of(pid: &str, second: u64) -> Self {
        Self {
            second,
            resident_kib: figure(pid, "VmRSS:"),
            open_files: count(fs::read_dir(format!("/proc/{pid}/fd")).expect("the /proc of Linux").count()),
            threads: figure(pid, "Threads:"),
        }
    }
}

/// A figure of a process that `status` has; memory is in KiB.
pub fn figure(pid: &str, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the /proc of Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a figure");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

pub fn count(number: usize) -> u64 {
    u64::try_from(number).expect("a number of this machine")
}

/// The middle one.
pub fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

/// The value that so many of a hundred do not exceed.
pub fn percentile(sorted: &[u32], percent: usize) -> f64 {
    f64::from(sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]) / 1000.0
}

/// `GET /metrics` at one moment.
pub struct Metrics(String);

impl Metrics {
    pub async fn of(client: &Client) -> Self {
        let answer = client.get("/metrics", KEY).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Self(answer.text().to_owned())
    }

    /// The sum of all samples of this family that have `label` in them.
    pub fn sum(&self, family: &str, label: &str) -> f64 {
        let of_family = |line: &&str| {
            line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        };
        let samples = self.0.lines().filter(of_family);
        samples.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a value")).sum()
    }

    /// Leases that were not given back, and requests that are not over; this one is.
    pub fn in_flight(&self) -> f64 {
        self.sum("uni_api_attempts_in_flight", "") + self.sum("uni_api_requests_in_flight", "v1")
    }
}

/// Waits until no lease is out, nothing is in flight and every row is written; none was dropped.
pub async fn all_is_settled(client: &Client) -> Metrics {
    let mut settled = None;
    eventually("every lease to be given back and every row to be written", async || {
        let now = Metrics::of(client).await;
        let is_settled = now.in_flight() == 0.0 && now.sum("uni_api_statistics_queued_rows", "") == 0.0;
        settled = Some(now);
        is_settled
    })
    .await;
    let settled = settled.expect("a look");
    assert_eq!(settled.sum("uni_api_statistics_dropped_rows_total", ""), 0.0, "rows were dropped");
    settled
}

/// Ends the gateway, and counts the rows it leaves behind: of requests, and of attempts at channels other than `but`.
pub async fn rows_left_by(mut program: Program, folder: &std::path::Path, but: &str) -> (u64, u64) {
    assert_eq!(program.terminate().await.code(), Some(0));
    let database = folder.join("data/stats.db");
    let rows = |of: &str| {
        let lines = crate::support::query(&database, &format!("SELECT CAST(count(*) AS TEXT) AS line FROM {of}"));
        lines[0].parse::<u64>().expect("a number")
    };
    (rows("request_stats WHERE endpoint LIKE 'POST %'"), rows(&format!("channel_stats WHERE provider <> '{but}'")))
}

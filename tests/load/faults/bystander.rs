//! A gateway, as a process, with a bad upstream and a good one.
//!
//! ```ignore
//! let gateway = Bystander::beside(&upstream.base_url(), "2").await;
//! let answers = gateway.ask_bad(vec![hello(); 200]).await;   // the good one is asked all the while
//! gateway.end().await;                                       // nothing may be left
//! ```

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    Answer, CHAT, Client, FakeUpstream, KEY, PATIENCE, Program, Reply, channel_at, gateway::eventually, hello, query,
    with,
};

/// Half of the requests of the good upstream take less, as they wait for nothing, …
const PROMPT: Duration = Duration::from_secs(1);
/// … where there are as many, …
const TELLING: usize = 20;
/// … and on a machine that is busy none takes longer than this.
const MACHINE: Duration = Duration::from_secs(5);
/// Connections to the good upstream that are kept for later, and the like.
const KEPT_FILES: usize = 16;

/// The gateway and its good upstream.
pub struct Bystander {
    pub program: Program,
    pub address: SocketAddr,
    good: FakeUpstream,
    folder: TempDir,
    asked: Cell<usize>,
    pooled: Cell<usize>,
    files: usize,
}

impl Bystander {
    /// Beside a bad upstream with this `base_url`. `TIMEOUT` in seconds is that of both.
    pub async fn beside(bad: &str, timeout: &str) -> Self {
        Self::start(bad, |good| good.base_url(), FakeUpstream::start().await, timeout).await
    }

    /// Beside a bad upstream, with a good one that goes by another address than its own and keeps no connection.
    pub async fn known_as(name: &str, bad: &str, timeout: &str) -> Self {
        let good = FakeUpstream::answering(|request| Reply::healthy(request).header("connection", "close")).await;
        let base_url = |good: &FakeUpstream| format!("http://{name}:{}/v1", good.address().port());
        Self::start(bad, base_url, good, timeout).await
    }

    async fn start(bad: &str, base_url: impl Fn(&FakeUpstream) -> String, good: FakeUpstream, timeout: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let document = json!({
            "providers": [
                with(channel_at("bad", bad), json!({"model": ["bad", "either"]})),
                with(channel_at("good", &base_url(&good)), json!({"model": ["good", "either"]})),
            ],
            "api_keys": [{"api": KEY, "preferences": {
                "RATE_LIMIT": "1000000/min", "SCHEDULING_ALGORITHM": "fixed_priority"
            }}],
            "preferences": {"metrics": "public"},
        });
        std::fs::write(folder.path().join("api.yaml"), document.to_string()).unwrap();
        let environment = [("TIMEOUT", timeout), ("RUST_LOG", "info,uni_api::relay=off,uni_api::request=off")];
        let mut program = Program::start(folder.path(), &environment);
        let line = program.says("listens on http://").await;
        let address = line.split("http://").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        let mut gateway = Self { program, address, good, folder, asked: Cell::new(0), pooled: Cell::new(0), files: 0 };
        gateway.ask_good().await;
        gateway.files = gateway.open_files();
        gateway
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Asks, and counts it.
    pub async fn ask(&self, model: &str, request: Value) -> Answer {
        self.asked.set(self.asked.get() + 1);
        self.client().post_json(CHAT, KEY, &with(request, json!({"model": model}))).await
    }

    /// Waits for an answer longer than any other client of the tests; gives all of it and how long it took.
    pub async fn ask_patiently(&self, request: Value) -> (String, Duration) {
        self.count();
        let (started, body) = (Instant::now(), request.to_string());
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n");
        let head = format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let mut answer = String::new();
        let reading = stream.read_to_string(&mut answer);
        tokio::time::timeout(15 * PATIENCE, reading).await.expect("an end").unwrap();
        (answer, started.elapsed())
    }

    /// One more request was made otherwise.
    pub fn count(&self) {
        self.asked.set(self.asked.get() + 1);
    }

    /// So many connections to the bad upstream may be kept for later.
    pub fn may_keep(&self, connections: usize) {
        self.pooled.set(connections);
    }

    async fn ask_good(&self) -> Duration {
        let started = Instant::now();
        let answer = self.ask("good", hello()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        started.elapsed()
    }

    /// Makes all of these requests of the bad upstream at once.
    pub async fn ask_bad(&self, requests: Vec<Value>) -> Vec<Answer> {
        self.while_good(join_all(requests.into_iter().map(|request| self.ask("bad", request)))).await
    }

    /// Waits for `trouble`, and asks the good upstream all the while: each time it answers promptly.
    pub async fn while_good<T>(&self, trouble: impl Future<Output = T>) -> T {
        let is_over = Cell::new(false);
        let trouble = async {
            let outcome = trouble.await;
            is_over.set(true);
            outcome
        };
        let asking = async {
            let mut times = vec![self.ask_good().await];
            while !is_over.get() {
                times.push(self.ask_good().await);
            }
            times
        };
        let (outcome, mut times) = tokio::join!(trouble, asking);
        times.sort();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!("the good upstream answered {} times, median {median:?}, worst {worst:?}", times.len());
        assert!(worst < MACHINE && (median < PROMPT || times.len() < TELLING), "{median:?}, {worst:?}");
        outcome
    }

    async fn metrics(&self) -> String {
        self.client().get("/metrics", KEY).await.text().to_owned()
    }

    fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.program.pid())).unwrap().count()
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("data/stats.db")
    }

    /// Nothing is left: no request, no attempt, no connection, and every row is there.
    pub async fn end(mut self) {
        let is_idle = |metrics: &str| {
            let gauges = [
                "uni_api_requests_in_flight{endpoint=\"POST /v1/chat/completions\"",
                "uni_api_attempts_in_flight{",
                "uni_api_statistics_queued_rows ",
                "uni_api_statistics_dropped_",
            ];
            let lines = metrics.lines().filter(|line| gauges.iter().any(|gauge| line.starts_with(gauge)));
            let values: Vec<_> = lines.map(|line| line.rsplit(' ').next().unwrap()).collect();
            assert_eq!(values.len(), 5, "{metrics}");
            values.iter().all(|value| *value == "0")
        };
        eventually("every attempt to be over", async || is_idle(&self.metrics().await)).await;
        let rows =
            "SELECT CAST(count(DISTINCT request_id) AS TEXT) AS line FROM request_stats WHERE endpoint LIKE '%chat%'";
        let asked = self.asked.get().to_string();
        let are_there = async || query(&self.database(), rows);
        eventually(&format!("every row of {asked}, not {:?}", are_there().await), async || {
            are_there().await == [asked.as_str()]
        })
        .await;
        assert_eq!(self.good.disconnects(), 0, "a request of the good upstream was given up");
        let most = self.files + KEPT_FILES + self.pooled.get();
        eventually("the connections to be closed", async || self.open_files() <= most).await;
        assert_eq!(self.program.terminate().await.code(), Some(0));
    }
}

/// Fails the test unless this is an honest failure; gives its code.
pub fn code_of(answer: &Answer) -> String {
    let text = answer.text();
    assert!(answer.complete && !text.contains("[DONE]"), "{} {text}", answer.status);
    let error = match answer.status {
        200 => {
            let last = answer.events().pop().unwrap_or_default();
            serde_json::from_str(&last).unwrap_or_else(|error| panic!("{error}: {text}"))
        }
        500..600 => answer.json(),
        status => panic!("{status}: {text}"),
    };
    error["error"]["code"].as_str().unwrap_or_else(|| panic!("no code in {text}")).to_owned()
}

/// A wait within which the slowest machine comes to an end that was due after `limit`.
pub fn soon_after(limit: Duration) -> Duration {
    limit + PATIENCE / 2
}

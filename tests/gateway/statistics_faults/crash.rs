//! The process is killed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::{CHAT, Client, FakeUpstream, KEY, Program, gateway::eventually, hello};

use super::{configuration, count, count_if_there, texts};

/// Rows are written after 250 ms; the rest is for a machine that is busy.
const WRITTEN_AFTER: Duration = Duration::from_secs(1);
/// Who asks at the same time.
const CLIENTS: usize = 4;
/// Without a line for each request, which nobody reads here.
const LOG: (&str, &str) = ("RUST_LOG", "info,uni_api::relay=off");

/// Requests that were answered, and when.
type Answered = Vec<(String, Instant)>;

struct Rounds {
    folder: tempfile::TempDir,
    upstream: FakeUpstream,
}

impl Rounds {
    async fn new() -> Self {
        let (folder, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
        std::fs::write(folder.path().join("api.yaml"), configuration(&upstream)).unwrap();
        Self { folder, upstream }
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("data/stats.db")
    }

    /// Starts the gateway, asks it until `is_enough`, and kills it in the middle of that. Returns what was answered
    /// before, and when it was killed.
    async fn killed(&self, is_enough: impl AsyncFnOnce(&std::cell::RefCell<Answered>)) -> (Answered, Instant) {
        let mut program = Program::start(self.folder.path(), &[LOG]);
        let client = program.client().await;
        let answered = std::cell::RefCell::new(Answered::new());
        let load = futures::future::join_all((0..CLIENTS).map(|_| ask_on(&client, &answered)));
        tokio::select! {
            _ = load => unreachable!("it never ends"),
            () = is_enough(&answered) => {}
        }
        let killed = Instant::now();
        program.kill().await;
        assert!(!self.upstream.received().is_empty());
        (answered.into_inner(), killed)
    }
}

async fn ask_on(client: &Client, answered: &std::cell::RefCell<Answered>) {
    let body = hello();
    loop {
        let answer = client.post_json(CHAT, KEY, &body).await;
        assert_eq!(answer.status, 200);
        answered.borrow_mut().push((answer.header("x-request-id").unwrap().to_owned(), Instant::now()));
    }
}

fn assert_is_sound(path: &Path) {
    assert_eq!(texts(path, "SELECT integrity_check AS line FROM pragma_integrity_check"), ["ok"]);
}

/// The requests that should have been written when the process was killed, and were not.
fn missing(path: &Path, answered: &Answered, killed: Instant) -> Vec<String> {
    let written: std::collections::HashSet<String> =
        texts(path, "SELECT request_id AS line FROM request_stats").into_iter().collect();
    let is_old = |at: &Instant| killed.duration_since(*at) > WRITTEN_AFTER;
    let old = answered.iter().filter(|(_, at)| is_old(at)).map(|(id, _)| id.clone());
    old.filter(|id| !written.contains(id)).collect()
}

/// Fifty rounds with UNI_API_KILL_ROUNDS=50.
#[actix_web::test]
async fn a_killed_gateway_leaves_a_sound_file_with_all_that_was_written() {
    let rounds = std::env::var("UNI_API_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8);
    let all = Rounds::new().await;
    let path = all.database();
    for round in 0..rounds {
        let before = count_if_there(&path);
        let mut seen = 0;
        let (answered, killed) = all
            .killed(async |answered| {
                eventually("rows", async || {
                    seen = count_if_there(&path);
                    seen > before
                })
                .await;
                // At any moment after that.
                let more = answered.borrow().len() + fastrand::usize(..80);
                eventually("answers", async || answered.borrow().len() >= more).await;
            })
            .await;
        assert_is_sound(&path);
        assert!(count(&path) >= seen, "round {round}: rows are gone");
        assert_eq!(missing(&path, &answered, killed), [""; 0], "round {round}");
    }
}

#[actix_web::test]
async fn a_killed_gateway_has_written_all_but_the_last_moment() {
    let all = Rounds::new().await;
    let path = all.database();
    let (answered, killed) = all
        .killed(async |answered| {
            let is_old = |(_, at): &(String, Instant)| at.elapsed() > WRITTEN_AFTER * 2;
            eventually("some time", async || answered.borrow().first().is_some_and(is_old)).await;
        })
        .await;
    assert_is_sound(&path);
    assert!(answered.len() > 20, "{}", answered.len());
    assert_eq!(missing(&path, &answered, killed), [""; 0]);
}

#[actix_web::test]
async fn sigterm_under_load_loses_no_row() {
    let all = Rounds::new().await;
    let mut program = Program::start(all.folder.path(), &[LOG]);
    let client = program.client().await;
    let body = hello();
    let mut ids = Vec::new();
    for _ in 0..5 {
        let answers = futures::future::join_all((0..40).map(|_| client.post_json(CHAT, KEY, &body))).await;
        ids.extend(answers.iter().map(|answer| answer.header("x-request-id").unwrap().to_owned()));
    }
    assert_eq!(program.terminate().await.code(), Some(0));
    let mut written = texts(&all.database(), "SELECT request_id AS line FROM request_stats");
    written.sort_unstable();
    ids.sort_unstable();
    assert!(written == ids, "{} of {} rows", written.len(), ids.len());
}

#[actix_web::test]
async fn sigterm_waits_for_a_file_that_is_locked() {
    use diesel::connection::SimpleConnection;
    let all = Rounds::new().await;
    let mut program = Program::start(all.folder.path(), &[LOG]);
    let client = program.client().await;
    client.post_json(CHAT, KEY, &hello()).await;
    let path = all.database();
    eventually("the file", async || count_if_there(&path) == 1).await;
    let mut other = super::open(&path);
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    client.post_json(CHAT, KEY, &hello()).await;
    program.says("another program has locked").await;
    let release = async {
        // Nobody listens any more: only the rows are left to be waited for.
        eventually("the end of listening", async || !client.is_listening().await).await;
        other.batch_execute("ROLLBACK").unwrap();
    };
    let (status, ()) = tokio::join!(program.terminate(), release);
    assert_eq!((status.code(), count(&path)), (Some(0), 2));
}

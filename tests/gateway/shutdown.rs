//! How the program ends: what is under way finishes, or is told that there is no time left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::support::{
    CHAT, Client, FakeUpstream, KEY, OpenStream, Program, Reply, Request, channel, gateway::eventually, hello,
    hello_streamed, query,
};

/// A gateway in front of an upstream whose stream waits for permits after its first words.
struct Scene {
    folder: TempDir,
    gate: Arc<Semaphore>,
    upstream: FakeUpstream,
    program: Program,
    client: Client,
}

impl Scene {
    async fn start(limit: &str) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let reply = Reply::stream(["Hel", "lo"]).gate(Arc::clone(&gate));
        let upstream = FakeUpstream::in_turn([reply]).await;
        Self::before(upstream, gate, limit).await
    }

    async fn before(upstream: FakeUpstream, gate: Arc<Semaphore>, limit: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let document = json!({"providers": [channel("up", &upstream)], "api_keys": [{"api": KEY}]});
        std::fs::write(folder.path().join("api.yaml"), document.to_string()).unwrap();
        let mut program = Program::start(folder.path(), &[("SHUTDOWN_TIMEOUT", limit)]);
        let client = program.client().await;
        Self { folder, gate, upstream, program, client }
    }

    /// A stream whose first words have come.
    async fn stream(&self) -> OpenStream {
        self.gate.add_permits(2);
        let mut stream = self.client.open_stream(CHAT, KEY, &hello_streamed()).await;
        while !stream.next_event().await.expect("the first words").contains("Hel") {}
        stream
    }

    /// What a query finds in the statistics: its column `line`.
    fn query(&self, sql: &str) -> Vec<String> {
        query(&self.folder.path().join("data/stats.db"), sql)
    }

    async fn refuses_connections(&self) {
        eventually("nobody to listen", async || !self.client.is_listening().await).await;
    }
}

const REQUESTS: &str = "SELECT coalesce(success, 'null') || ' ' || status AS line FROM request_stats";
const ATTEMPTS: &str = "SELECT coalesce(success, 'null') || ' ' || outcome AS line FROM channel_stats";

#[actix_web::test]
async fn a_stream_that_ends_in_time_is_whole() {
    let mut scene = Scene::start("30").await;
    let stream = scene.stream().await;
    scene.program.signal("TERM").await;
    scene.refuses_connections().await;
    scene.gate.close();
    let rest = stream.rest().await;
    assert!(rest.complete && rest.text().ends_with("data: [DONE]\n\n"), "{}", rest.text());
    let ended = Instant::now();
    assert_eq!(scene.program.ends().await.code(), Some(0));
    assert!(ended.elapsed() < Duration::from_secs(1), "nothing is waited for any more");
    assert_eq!(scene.query(REQUESTS), ["1 200"]);
}

#[actix_web::test]
async fn a_stream_that_does_not_is_told_in_band() {
    let mut scene = Scene::start("0.05").await;
    let stream = scene.stream().await;
    scene.program.signal("INT").await;
    let rest = stream.rest().await;
    assert!(rest.complete && !rest.text().contains("[DONE]"), "{}", rest.text());
    let error: Value = serde_json::from_str(rest.events().last().expect("an event")).unwrap();
    assert_eq!(error["error"]["code"], "gateway_shutting_down");
    assert_eq!(error["error"]["type"], "server_error");
    scene.upstream.wait_for_disconnect().await;
    assert_eq!(scene.program.ends().await.code(), Some(0));
    assert_eq!(scene.query(REQUESTS), ["0 200"]);
    assert_eq!(scene.query(ATTEMPTS), ["null cancelled"], "the channel is not to blame");
}

#[actix_web::test]
async fn a_request_without_an_answer_gets_503_and_the_connection_is_closed() {
    let upstream = FakeUpstream::in_turn([Reply::never_answer()]).await;
    let mut scene = Scene::before(upstream, Arc::new(Semaphore::new(0)), "0.05").await;
    let mut connection = scene.client.connect().await;
    connection.send(&Request::post(CHAT).key(KEY).json(&hello())).await;
    scene.upstream.wait_for_requests(1).await;
    scene.program.signal("TERM").await;
    let answer = connection.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
    assert_eq!(answer.json()["error"]["code"], "gateway_shutting_down");
    connection.closed().await;
    assert_eq!(scene.program.ends().await.code(), Some(0));
    assert_eq!(scene.query(REQUESTS), ["0 503"]);
}

#[actix_web::test]
async fn a_sound_that_does_not_end_in_time_is_cut() {
    let gate = Arc::new(Semaphore::new(1));
    let sound = Reply::body("audio/mpeg", vec![7; 2000]).split_every(1000).gate(Arc::clone(&gate));
    let upstream = FakeUpstream::in_turn([sound]).await;
    let mut scene = Scene::before(upstream, gate, "0.05").await;
    let asked = json!({"model": "gpt-4o", "input": "Hi", "voice": "alloy"});
    let sound = scene.client.open_stream("/v1/audio/speech", KEY, &asked).await;
    scene.program.signal("TERM").await;
    let rest = sound.rest().await;
    assert_eq!((rest.status, rest.complete, rest.body.len()), (200, false, 1000));
    assert_eq!(scene.program.ends().await.code(), Some(0));
    assert_eq!(scene.query(REQUESTS), ["0 200"]);
}

#[actix_web::test]
async fn a_second_signal_ends_it_at_once() {
    for (second, code) in [("TERM", 143), ("INT", 130)] {
        let mut scene = Scene::start("30").await;
        let stream = scene.stream().await;
        scene.program.signal("TERM").await;
        scene.program.says("a second signal ends them at once").await;
        scene.program.signal(second).await;
        assert_eq!(scene.program.ends().await.code(), Some(code));
        assert!(!stream.rest().await.complete);
    }
}

#[actix_web::test]
async fn an_idle_gateway_ends_at_once_whoever_keeps_a_connection() {
    let mut scene = Scene::start("30").await;
    let mut idle = scene.client.connect().await;
    idle.send(&Request::get("/healthz")).await;
    assert_eq!(idle.answer().await.expect("an answer").status, 200);
    let unused = scene.client.connect().await;
    let asked = Instant::now();
    assert_eq!(scene.program.terminate().await.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    idle.closed().await;
    unused.closed().await;
}

#[actix_web::test]
async fn a_client_that_reads_nothing_does_not_hold_it_up() {
    let text = "x".repeat(100_000);
    let upstream = FakeUpstream::in_turn([Reply::stream(vec![text.as_str(); 200])]).await;
    let mut scene = Scene::before(upstream, Arc::new(Semaphore::new(0)), "0.05").await;
    let stream = scene.client.open_stream(CHAT, KEY, &hello_streamed()).await;
    assert_eq!(scene.program.terminate().await.code(), Some(0));
    assert_eq!(scene.query(REQUESTS).len(), 1);
    drop(stream);
}

#[actix_web::test]
async fn a_signal_while_the_configuration_is_fetched_ends_it() {
    let store = FakeUpstream::in_turn([Reply::never_answer()]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path(), &[("CONFIG_URL", &store.url("/api.yaml"))]);
    store.wait_for_requests(1).await;
    assert_eq!(program.terminate().await.code(), Some(143));
}

/// The system hands no signal to the first process of a container that does not listen for it.
#[actix_web::test]
async fn as_the_first_process_of_a_container_it_listens_all_the_same() {
    let unshare = |program: &str| {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", program]);
        command
    };
    if !unshare("/bin/true").status().await.is_ok_and(|status| status.success()) {
        return println!("skipped: there are no namespaces here");
    }
    let (folder, upstream) = (tempfile::tempdir().unwrap(), FakeUpstream::start().await);
    let document = json!({"providers": [channel("up", &upstream)], "api_keys": [{"api": KEY}]});
    std::fs::write(folder.path().join("api.yaml"), document.to_string()).unwrap();
    for (signals, code) in [(["HUP", "TERM"], 0), (["HUP", "INT"], 0)] {
        let mut program = Program::start_as(unshare(env!("CARGO_BIN_EXE_uni-api")), folder.path(), &[]);
        program.client().await;
        let parent = program.pid();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        for signal in signals {
            let kill = Command::new("kill").args([&format!("-{signal}"), children.trim()]).status().await;
            assert!(kill.unwrap().success());
            if signal == "HUP" {
                program.says("says what it said before").await;
            }
        }
        assert_eq!(program.ends().await.code(), Some(code));
    }
}

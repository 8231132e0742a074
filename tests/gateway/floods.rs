//! Clients that are slow, silent, too many or too much: each runs into a limit, and nobody else notices.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Answer, CHAT, Connection, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, gateway::eventually, hello,
    hello_streamed, with, within_patience,
};

/// Longer than a test takes.
const LONG: u64 = 600;

/// A gateway where one of these limits is short, and no other counts.
async fn with_limits(upstream: &FakeUpstream, limits: Value) -> Gateway {
    let long = json!({"header_timeout": LONG, "idle_timeout": LONG, "body_timeout": LONG, "send_timeout": LONG});
    Setup::new([channel("up", upstream)]).preferences(json!({"connections": with(long, limits)})).start().await
}

/// Sends a byte again and again until the gateway closes the connection, and gives what it answered before.
async fn drip(mut connection: Connection, bytes: &[u8]) -> Option<Answer> {
    let sending = async {
        loop {
            connection.send_raw(bytes).await;
            if connection.has_more_within(Duration::from_millis(20)).await {
                return;
            }
        }
    };
    within_patience("an answer, or the end", sending).await;
    connection.answer().await
}

fn post_head(length: &str) -> String {
    format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n{length}\r\n\r\n")
}

fn is_in_shape(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)), "{:?}", answer.body);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(answer.headers.say_close());
}

#[actix_web::test]
async fn who_says_nothing_is_told_so_and_closed() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_limits(&upstream, json!({"header_timeout": 0.2})).await;
    let mut silent = gateway.client().connect().await;
    is_in_shape(&silent.answer().await.expect("an answer"), 408, "request_timeout");
    silent.closed().await;
    gateway.stop().await;
}

#[actix_web::test]
async fn a_head_that_comes_byte_by_byte_is_not_waited_for() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_limits(&upstream, json!({"header_timeout": 0.2})).await;
    let mut connection = gateway.client().connect().await;
    connection.send_raw("GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    let answer = drip(connection, b"a").await.expect("an answer");
    is_in_shape(&answer, 408, "request_timeout");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_second_head_that_does_not_end_is_not_waited_for() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_limits(&upstream, json!({"idle_timeout": 0.2})).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::get("/healthz")).await;
    assert_eq!(connection.answer().await.expect("an answer").status, 200);
    assert!(drip(connection, b"G").await.is_none());
    gateway.stop().await;
}

#[actix_web::test]
async fn an_idle_connection_is_closed() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_limits(&upstream, json!({"idle_timeout": 0.2})).await;
    let mut connection = gateway.client().connect().await;
    for _ in 0..3 {
        connection.send(&Request::post(CHAT).key(KEY).json(&hello_streamed())).await;
        assert!(connection.answer().await.expect("an answer").complete);
    }
    connection.closed().await;
    gateway.stop().await;
}

#[actix_web::test]
async fn a_body_that_comes_byte_by_byte_is_not_waited_for() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_limits(&upstream, json!({"body_timeout": 0.3})).await;
    for (framing, bytes) in [("content-length: 1000000", &b"x"[..]), ("transfer-encoding: chunked", b"1\r\nx\r\n")] {
        let mut connection = gateway.client().connect().await;
        connection.send_raw(post_head(framing)).await;
        let answer = drip(connection, bytes).await.expect("an answer");
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (408, &json!("request_timeout")));
    }
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn a_chunk_extension_without_end_is_not_waited_for() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_limits(&upstream, json!({"body_timeout": 0.3})).await;
    let mut connection = gateway.client().connect().await;
    connection.send_raw(post_head("transfer-encoding: chunked")).await;
    connection.send_raw("1;").await;
    assert_eq!(drip(connection, b"a").await.expect("an answer").status, 408);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_body_nobody_wants_is_not_read_forever() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_limits(&upstream, json!({"idle_timeout": 0.3})).await;
    let mut connection = gateway.client().connect().await;
    let without_key = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    connection.send_raw(without_key).await;
    assert_eq!(connection.answer().await.expect("an answer").status, 401);
    assert!(drip(connection, b"1\r\nx\r\n").await.is_none());
    gateway.stop().await;
}

#[actix_web::test]
async fn heads_of_any_length_are_refused() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_limits(&upstream, json!({})).await;
    let get = "GET /healthz HTTP/1.1\r\nhost: x\r\n";
    let mut lines = String::new();
    for line in 0..10_000 {
        lines.push_str(&format!("x-{line}: a\r\n"));
    }
    for head in [
        format!("{get}{lines}\r\n"),
        format!("{get}x-long: {}", "a".repeat(1_000_000)),
        format!("GET /{}", "a".repeat(1_000_000)),
    ] {
        // What is not read is answered with a reset, which may be faster than the answer.
        if let Some(answer) = gateway.client().raw(head).await {
            assert_eq!(answer.status, 431);
        }
    }
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.stop().await;
}

/// Answers with far more text than fits into the buffers of a connection.
async fn talkative() -> FakeUpstream {
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": "many words ".repeat(5_000)}}]});
    FakeUpstream::in_turn([Reply::sse(vec![format!("data: {chunk}\n\n"); 400])]).await
}

#[actix_web::test]
async fn who_does_not_read_a_stream_is_cut_off_and_so_is_the_upstream() {
    let upstream = talkative().await;
    let gateway = with_limits(&upstream, json!({"send_timeout": 0.3})).await;
    let stream = gateway.open(&hello_streamed()).await;
    upstream.wait_for_disconnect().await;
    let answer = stream.rest().await;
    let end = &answer.text()[answer.text().len().saturating_sub(300)..];
    assert!(!answer.complete && !answer.text().contains("[DONE]"), "{} bytes: {end}", answer.body.len());
    gateway.stop().await;
}

#[actix_web::test]
async fn who_does_not_read_a_whole_answer_is_cut_off() {
    let text = "many words ".repeat(2_000_000);
    let upstream = FakeUpstream::answering(move |_| Reply::chat(&text)).await;
    let gateway = with_limits(&upstream, json!({"send_timeout": 0.3})).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(CHAT).key(KEY).json(&hello())).await;
    eventually("the connection to be open", async || gateway.connections() == 1).await;
    eventually("the connection to be closed", async || gateway.connections() == 0).await;
    assert!(!connection.answer().await.is_some_and(|answer| answer.complete));
    gateway.stop().await;
}

/// However much the system would take in for it.
#[cfg(target_os = "linux")]
#[actix_web::test]
async fn who_reads_slowly_is_not_cut_off() {
    let text = "many words ".repeat(2_000_000);
    let upstream = FakeUpstream::answering(move |_| Reply::chat(&text)).await;
    let gateway = with_limits(&upstream, json!({"send_timeout": 0.5})).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(CHAT).key(KEY).json(&hello())).await;
    for _ in 0..60 {
        let mut left: usize = 20_000;
        while left > 0 {
            left -= connection.read_raw(left).await.expect("the connection to be open").len();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(gateway.connections(), 1);
    connection.hang_up();
    gateway.stop().await;
}

#[actix_web::test]
async fn a_slow_upstream_is_not_blamed_on_the_client() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(2));
    let upstream = FakeUpstream::in_turn([Reply::stream(["Hel", "lo"]).gate(gate.clone())]).await;
    let gateway =
        with_limits(&upstream, json!({"send_timeout": 0.1, "idle_timeout": 0.1, "header_timeout": 0.1})).await;
    let stream = gateway.open(&hello_streamed()).await;
    // Several times as long as any limit.
    tokio::time::sleep(Duration::from_millis(500)).await;
    gate.close();
    let answer = stream.rest().await;
    assert!(answer.complete && answer.text().contains("[DONE]"));
    gateway.stop().await;
}

#[actix_web::test]
async fn requests_without_a_reader_are_not_answered_on_and_on() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_limits(&upstream, json!({"idle_timeout": 1})).await;
    for request in ["OPTIONS / HTTP/1.1\r\nhost: x\r\n\r\n", "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let many = request.repeat(200);
        let mut connection = gateway.client().connect().await;
        let mut sent = 0;
        // The buffers of the system hold some megabytes; the gateway must not add to them for as long as it is asked.
        while connection.has_room_within(Duration::from_millis(500), many.as_bytes()).await {
            sent += many.len();
            assert!(sent < 30_000_000, "{request:?} is answered without end");
        }
        eventually("the connection to be closed", async || gateway.connections() == 0).await;
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn silent_connections_do_not_keep_others_waiting() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_limits(&upstream, json!({})).await;
    let mut silent = Vec::new();
    for _ in 0..2_000 {
        silent.push(gateway.client().connect().await);
    }
    eventually("all connections to be open", async || gateway.connections() == 2_000).await;
    let began = Instant::now();
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
    drop(silent);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_new_connection_takes_the_place_of_the_one_that_has_said_nothing_for_longest() {
    let upstream = FakeUpstream::start().await;
    let gateway = with_limits(&upstream, json!({"max": 3})).await;
    let mut idle = gateway.client().connect().await;
    idle.send(&Request::get("/healthz")).await;
    assert_eq!(idle.answer().await.expect("an answer").status, 200);
    let mut silent = Vec::new();
    for count in [2, 3] {
        silent.push(gateway.client().connect().await);
        eventually("it to be open", async || gateway.connections() == count).await;
    }
    let mut others = Vec::new();
    for silent in silent {
        let mut new = gateway.client().connect().await;
        silent.closed().await;
        new.send(&Request::get("/healthz")).await;
        assert_eq!(new.answer().await.expect("an answer").status, 200);
        eventually("the old one to be gone", async || gateway.connections() == 3).await;
        others.push(new);
    }
    idle.send(&Request::get("/healthz")).await;
    assert_eq!(idle.answer().await.expect("an answer").status, 200);
    gateway.stop().await;
}

#[actix_web::test]
async fn what_is_asked_over_too_many_connections_is_refused_and_nothing_under_way_is_cut() {
    let gates = [(); 2].map(|()| std::sync::Arc::new(tokio::sync::Semaphore::new(3)));
    let replies = gates.clone().map(|gate| Reply::stream(["Hel", "lo"]).gate(gate));
    let upstream = FakeUpstream::in_turn(replies).await;
    let gateway = with_limits(&upstream, json!({"max": 2})).await;
    let streams = [gateway.open(&hello_streamed()).await, gateway.open(&hello_streamed()).await];
    let models = || Request::get("/v1/models").header("authorization", &format!("Bearer {KEY}"));
    // None of them takes the place of another one that is too many itself.
    let mut surplus = [(); 3].map(|()| None);
    for connection in &mut surplus {
        *connection = Some(gateway.client().connect().await);
    }
    for _ in 0..3 {
        is_in_shape(&gateway.client().request(models()).await, 503, "too_many_connections");
    }
    assert_eq!(gateway.client().request(Request::get("/healthz")).await.status, 200, "it lives");
    drop(surplus);
    gates.iter().for_each(|gate| gate.close());
    for stream in streams {
        assert!(stream.rest().await.complete);
    }
    eventually("a place to be free", async || gateway.client().request(models()).await.status == 200).await;
    gateway.stop().await;
}

#[cfg(target_os = "linux")]
#[actix_web::test]
async fn a_stream_that_nobody_reads_takes_no_memory() {
    use crate::support::Program;

    const STREAMS: u64 = 4;
    let upstream = talkative().await;
    let folder = tempfile::tempdir().unwrap();
    let configuration = json!({"providers": [channel("up", &upstream)], "api_keys": [{"api": KEY}]});
    std::fs::write(folder.path().join("api.yaml"), configuration.to_string()).unwrap();
    let mut program = Program::start(folder.path(), &[("DISABLE_DATABASE", "true")]);
    let client = program.client().await;
    assert!(client.open_stream(CHAT, KEY, &hello_streamed()).await.next_event().await.is_some());
    let before = program.resident_kib();
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = client.open_stream(CHAT, KEY, &hello_streamed()).await;
        assert!(stream.next_event().await.is_some());
        streams.push(stream);
    }
    upstream.wait_for_requests(usize::try_from(STREAMS).unwrap() + 1).await;
    // Each stream has 22 MB to say; whatever is taken in advance would be taken by now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let growth = program.resident_kib().saturating_sub(before) / STREAMS;
    assert!(growth < 1_000, "{growth} KiB for each stream");
    assert_eq!(client.request(Request::get("/healthz")).await.status, 200);
    drop(streams);
    assert_eq!(program.terminate().await.code(), Some(0));
}

#[cfg(target_os = "linux")]
#[actix_web::test]
async fn a_flood_does_not_use_up_the_files_of_the_process() {
    use crate::support::Program;
    use tokio::process::Command;

    let upstream = FakeUpstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let configuration = json!({"providers": [channel("up", &upstream)], "api_keys": [{"api": KEY}]});
    std::fs::write(folder.path().join("api.yaml"), configuration.to_string()).unwrap();
    let mut command = Command::new("sh");
    // The soft limit is what the gateway raises to the hard one.
    command.args(["-c", "ulimit -Hn 428; ulimit -Sn 100; exec \"$0\"", env!("CARGO_BIN_EXE_uni-api")]);
    let mut program = Program::start_as(command, folder.path(), &[("DISABLE_DATABASE", "true")]);
    let client = program.client().await;
    let mut silent = Vec::new();
    for round in 0..10 {
        for _ in 0..100 {
            silent.push(client.connect().await);
        }
        let answer = within_patience("an answer", client.post_json(CHAT, KEY, &hello())).await;
        assert_eq!(answer.status, 200, "round {round}");
    }
    drop(silent);
    assert_eq!(program.terminate().await.code(), Some(0));
    let log = program.rest_of_log().await;
    assert!(!log.iter().any(|line| line.contains("open files")), "{log:?}");
}

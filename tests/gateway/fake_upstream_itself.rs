//! The fake upstream and the client against each other: a test that stands on them may trust them.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    Answer, Client, Connection, FakeUpstream, OpenStream, Received, Reply, Request, refusing_address,
};

const PATH: &str = "/v1/chat/completions";

async fn ask(upstream: &FakeUpstream, body: Value) -> Answer {
    Client::new(upstream.address()).post_json(PATH, "sk-test", &body).await
}

/// A request under way, for a client that does not wait for its answer.
async fn ask_and_keep(upstream: &FakeUpstream) -> Connection {
    let mut connection = Client::new(upstream.address()).connect().await;
    connection.send(&Request::post(PATH).json(&json!({}))).await;
    connection
}

async fn ask_stream(upstream: &FakeUpstream) -> OpenStream {
    Client::new(upstream.address()).open_stream(PATH, "sk-test", &json!({"stream": true})).await
}

/// What one reply looks like to a client.
async fn answer_to(reply: Reply) -> Answer {
    let upstream = FakeUpstream::in_turn([reply]).await;
    ask(&upstream, json!({"model": "gpt-4o", "stream": true})).await
}

fn content_of(answer: &Answer) -> String {
    let events = answer.events();
    let chunks = events.iter().filter(|event| *event != "[DONE]").map(|event| serde_json::from_str(event).unwrap());
    chunks.filter_map(|chunk: Value| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect()
}

#[actix_web::test]
async fn a_healthy_upstream_answers_whole_and_streamed() {
    let upstream = FakeUpstream::start().await;
    let whole = ask(&upstream, json!({"model": "gpt-4o"})).await;
    assert_eq!((whole.status, whole.complete), (200, true));
    assert_eq!(whole.header("Content-Type"), Some("application/json"));
    assert_eq!(whole.json()["model"], "gpt-4o");
    assert_eq!(whole.json()["choices"][0]["message"]["content"], "Hello");
    assert_eq!(whole.json()["usage"], json!({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}));

    let streamed = ask(&upstream, json!({"model": "gpt-4o", "stream": true})).await;
    assert!(streamed.complete);
    assert_eq!(content_of(&streamed), "Hello");
    assert_eq!(streamed.events().len(), 5);
    assert_eq!(streamed.events().last().unwrap(), "[DONE]");
    assert!(!streamed.text().contains("usage"));
}

#[actix_web::test]
async fn usage_is_streamed_on_request() {
    let upstream = FakeUpstream::start().await;
    let body = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = ask(&upstream, body).await.events();
    let chunk: Value = serde_json::from_str(&events[4]).unwrap();
    assert_eq!(chunk["usage"]["total_tokens"], 12);
    assert_eq!(chunk["choices"], json!([]));
    assert_eq!(events.len(), 6);
}

#[actix_web::test]
async fn what_was_received_is_kept() {
    let upstream = FakeUpstream::start().await;
    let client = Client::new(upstream.address());
    client
        .request(Request::post("/v1/embeddings?alt=sse").key("sk-1").header("X-Two", "b").json(&json!({"a": 1})))
        .await;
    client.request(Request::new("DELETE", "/v1/files/7")).await;
    client.raw("POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await.unwrap();

    let received = upstream.received();
    assert_eq!((&*received[0].method, &*received[0].path, &*received[0].query), ("POST", "/v1/embeddings", "alt=sse"));
    assert_eq!(received[0].json(), json!({"a": 1}));
    assert_eq!((received[0].bearer(), received[0].header("x-two")), (Some("sk-1"), Some("b")));
    assert_eq!((&*received[1].method, received[1].bearer(), received[1].connection), ("DELETE", None, 1));
    assert_eq!(&received[2].body[..], b"abcde");
    assert_eq!(upstream.url(PATH), format!("{}/chat/completions", upstream.base_url()));
}

#[actix_web::test]
async fn replies_come_in_turn_and_the_model_list_takes_none() {
    let upstream =
        FakeUpstream::in_turn([Reply::error(429, "slow down").header("retry-after", "2"), Reply::chat("b")]).await;
    upstream.set_models(["one", "two"]);
    let models = Client::new(upstream.address()).get("/v1/models", "sk-test").await;
    assert_eq!(models.json()["data"][1]["id"], "two");

    let refused = ask(&upstream, json!({})).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("2")));
    assert_eq!(refused.json()["error"]["message"], "slow down");
    for _ in 0..2 {
        assert_eq!(ask(&upstream, json!({})).await.json()["choices"][0]["message"]["content"], "b");
    }
}

#[actix_web::test]
async fn the_closure_decides() {
    let upstream = FakeUpstream::answering(|request: &Received| match request.bearer() {
        Some("sk-test") => Reply::body("text/plain", "yes").status(201),
        _ => Reply::models(["mine"]).content_type("application/x-list"),
    })
    .await;
    let answer = ask(&upstream, json!({})).await;
    assert_eq!((answer.status, answer.text()), (201, "yes"));
    let models = Client::new(upstream.address()).get("/v1/models", "other").await;
    assert_eq!(
        (models.header("content-type"), &models.json()["data"][0]["id"]),
        (Some("application/x-list"), &json!("mine"))
    );
    assert_eq!(models.headers.all("content-type").len(), 1);
}

#[actix_web::test]
async fn one_connection_serves_many_requests() {
    let upstream =
        FakeUpstream::in_turn([Reply::chat("a"), Reply::stream(["b"]), Reply::chat("c").header("connection", "close")])
            .await;
    let mut connection = Client::new(upstream.address()).connect().await;
    for _ in 0..3 {
        connection.send(&Request::post(PATH).json(&json!({}))).await;
        assert!(connection.answer().await.unwrap().complete);
    }
    connection.closed().await;
    assert_eq!(upstream.accepted_connections(), 1);
    upstream.wait_for_open_connections(0).await;
    assert_eq!(upstream.disconnects(), 0);
}

#[actix_web::test]
async fn the_pool_of_awc_keeps_the_connection() {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let upstream = FakeUpstream::start().await;
    let client = awc::Client::new();
    for streams in [false, true, false] {
        let mut response = client.post(upstream.url(PATH)).send_json(&json!({"stream": streams})).await.unwrap();
        response.body().await.unwrap();
    }
    assert_eq!((upstream.received().len(), upstream.accepted_connections(), upstream.open_connections()), (3, 1, 1));
}

#[actix_web::test]
async fn a_stream_is_cut_between_events() {
    let answer = answer_to(Reply::stream(["Hel", "lo"]).cut_after(2)).await;
    assert_eq!((answer.complete, answer.reset), (false, false));
    assert_eq!((answer.events().len(), content_of(&answer)), (2, "Hel".to_owned()));
}

#[actix_web::test]
async fn a_stream_is_reset() {
    let answer = answer_to(Reply::stream(["Hel", "lo"]).reset_after(2)).await;
    assert_eq!((answer.complete, answer.reset), (false, true));
    assert_eq!(content_of(&answer), "Hel");
}

#[actix_web::test]
async fn a_body_is_cut_at_any_byte() {
    let whole = answer_to(Reply::stream(["Hel", "lo"])).await.body;
    for at in 0..=whole.len() {
        let answer = answer_to(Reply::stream(["Hel", "lo"]).cut_at_byte(at)).await;
        assert_eq!((&answer.body, answer.complete), (&whole.slice(..at), false));
    }
    let answer = answer_to(Reply::chat("Hello").cut_at_byte(9)).await;
    assert_eq!((answer.body.len(), answer.complete), (9, false));
}

#[actix_web::test]
async fn a_lie_about_the_length_is_an_incomplete_body() {
    let answer = answer_to(Reply::json(200, json!({"a": 1})).content_length_lie(100)).await;
    assert_eq!((answer.text(), answer.complete, answer.reset), (r#"{"a":1}"#, false, false));
}

#[actix_web::test]
async fn a_stream_can_lack_its_done_and_its_length() {
    let answer = answer_to(Reply::stream(["Hello"]).without_done().until_close()).await;
    assert_eq!((content_of(&answer), answer.complete), ("Hello".to_owned(), true));
    assert_eq!(answer.events().len(), 3);
    assert_eq!((answer.header("transfer-encoding"), answer.header("content-length")), (None, None));
}

#[actix_web::test]
async fn events_go_out_verbatim() {
    let answer = answer_to(Reply::sse([": ping\n\n", "event: a\r\ndata: 1\r\ndata:2\r\n\r\n", "data: no end"])).await;
    assert_eq!(answer.events(), [": ping", "1\n2"]);
    assert!(answer.text().ends_with("\r\n\r\ndata: no end"));

    let upstream =
        FakeUpstream::in_turn([Reply::sse_text("event: a\ndata: 1\n\ndata: 2\n\nrest").stall_after(2)]).await;
    let mut stream = ask_stream(&upstream).await;
    assert_eq!(stream.headers.get("content-type"), Some("text/event-stream"));
    assert_eq!(stream.next_block().await.unwrap(), "event: a\ndata: 1");
    assert_eq!(stream.next_event().await.unwrap(), "2");
}

#[actix_web::test]
async fn raw_bytes_are_all_there_is() {
    let upstream = FakeUpstream::in_turn([Reply::raw("SSH-2.0-none\r\n"), Reply::close_without_answer()]).await;
    let mut connection = ask_and_keep(&upstream).await;
    let mut bytes = Vec::new();
    while let Some(byte) = connection.read_raw(1).await {
        assert_eq!(byte.len(), 1);
        bytes.extend_from_slice(&byte);
    }
    assert_eq!(bytes, b"SSH-2.0-none\r\n");
    assert!(Client::new(upstream.address()).raw("GET / HTTP/1.1\r\n\r\n").await.is_none());
}

#[actix_web::test]
async fn a_connection_ends_without_an_answer() {
    let upstream = FakeUpstream::in_turn([Reply::close_without_answer(), Reply::reset_without_answer()]).await;
    for _ in 0..2 {
        assert!(ask_and_keep(&upstream).await.answer().await.is_none());
    }
    upstream.wait_for_open_connections(0).await;
    assert_eq!((upstream.received().len(), upstream.disconnects()), (2, 0));
    assert!(tokio::net::TcpStream::connect(refusing_address().await).await.is_err());
}

#[actix_web::test]
async fn a_client_that_leaves_is_noticed_wherever_it_waits() {
    let gate = Arc::new(Semaphore::new(0));
    let replies = [
        Reply::never_answer(),
        Reply::chat("a").gate_head(Arc::clone(&gate)),
        Reply::chat("a").gate(Arc::clone(&gate)),
        Reply::chat("a").delay_head(Duration::from_secs(3600)),
        Reply::stream(["Hel", "lo"]).stall_after(2),
    ];
    for (nth, reply) in replies.into_iter().enumerate() {
        let upstream = FakeUpstream::in_turn([reply]).await;
        let connection = ask_and_keep(&upstream).await;
        upstream.wait_for_requests(1).await;
        assert_eq!((upstream.open_connections(), upstream.disconnects()), (1, 0));
        if nth % 2 == 0 {
            connection.hang_up()
        } else {
            connection.reset()
        }
        upstream.wait_for_disconnect().await;
        assert_eq!((upstream.open_connections(), upstream.disconnects()), (0, 1));
    }
}

#[actix_web::test]
async fn a_client_that_leaves_a_stream_is_noticed() {
    let upstream = FakeUpstream::in_turn([Reply::stream(["Hel", "lo"]).stall_after(2)]).await;
    let (mut first, second) = (ask_stream(&upstream).await, ask_stream(&upstream).await);
    assert_eq!(first.status, 200);
    first.next_event().await.unwrap();
    first.hang_up();
    upstream.wait_for_disconnects(1).await;
    assert_eq!(upstream.open_connections(), 1);
    second.reset();
    upstream.wait_for_disconnects(2).await;
}

#[actix_web::test]
async fn a_gate_lets_through_one_event_at_a_time() {
    let (head_gate, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let reply = Reply::stream(["Hel", "lo"]).gate_head(Arc::clone(&head_gate)).gate(Arc::clone(&gate));
    let upstream = FakeUpstream::in_turn([reply]).await;
    head_gate.add_permits(1);
    let mut stream = ask_stream(&upstream).await;
    for _ in 0..3 {
        gate.add_permits(1);
        stream.next_event().await.unwrap();
        assert_eq!(gate.available_permits(), 0);
    }
    gate.close();
    let rest = stream.rest().await;
    assert_eq!((rest.events().len(), rest.complete), (2, true));
}

#[actix_web::test]
async fn the_body_is_cut_anew() {
    let whole = answer_to(Reply::stream(["Hel", "lo"])).await.body;
    for size in [1, 7, 10_000] {
        let gate = Arc::new(Semaphore::new(1000));
        let reply = Reply::stream(["Hel", "lo"]).split_every(size).gate(Arc::clone(&gate));
        assert_eq!(answer_to(reply).await.body, whole);
        assert_eq!(1000 - gate.available_permits(), whole.len().div_ceil(size));
    }
    let whole = answer_to(Reply::chat("Hello").split_every(3)).await;
    assert!(whole.complete);
    assert_eq!(whole.json()["object"], "chat.completion");
}

#[actix_web::test]
async fn the_head_can_be_late() {
    let start = tokio::time::Instant::now();
    let answer = answer_to(Reply::chat("Hello").delay_head(Duration::from_millis(30))).await;
    assert!(answer.complete && start.elapsed() >= Duration::from_millis(30));
}

#[actix_web::test]
#[should_panic(expected = "a connection of the fake upstream has panicked")]
async fn broken_http_fails_the_test() {
    let upstream = FakeUpstream::start().await;
    assert!(Client::new(upstream.address()).raw("NONSENSE\r\n\r\n").await.is_none());
}

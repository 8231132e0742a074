//! Failures behind the commit point: the client sees everything that came, then an honest error.

use std::{sync::Arc, time::Duration};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    Answer, Client, FakeUpstream, Gateway, Received, Reply, Setup, channel, hello_streamed, upstream_key, with,
};

const TEXT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}]}\n\n";

/// All that a client gets of this reply from the only channel there is. The reply is held up after `events` until the
/// client has the beginning of the answer: what came together with it would still be tried elsewhere.
async fn answer_to(events: usize, reply: Reply) -> Answer {
    let gate = Arc::new(Semaphore::new(events));
    let upstream = FakeUpstream::in_turn([reply.gate(Arc::clone(&gate))]).await;
    let gateway = Setup::new([channel("up", &upstream)]).patience(Duration::from_millis(300)).start().await;
    let stream = gateway.open(&hello_streamed()).await;
    gate.close();
    let answer = stream.rest().await;
    gateway.all_settled().await;
    assert_eq!((gateway.health(0).failed(), gateway.health(0).succeeded()), (1, 0));
    gateway.stop().await;
    answer
}

/// The texts of a stream, then its one error; fails the test if there is anything else.
fn texts_then_error(answer: &Answer) -> (String, Value) {
    assert_eq!(answer.status, 200);
    assert!(answer.complete, "the chunked body ends as it should");
    let mut events = answer.events();
    let error: Value = serde_json::from_str(&events.pop().unwrap()).unwrap();
    let fields = error["error"].as_object().unwrap_or_else(|| panic!("no error at the end of {}", answer.text()));
    for field in ["message", "type", "param", "code"] {
        assert!(fields.contains_key(field), "{field} is missing in {error}");
    }
    (texts(&events), error)
}

fn texts(events: &[String]) -> String {
    let chunks = events.iter().map(|event| serde_json::from_str::<Value>(event).unwrap());
    chunks
        .map(|chunk| {
            assert!(chunk.get("error").is_none(), "{chunk}");
            chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
        })
        .collect()
}

#[actix_web::test]
async fn a_stream_that_breaks_ends_with_an_error_and_without_done() {
    for (what, reply, code) in [
        ("cut", Reply::stream(["Hel", "lo"]).cut_after(2), "upstream_cut_answer"),
        ("cut in an event", Reply::sse([TEXT, TEXT]).cut_at_byte(TEXT.len() + 20), "upstream_cut_answer"),
        ("reset", Reply::stream(["Hel", "lo"]).reset_after(2), "upstream_cut_answer"),
        ("stall", Reply::stream(["Hel", "lo"]).stall_after(2), "upstream_idle_timeout"),
        ("end", Reply::sse(["", TEXT]), "upstream_cut_answer"),
    ] {
        let (text, error) = texts_then_error(&answer_to(2, reply).await);
        assert_eq!((text.as_str(), &error["error"]["code"]), ("Hel", &json!(code)), "{what}");
        assert!(error["message"].as_str().unwrap().starts_with("up: "), "{error}");
    }
}

#[actix_web::test]
async fn an_error_event_of_the_upstream_is_the_last_event() {
    let error = "data: {\"error\":{\"message\":\"overloaded\",\"code\":\"busy\"}}\n\n";
    let (text, seen) = texts_then_error(&answer_to(1, Reply::sse([TEXT, error, "data: [DONE]\n\n"])).await);
    assert_eq!((text.as_str(), &seen["error"]["message"]), ("Hel", &json!("up: overloaded")));
    assert_eq!(seen["error"]["code"], "busy");
}

#[actix_web::test]
async fn a_malformed_chunk_is_not_forwarded() {
    for malformed in ["data: {\"choices\":[{\"ind\n\n", "data: <html>\n\n", "data: 7\n\n"] {
        let (text, error) = texts_then_error(&answer_to(1, Reply::sse([TEXT, malformed, TEXT])).await);
        assert_eq!((text.as_str(), &error["error"]["code"]), ("Hel", &json!("upstream_unreadable_answer")));
    }
}

#[actix_web::test]
async fn an_upstream_that_fell_silent_is_let_go() {
    let upstream = FakeUpstream::in_turn([Reply::stream(["Hel", "lo"]).stall_after(2)]).await;
    let gateway = Setup::new([channel("up", &upstream)]).patience(Duration::from_millis(100)).start().await;
    texts_then_error(&gateway.ask(&hello_streamed()).await);
    upstream.wait_for_disconnect().await;
    gateway.stop().await;
}

#[actix_web::test]
async fn a_broken_stream_is_not_tried_elsewhere() {
    let broken = FakeUpstream::in_turn([Reply::stream(["Hel", "lo"]).cut_after(2)]).await;
    let other = FakeUpstream::start().await;
    let gateway = Setup::new([channel("broken", &broken), channel("other", &other)]).fixed_priority().start().await;
    texts_then_error(&gateway.ask(&hello_streamed()).await);
    assert_eq!((broken.received().len(), other.received().len()), (1, 0));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_slow_stream_that_goes_on_is_not_cut() {
    // Longer in all than TIMEOUT, with pauses that are shorter.
    let gate = Arc::new(Semaphore::new(2));
    let slow = FakeUpstream::in_turn([Reply::stream(vec!["x"; 8]).gate(Arc::clone(&gate))]).await;
    let gateway = Setup::new([channel("slow", &slow)]).patience(Duration::from_millis(400)).start().await;
    let mut stream = gateway.open(&hello_streamed()).await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(75)).await;
        gate.add_permits(1);
        assert!(stream.next_event().await.is_some());
    }
    gate.close();
    assert!(stream.rest().await.text().ends_with("data: [DONE]\n\n"));
    gateway.stop().await;
}

/// What the `cut`, `split` and `crlf` of a request ask for, so that one upstream serves every case.
fn as_asked(request: &Received) -> Reply {
    let asked = request.json();
    let number = |name: &str| asked[name].as_u64().map(|number| usize::try_from(number).unwrap());
    let mut reply = Reply::stream(["Hel", "lo", " there"]);
    if let Some(size) = number("split") {
        reply = reply.split_every(size);
    }
    match number("cut") {
        Some(byte) => reply.cut_at_byte(byte),
        None => reply,
    }
}

/// The length of the stream that [`as_asked`] sends to the gateway.
async fn length_of(upstream: &FakeUpstream) -> usize {
    let as_the_gateway_asks = with(hello_streamed(), json!({"stream_options": {"include_usage": true}}));
    let whole = Client::new(upstream.address()).post_json("/v1/chat/completions", "sk", &as_the_gateway_asks).await;
    whole.body.len()
}

/// Whole, or with an error at its end; and nothing twice.
fn is_honest(answer: &Answer) -> bool {
    assert!(answer.complete);
    if answer.status != 200 {
        assert!(answer.json()["error"]["code"].is_string());
        return false;
    }
    let mut events = answer.events();
    if events.last().unwrap() == "[DONE]" {
        events.pop();
        assert!(events.last().unwrap().contains("\"stop\""), "{events:?}");
        assert_eq!(texts(&events), "Hello there");
        return true;
    }
    let (text, _) = texts_then_error(answer);
    assert!(["Hel", "Hello", "Hello there"].contains(&text.as_str()), "{text}");
    false
}

#[actix_web::test]
async fn wherever_a_stream_is_cut_the_client_is_not_deceived() {
    let upstream = FakeUpstream::answering(as_asked).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let length = length_of(&upstream).await;
    let mut whole = 0;
    for cut in 0..length {
        let answer = gateway.ask(&with(hello_streamed(), json!({"cut": cut}))).await;
        whole += usize::from(is_honest(&answer));
    }
    // Everything behind the finish reason may be missing: usage and [DONE].
    assert!(whole > 14 && whole < length / 2, "{whole} of {length} were whole");
    gateway.stop().await;
}

#[actix_web::test]
async fn wherever_a_stream_is_cut_another_channel_answers_before_the_commit_point() {
    let upstream = FakeUpstream::answering(|request| match request.bearer() {
        Some(key) if key == upstream_key("bad") => as_asked(request),
        _ => Reply::stream(["Hel", "lo", " there"]),
    })
    .await;
    let setup = Setup::new([channel("bad", &upstream), channel("good", &upstream)]).fixed_priority();
    let gateway = setup.start().await;
    let length = length_of(&upstream).await;
    for cut in (0..length).step_by(5) {
        let answer = gateway.ask(&with(hello_streamed(), json!({"cut": cut, "split": 16}))).await;
        assert_eq!(answer.status, 200, "cut at {cut}");
        is_honest(&answer);
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_is_the_same_however_the_network_splits_it() {
    let upstream = FakeUpstream::answering(as_asked).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let length = length_of(&upstream).await;
    let whole = gateway.ask(&hello_streamed()).await.body;
    let mut runner = TestRunner::new(Config::with_cases(40));
    for _ in 0..40 {
        let (split, cut) = (1..200usize, 0..length).new_tree(&mut runner).unwrap().current();
        let answer = gateway.ask(&with(hello_streamed(), json!({"split": split}))).await;
        assert_eq!(answer.body, whole, "pieces of {split}");
        is_honest(&gateway.ask(&with(hello_streamed(), json!({"split": split, "cut": cut}))).await);
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_of_empty_finish_reasons_that_is_cut_does_not_look_whole() {
    let chunk = r#"data: {"choices":[{"index":0,"delta":{"content":"half an ans"},"finish_reason":""}]}"#;
    let upstream = FakeUpstream::in_turn([Reply::sse([format!("{chunk}\n\n")])]).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let events = gateway.open(&hello_streamed()).await.rest().await.events();
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[1].contains("\"error\"") && !events.iter().any(|event| event == "[DONE]"), "{events:?}");
    gateway.stop().await;
}

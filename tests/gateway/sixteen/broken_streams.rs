//! The stream of the primary breaks, stalls, turns into nonsense, or ends without its last word.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{Answer, FakeUpstream, Gateway, Received, Reply, hello, hello_streamed, with};

use super::{alone, backed, text_and_error_of, text_of};

/// What an attempt came to, as the statistics have it.
const ATTEMPTS: &str = "SELECT provider || ' ' || success || ' ' || outcome AS line FROM channel_stats ORDER BY id";

fn tokens(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("t{number} ")).collect()
}

fn sixty_tokens() -> Reply {
    Reply::stream(tokens(60).iter().map(String::as_str))
}

/// The primary's reply, of which the first token is with the client before the rest is sent; a fallback that has
/// nothing to do with it; and the whole answer.
async fn answer_to(reply: Reply) -> (FakeUpstream, FakeUpstream, Gateway, Answer) {
    let gate = Arc::new(Semaphore::new(2));
    let primary = FakeUpstream::in_turn([reply.gate(Arc::clone(&gate)), Reply::stream(["Hel", "lo"])]).await;
    let fallback = FakeUpstream::start().await;
    let setup = backed(&primary, &fallback).preferences(json!({"model_timeout": 0.3})).with_database();
    let gateway = setup.start().await;
    let stream = gateway.open(&hello_streamed()).await;
    gate.close();
    let answer = stream.rest().await;
    (primary, fallback, gateway, answer)
}

#[actix_web::test]
async fn s08_stream_cut_in_the_middle() {
    let (primary, fallback, gateway, answer) = answer_to(sixty_tokens().cut_after(41)).await;
    let (text, error) = text_and_error_of(&answer);
    assert_eq!((text, &error["code"]), (tokens(40).concat(), &json!("upstream_cut_answer")));
    assert_eq!((primary.received().len(), fallback.received().len()), (1, 0));
    assert_eq!(gateway.query(ATTEMPTS).await, ["primary 0 upstream_cut_answer"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn s09_stream_stalls() {
    let started = Instant::now();
    let (primary, fallback, gateway, answer) = answer_to(sixty_tokens().stall_after(21)).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let (text, error) = text_and_error_of(&answer);
    assert_eq!((text, &error["code"]), (tokens(20).concat(), &json!("upstream_idle_timeout")));
    primary.wait_for_open_connections(0).await;
    gateway.all_settled().await;
    assert_eq!((gateway.health(0).failed(), gateway.health(0).in_flight()), (1, 0));

    assert_eq!(text_of(&gateway.ask(&hello_streamed()).await), "Hello");
    assert_eq!((primary.received().len(), fallback.received().len()), (2, 0));
    assert_eq!(gateway.query(ATTEMPTS).await, ["primary 0 upstream_idle_timeout", "primary 1 ok"]);
    gateway.stop().await;
}

fn chunk(content: &str) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": content}}]}))
}

#[actix_web::test]
async fn s10_malformed_chunk() {
    let malformed = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"bro\n\n".to_owned();
    let nine: Vec<String> = tokens(9).iter().map(|token| chunk(token)).collect();
    let events = [nine.clone(), vec![malformed.clone(), chunk("more")]].concat();
    let (primary, fallback, gateway, answer) = answer_to(Reply::sse(events)).await;
    let (text, error) = text_and_error_of(&answer);
    assert_eq!((text, &error["code"]), (tokens(9).concat(), &json!("upstream_unreadable_answer")));
    assert!(!answer.text().contains("bro\n"), "{}", answer.text());
    assert_eq!(text_of(&gateway.ask(&hello_streamed()).await), "Hello");
    assert_eq!((primary.received().len(), fallback.received().len()), (2, 0));
    gateway.stop().await;

    let primary = FakeUpstream::in_turn([Reply::sse([malformed, chunk("more")])]).await;
    let fallback = FakeUpstream::start().await;
    let gateway = backed(&primary, &fallback).start().await;
    assert_eq!(text_of(&gateway.ask(&hello_streamed()).await), "Hello");
    assert_eq!((primary.received().len(), fallback.received().len()), (1, 1));
    gateway.stop().await;
}

#[actix_web::test]
async fn s11_stream_without_done() {
    let (primary, fallback, gateway, answer) = answer_to(sixty_tokens().without_done()).await;
    assert_eq!(text_of(&answer), tokens(60).concat());
    assert_eq!((primary.received().len(), fallback.received().len()), (1, 0));
    let usage = "SELECT prompt_tokens || ' ' || completion_tokens || ' ' || total_tokens AS line FROM request_stats";
    assert_eq!(gateway.query(usage).await, ["7 5 12"]);
    assert_eq!(gateway.query(ATTEMPTS).await, ["primary 1 ok"]);
    gateway.stop().await;

    // Nor an end of the body: role, tokens, finish reason and usage are all.
    let started = Instant::now();
    let (_primary, _fallback, gateway, answer) = answer_to(sixty_tokens().without_done().stall_after(63)).await;
    assert_eq!(text_of(&answer), tokens(60).concat());
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(gateway.query(ATTEMPTS).await, ["primary 1 ok"]);
    gateway.stop().await;
}

/// Answers unless the last message is the beginning of an answer.
async fn without_prefill() -> FakeUpstream {
    FakeUpstream::answering(|request| match request.json()["messages"].as_array().unwrap().last() {
        Some(last) if last["role"] == "assistant" => Reply::error(400, "prefill is not supported"),
        _ => Reply::healthy(request),
    })
    .await
}

fn messages(request: &Received) -> Value {
    request.json()["messages"].clone()
}

#[actix_web::test]
async fn s14_fallback_rejects_prefill() {
    let gate = Arc::new(Semaphore::new(2));
    let primary = FakeUpstream::in_turn([sixty_tokens().cut_after(31).gate(Arc::clone(&gate))]).await;
    let fallback = without_prefill().await;
    let gateway = backed(&primary, &fallback).start().await;
    let stream = gateway.open(&hello_streamed()).await;
    gate.close();
    let answer = stream.rest().await;
    let (text, error) = text_and_error_of(&answer);
    assert_eq!((text, &error["code"]), (tokens(30).concat(), &json!("upstream_cut_answer")));
    assert!(!answer.text().contains("prefill"), "{}", answer.text());
    assert!(fallback.received().is_empty());
    gateway.stop().await;

    let asked = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]);
    for request in [hello(), hello_streamed()] {
        let primary = FakeUpstream::in_turn([Reply::close_without_answer()]).await;
        let fallback = without_prefill().await;
        let gateway = backed(&primary, &fallback).start().await;
        assert_eq!(text_of(&gateway.ask(&with(request, json!({"messages": asked}))).await), "Hello");
        assert_eq!(fallback.received().iter().map(messages).collect::<Vec<_>>(), std::slice::from_ref(&asked));
        gateway.stop().await;
    }

    // The beginning of an answer that the client itself has sent is its own affair.
    let primary = without_prefill().await;
    let gateway = alone(&primary).start().await;
    let prefilled = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hel"}]);
    let answer = gateway.ask(&with(hello(), json!({"messages": prefilled}))).await;
    assert_eq!((answer.status, &answer.json()["message"]), (400, &json!("prefill is not supported")));
    gateway.stop().await;
}

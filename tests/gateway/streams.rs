//! A streamed answer that goes well: what the client sees of what the upstream sent.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{FakeUpstream, Gateway, Reply, channel, hello_streamed, with};

const TEXT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Grüße, 世界 😀\"}}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5,\"total_tokens\":12}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// What a client gets of this reply when it did not ask for usage.
async fn seen_of(reply: Reply) -> String {
    let upstream = FakeUpstream::in_turn([reply]).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let answer = gateway.ask(&hello_streamed()).await;
    assert_eq!((answer.status, answer.complete), (200, true));
    gateway.stop().await;
    answer.text().to_owned()
}

#[actix_web::test]
async fn each_event_is_there_before_the_next_one_is_sent() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = FakeUpstream::in_turn([Reply::stream(["Hel", "lo"]).gate(Arc::clone(&gate))]).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    // The announcement of a role is no answer yet: it comes together with the first text.
    gate.add_permits(2);
    let mut stream = gateway.open(&hello_streamed()).await;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.headers.get("content-type"), Some("text/event-stream; charset=utf-8"));
    assert!(stream.next_event().await.unwrap().contains("assistant"));
    assert!(stream.next_event().await.unwrap().contains("Hel"));
    gate.add_permits(1);
    assert!(stream.next_event().await.unwrap().contains("lo"));
    gate.add_permits(1);
    assert!(stream.next_event().await.unwrap().contains("stop"));
    gate.close();
    assert_eq!(stream.next_event().await.unwrap(), "[DONE]");
    assert_eq!(stream.next_event().await, None);
    assert!(stream.rest().await.complete);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_comes_back_byte_for_byte() {
    let sent = [": processing\n\n", "event: x\nid: 7\nretry: 10\n", TEXT, STOP, DONE].concat();
    assert_eq!(seen_of(Reply::sse_text(&sent)).await, sent);
    assert_eq!(seen_of(Reply::sse_text(&sent).split_every(1)).await, sent);
    assert_eq!(seen_of(Reply::sse_text(&sent).split_every(7)).await, sent);
    assert_eq!(seen_of(Reply::sse([sent.clone()])).await, sent);
    let old = format!("HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{sent}");
    assert_eq!(seen_of(Reply::raw(old)).await, sent);
}

#[actix_web::test]
async fn a_stream_with_crlf_comes_back_byte_for_byte() {
    let sent = [": processing\n\n", TEXT, STOP, DONE].concat().replace('\n', "\r\n");
    assert_eq!(seen_of(Reply::sse([sent.clone()])).await, sent);
    assert_eq!(seen_of(Reply::sse([sent.clone()]).split_every(1)).await, sent);
}

#[actix_web::test]
async fn comments_between_events_reach_the_client() {
    let sent = [TEXT, ": keep-alive\n\n", ": keep-alive\n\n", STOP, DONE].concat();
    assert_eq!(seen_of(Reply::sse_text(&sent)).await, sent);
}

#[actix_web::test]
async fn a_server_that_forgets_to_say_that_it_streams_is_understood() {
    let sent = [TEXT, STOP, DONE].concat();
    assert_eq!(seen_of(Reply::sse_text(&sent).content_type("text/plain")).await, sent);
    assert_eq!(seen_of(Reply::sse_text(&sent).content_type("application/json").split_every(1)).await, sent);
}

#[actix_web::test]
async fn what_an_upstream_sends_behind_done_is_not_forwarded() {
    let whole = [TEXT, STOP, DONE].concat();
    assert_eq!(seen_of(Reply::sse([whole.clone(), TEXT.to_owned()])).await, whole);
    assert_eq!(seen_of(Reply::sse([format!("{whole}{TEXT}")])).await, whole);
}

#[actix_web::test]
async fn usage_is_asked_for_and_kept_from_a_client_that_did_not_ask() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let answer = gateway.ask(&hello_streamed()).await;
    let sent = upstream.received()[0].json();
    assert_eq!(sent, with(hello_streamed(), json!({"stream_options": {"include_usage": true}})));
    let events = answer.events();
    assert_eq!(events.len(), 5, "{events:?}");
    let chunks: Vec<Value> = events[..4].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert!(chunks.iter().all(|chunk| chunk["choices"].as_array().unwrap().len() == 1));
    assert_eq!(events[4], "[DONE]");
    gateway.stop().await;
}

#[actix_web::test]
async fn usage_is_hidden_wherever_the_network_splits_it() {
    let (sent, seen) = ([TEXT, STOP, USAGE, DONE].concat(), [TEXT, STOP, DONE].concat());
    for size in [1, 2, 3, 64, 1000] {
        assert_eq!(seen_of(Reply::sse_text(&sent).split_every(size)).await, seen, "pieces of {size}");
    }
}

#[actix_web::test]
async fn usage_that_comes_with_text_is_not_hidden() {
    let stop = STOP.replace("\"stop\"}]", "\"stop\"}],\"usage\":{\"total_tokens\":3}");
    let sent = [TEXT, &stop, DONE].concat();
    assert_eq!(seen_of(Reply::sse_text(&sent)).await, sent);
}

#[actix_web::test]
async fn a_client_that_asks_for_usage_gets_it() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let asked = with(hello_streamed(), json!({"stream_options": {"include_usage": true}}));
    let answer = gateway.ask(&asked).await;
    assert_eq!(upstream.received()[0].body, asked.to_string());
    let events = answer.events();
    let usage: Value = serde_json::from_str(&events[4]).unwrap();
    assert_eq!((usage["usage"]["total_tokens"].as_i64(), events.len()), (Some(12), 6));
    gateway.stop().await;
}

#[actix_web::test]
async fn other_stream_options_survive() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let options = json!({"include_obfuscation": false, "include_usage": false});
    gateway.ask(&with(hello_streamed(), json!({"stream_options": options}))).await;
    let sent = upstream.received()[0].json();
    assert_eq!(sent["stream_options"], json!({"include_obfuscation": false, "include_usage": true}));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_channel_can_be_spared_the_question_for_usage() {
    let upstream = FakeUpstream::start().await;
    let spared = with(channel("up", &upstream), json!({"preferences": {"stream_usage": false}}));
    let gateway = Gateway::before([spared]).await;
    gateway.ask(&hello_streamed()).await;
    assert_eq!(upstream.received()[0].body, hello_streamed().to_string());
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_that_finishes_without_done_is_given_one() {
    assert_eq!(seen_of(Reply::sse_text(&[TEXT, STOP].concat())).await, [TEXT, STOP, DONE].concat());
    let whole = seen_of(Reply::stream(["Hel", "lo"]).without_done()).await;
    assert!(whole.ends_with(DONE) && whole.contains("\"stop\""), "{whole}");
}

#[actix_web::test]
async fn a_stream_of_several_choices_is_whole_when_all_have_finished() {
    let other = STOP.replace("\"index\":0", "\"index\":1");
    let upstream = FakeUpstream::in_turn([
        Reply::sse_text(&[TEXT, STOP].concat()),
        Reply::sse_text(&[TEXT, STOP, &other].concat()),
    ])
    .await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let asked = with(hello_streamed(), json!({"n": 2}));
    let half = gateway.ask(&asked).await;
    assert!(half.text().contains("\"error\"") && !half.text().contains("[DONE]"), "{}", half.text());
    let whole = gateway.ask(&asked).await;
    assert_eq!(whole.text(), [TEXT, STOP, &other, DONE].concat());
    gateway.stop().await;
}

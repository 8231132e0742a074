//! Comments for clients whose stream says nothing: `keepalive_interval`.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{CHAT, FakeUpstream, Gateway, KEY, Reply, Setup, channel, hello, hello_streamed, with};

const COMMENT: &str = ": keepalive";

/// A channel whose clients hear something every 30 ms.
fn chatty(name: &str, upstream: &FakeUpstream) -> Value {
    with(channel(name, upstream), json!({"preferences": {"keepalive_interval": 0.03}}))
}

fn closed() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

/// What is said beside comments.
fn without_comments(events: Vec<String>) -> Vec<String> {
    events.into_iter().filter(|event| event != COMMENT).collect()
}

#[actix_web::test]
async fn a_client_hears_something_before_the_upstream_answers() {
    let gate = closed();
    let slow = FakeUpstream::in_turn([
        Reply::stream(["Hel", "lo"]).gate_head(Arc::clone(&gate)),
        Reply::stream(["Hel", "lo"]),
    ])
    .await;
    let gateway = Setup::new([chatty("slow", &slow)]).with_database().start().await;
    let mut stream = gateway.open(&hello_streamed()).await;
    assert_eq!(stream.status, 200);
    for _ in 0..3 {
        assert_eq!(stream.next_event().await.as_deref(), Some(COMMENT));
    }
    gate.close();
    let answer = stream.rest().await;
    assert!(answer.complete);
    let plain = gateway.ask(&hello_streamed()).await;
    assert_eq!(without_comments(answer.events()), plain.events(), "nothing else is changed");
    assert_eq!(gateway.query("SELECT success || ' ' || status AS line FROM request_stats").await, ["1 200", "1 200"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_client_hears_something_between_two_events() {
    let gate = Arc::new(Semaphore::new(2));
    let slow = FakeUpstream::in_turn([Reply::stream(["Hel", "lo"]).gate(Arc::clone(&gate))]).await;
    let gateway = Gateway::before([chatty("slow", &slow)]).await;
    let mut stream = gateway.open(&hello_streamed()).await;
    let mut comments = 0;
    while comments < 3 {
        comments += usize::from(stream.next_event().await.expect("more events") == COMMENT);
    }
    gate.close();
    let answer = stream.rest().await;
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    gateway.stop().await;
}

#[actix_web::test]
async fn another_channel_answers_also_after_the_first_comment() {
    let gate = closed();
    let slow = FakeUpstream::in_turn([Reply::error(500, "down").gate_head(Arc::clone(&gate))]).await;
    let healthy = FakeUpstream::start().await;
    let gateway = Setup::new([chatty("slow", &slow), channel("healthy", &healthy)]).fixed_priority().start().await;
    let mut stream = gateway.open(&hello_streamed()).await;
    assert_eq!(stream.next_event().await.as_deref(), Some(COMMENT));
    gate.close();
    let events = without_comments(stream.rest().await.events());
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    assert_eq!(healthy.received().len(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_failure_behind_the_first_comment_is_told_in_band() {
    let gate = closed();
    let slow = FakeUpstream::answering({
        let gate = Arc::clone(&gate);
        move |_| Reply::error(400, "no such tool").gate_head(Arc::clone(&gate))
    })
    .await;
    let gateway = Setup::new([chatty("slow", &slow)]).with_database().start().await;
    let mut stream = gateway.open(&hello_streamed()).await;
    assert_eq!((stream.status, stream.next_event().await.as_deref()), (200, Some(COMMENT)));
    gate.close();
    let answer = stream.rest().await;
    let events = without_comments(answer.events());
    assert!(answer.complete && events.len() == 1, "no [DONE]: {events:?}");
    let error: Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!(
        (&error["error"]["code"], &error["error"]["message"]),
        (&json!("upstream_rejected"), &json!("no such tool"))
    );
    assert_eq!(gateway.query("SELECT success || ' ' || status AS line FROM request_stats").await, ["0 400"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_client_that_leaves_while_it_waits_takes_its_upstream_along() {
    let slow = FakeUpstream::in_turn([Reply::never_answer()]).await;
    let gateway = Gateway::before([chatty("slow", &slow)]).await;
    let mut stream = gateway.open(&hello_streamed()).await;
    assert_eq!(stream.next_event().await.as_deref(), Some(COMMENT));
    stream.hang_up();
    slow.wait_for_disconnect().await;
    gateway.all_settled().await;
    assert_eq!(gateway.health(0).cancelled(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn who_answers_in_time_or_is_not_streamed_is_left_alone() {
    let gate = closed();
    let slow = FakeUpstream::answering({
        let gate = Arc::clone(&gate);
        move |request| match request.json()["stream"].as_bool() {
            Some(true) => Reply::error(400, "no"),
            _ => Reply::chat("Hello").gate_head(Arc::clone(&gate)),
        }
    })
    .await;
    let gateway = Gateway::before([chatty("slow", &slow)]).await;
    assert_eq!(gateway.ask(&hello_streamed()).await.status, 400, "a failure in time has its status");
    let (client, request) = (gateway.client(), hello());
    let whole = client.post_json(CHAT, KEY, &request);
    let open = async {
        slow.wait_for_requests(2).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        gate.close();
    };
    let (whole, ()) = futures::join!(whole, open);
    assert_eq!(whole.json()["choices"][0]["message"]["content"], "Hello");
    gateway.stop().await;
}

#[actix_web::test]
async fn the_interval_may_depend_on_the_model_and_stand_at_the_top() {
    let slow =
        FakeUpstream::answering(|_| Reply::stream(["Hi"]).delay_head(std::time::Duration::from_millis(150))).await;
    let models = with(
        channel("slow", &slow),
        json!({"model": ["gpt-4o", "o3"], "preferences": {"keepalive_interval": {"o3": 0.03}}}),
    );
    let gateway = Setup::new([models.clone()]).start().await;
    let comments = async |gateway: &Gateway, model: &str| {
        let events = gateway.ask(&with(hello_streamed(), json!({"model": model}))).await.events();
        events.iter().filter(|event| *event == COMMENT).count()
    };
    assert!(comments(&gateway, "o3").await > 0);
    assert_eq!(comments(&gateway, "gpt-4o").await, 0);
    gateway.stop().await;
    let gateway = Setup::new([models]).preferences(json!({"keepalive_interval": 0.03})).start().await;
    assert!(comments(&gateway, "gpt-4o").await > 0);
    gateway.stop().await;
}

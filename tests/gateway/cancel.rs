//! A client that leaves takes its upstream request with it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::support::{CHAT, FakeUpstream, Gateway, KEY, Reply, Request, channel, hello, hello_streamed};

/// How soon the upstream must be rid of a request whose client has left.
const SOON: Duration = Duration::from_secs(1);

async fn before(reply: Reply) -> (FakeUpstream, Gateway) {
    let upstream = FakeUpstream::in_turn([reply, Reply::chat("Hello")]).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    (upstream, gateway)
}

/// The upstream request has ended, nobody was blamed for it, and the gateway goes on.
async fn is_cancelled(upstream: &FakeUpstream, gateway: Gateway) {
    timeout(SOON, upstream.wait_for_disconnect()).await.expect("the upstream request must end within a second");
    gateway.all_settled().await;
    let health = gateway.health(0);
    assert_eq!((health.cancelled(), health.failed(), health.succeeded()), (1, 0, 0));
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.stop().await;
}

async fn leaves_before_the_head(request: Value, with_reset: bool) {
    let (upstream, gateway) = before(Reply::never_answer()).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(CHAT).key(KEY).json(&request)).await;
    upstream.wait_for_requests(1).await;
    if with_reset {
        connection.reset()
    } else {
        connection.hang_up()
    }
    is_cancelled(&upstream, gateway).await;
}

#[actix_web::test]
async fn a_client_leaves_before_the_upstream_answers() {
    leaves_before_the_head(hello(), false).await;
    leaves_before_the_head(hello(), true).await;
}

#[actix_web::test]
async fn a_client_leaves_before_the_stream_begins() {
    leaves_before_the_head(hello_streamed(), false).await;
    leaves_before_the_head(hello_streamed(), true).await;
}

#[actix_web::test]
async fn a_client_leaves_while_the_whole_answer_comes_in() {
    let (upstream, gateway) = before(Reply::chat("Hello").stall_after(0)).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(CHAT).key(KEY).json(&hello())).await;
    upstream.wait_for_requests(1).await;
    connection.hang_up();
    is_cancelled(&upstream, gateway).await;
}

#[actix_web::test]
async fn a_client_leaves_in_mid_stream() {
    for with_reset in [false, true] {
        let gate = Arc::new(Semaphore::new(2));
        let (upstream, gateway) = before(Reply::stream(vec!["x"; 100]).gate(Arc::clone(&gate))).await;
        let mut stream = gateway.open(&hello_streamed()).await;
        stream.next_event().await.unwrap();
        gate.add_permits(1);
        stream.next_event().await.unwrap();
        if with_reset {
            stream.reset()
        } else {
            stream.hang_up()
        }
        is_cancelled(&upstream, gateway).await;
    }
}

#[actix_web::test]
async fn a_client_leaves_while_the_upstream_is_silent() {
    let (upstream, gateway) = before(Reply::stream(["Hel", "lo"]).stall_after(2)).await;
    let mut stream = gateway.open(&hello_streamed()).await;
    stream.next_event().await.unwrap();
    stream.hang_up();
    is_cancelled(&upstream, gateway).await;
}

#[actix_web::test]
async fn a_client_leaves_while_it_is_too_slow_for_the_stream() {
    let flood = vec!["x".repeat(64 * 1024); 400];
    let (upstream, gateway) = before(Reply::stream(flood.iter().map(String::as_str))).await;
    let mut stream = gateway.open(&hello_streamed()).await;
    stream.next_event().await.unwrap();
    // It reads no more, so both connections are full by now or soon.
    stream.hang_up();
    is_cancelled(&upstream, gateway).await;
}

#[actix_web::test]
async fn many_clients_leave_at_once_and_nothing_is_left() {
    let upstream = FakeUpstream::in_turn([Reply::never_answer()]).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let mut connections = Vec::new();
    for _ in 0..50 {
        let mut connection = gateway.client().connect().await;
        connection.send(&Request::post(CHAT).key(KEY).json(&hello())).await;
        connections.push(connection);
    }
    upstream.wait_for_requests(50).await;
    assert_eq!(gateway.health(0).in_flight(), 50);
    drop(connections);
    timeout(SOON, upstream.wait_for_open_connections(0)).await.expect("every upstream request must end");
    gateway.stop().await;
}

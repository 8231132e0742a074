//! Peers that are gone without a word.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{CHAT, FakeUpstream, KEY, PATIENCE, Reply, hello, hello_streamed, with};

use super::bystander::{code_of, soon_after};
use super::{Bystander, MANY, network, takes_its_time};

/// Of the gateway: an upstream that takes nothing for so long is gone, …
const UPSTREAM_GONE_AFTER: Duration = Duration::from_secs(20);
/// … and a client.
const CLIENT_GONE_AFTER: Duration = Duration::from_secs(60);
/// What the system's own timers may add.
const LATE: Duration = Duration::from_secs(15);
/// `TIMEOUT`, which is far behind.
const PATIENT: &str = "300";

/// The queue of its listener is full, and the packet that asks for a connection is dropped.
#[actix_web::test]
async fn a_connection_that_nobody_takes() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        queued.push(stream);
    }
    let gateway = Bystander::beside(&format!("http://{address}/v1"), "2").await;
    let started = Instant::now();
    for answer in gateway.ask_bad(vec![hello(); MANY]).await {
        assert!(["upstream_unreachable", "upstream_first_event_timeout"].contains(&code_of(&answer).as_str()));
    }
    assert!(started.elapsed() < soon_after(Duration::from_secs(2)), "{:?}", started.elapsed());
    gateway.end().await;
}

fn is_in_time(what: &str, took: Duration, limit: Duration) {
    println!("{what}: noticed after {took:?}");
    assert!(took < limit + LATE, "{what}: {took:?}");
}

#[actix_web::test]
async fn an_upstream_that_vanishes_is_noticed_long_before_the_time_limits() {
    if !network::entered("faults::half_open::an_upstream_that_vanishes_is_noticed_long_before_the_time_limits").await {
        return;
    }
    let bad = FakeUpstream::answering(|request| match request.json()["messages"][0]["content"].as_str() {
        Some("stall") => Reply::stream(["Hel", "lo"]).stall_after(2),
        Some("never") => Reply::never_answer(),
        _ => Reply::chat("Hello"),
    })
    .await;
    let says = |text: &str| json!({"messages": [{"role": "user", "content": text}], "model": "either"});
    let gateway = Bystander::beside(&bad.base_url(), PATIENT).await;
    // As many connections wait in the pool.
    for answer in gateway.ask_bad(vec![hello(); MANY]).await {
        assert_eq!(answer.status, 200);
    }
    let pooled = bad.open_connections();
    gateway.may_keep(pooled);
    let in_mid_stream = gateway.ask_patiently(with(hello_streamed(), says("stall")));
    let before_the_head = gateway.ask_patiently(with(hello(), says("never")));
    let over_the_pool = async {
        // The two before have a connection by then.
        bad.wait_for_requests(MANY + 2).await;
        network::lose_packets_from(bad.address().port()).await;
        let requests = (0..pooled.min(20)).map(|_| gateway.ask_patiently(with(hello(), says("Hi"))));
        join_all(requests).await
    };
    let all = async { tokio::join!(in_mid_stream, before_the_head, over_the_pool) };
    let ((stream, stream_took), (head, head_took), over_the_pool) = gateway.while_good(all).await;
    assert!(stream.contains("upstream_cut_answer") && !stream.contains("[DONE]"), "{stream}");
    is_in_time("a stream", stream_took, UPSTREAM_GONE_AFTER);
    // The other channel has answered.
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    is_in_time("a request without a head", head_took, UPSTREAM_GONE_AFTER);
    for (answer, took) in over_the_pool {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        is_in_time("a request over a pooled connection", took, UPSTREAM_GONE_AFTER);
    }
    gateway.end().await;
}

#[actix_web::test]
async fn a_client_that_vanishes_ends_its_request_upstream() {
    const TEST: &str = "faults::half_open::a_client_that_vanishes_ends_its_request_upstream";
    if !takes_its_time() {
        return println!("skipped: it takes a minute; LOAD=full runs it");
    }
    if !network::entered(TEST).await {
        return;
    }
    let bad = FakeUpstream::answering(|_| Reply::stream(["Hel", "lo"]).stall_after(2)).await;
    let gateway = Bystander::beside(&bad.base_url(), PATIENT).await;
    let mut streams = Vec::new();
    for _ in 0..MANY {
        gateway.count();
        let mut stream =
            gateway.client().open_stream(CHAT, KEY, &with(hello_streamed(), json!({"model": "bad"}))).await;
        stream.next_event().await.unwrap();
        streams.push(stream);
    }
    assert_eq!(bad.open_connections(), MANY);
    let started = Instant::now();
    network::lose_packets_to(gateway.address.port()).await;
    // Nobody can ask the gateway anything from now on.
    while bad.open_connections() > 0 {
        assert!(started.elapsed() < CLIENT_GONE_AFTER + LATE, "the upstream goes on and bills");
        tokio::time::sleep(PATIENCE / 100).await;
    }
    is_in_time("200 clients", started.elapsed(), CLIENT_GONE_AFTER);
    network::run("ip rule del pref 50").await;
    drop(streams);
    gateway.end().await;
}

//! Upstreams that fall silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{FakeUpstream, Reply, hello, hello_streamed, with};

use super::bystander::{code_of, soon_after};
use super::{Bystander, MANY, takes_its_time};

/// `TIMEOUT`: to the first event, and between events.
const LIMIT: Duration = Duration::from_secs(2);

async fn times_out(reply: Reply, request: Value, codes: &[&str]) {
    let bad = FakeUpstream::in_turn([reply]).await;
    let gateway = Bystander::beside(&bad.base_url(), "2").await;
    let started = Instant::now();
    let answers = gateway.ask_bad(vec![request; MANY]).await;
    let took = started.elapsed();
    assert!(LIMIT <= took && took < soon_after(LIMIT), "{took:?}");
    for answer in answers {
        let code = code_of(&answer);
        assert!(codes.contains(&code.as_str()), "{code}");
    }
    assert_eq!(bad.received().len(), MANY, "who is silent is not asked again by the same request");
    bad.wait_for_open_connections(0).await;
    gateway.end().await;
}

#[actix_web::test]
async fn an_upstream_that_never_answers() {
    times_out(Reply::never_answer(), hello(), &["upstream_first_event_timeout"]).await;
}

#[actix_web::test]
async fn a_head_and_then_nothing() {
    // Where the head comes at once, both limits of a stream end in the same moment.
    let either = ["upstream_first_event_timeout", "upstream_idle_timeout"];
    times_out(Reply::stream(["Hel", "lo"]).stall_after(0), hello_streamed(), &either).await;
    times_out(Reply::chat("Hello").stall_after(0), hello(), &["upstream_idle_timeout"]).await;
}

#[actix_web::test]
async fn a_chunk_and_then_nothing() {
    times_out(Reply::stream(["Hel", "lo"]).stall_after(2), hello_streamed(), &["upstream_idle_timeout"]).await;
}

/// More than the buffers of both systems hold, so that the gateway stands still in the middle of writing.
#[actix_web::test]
async fn an_upstream_that_reads_the_first_bytes_of_a_long_request_and_never_more() {
    const REQUESTS: usize = 4;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            stream.read_exact(&mut [0; 100]).await.unwrap();
            connections.push(stream);
        }
    });
    let gateway = Bystander::beside(&base_url, "3").await;
    let prompt = "x".repeat(6 * 1024 * 1024);
    let long = with(hello(), json!({"messages": [{"role": "user", "content": prompt}]}));
    let started = Instant::now();
    for answer in gateway.ask_bad(vec![long; REQUESTS]).await {
        assert_eq!(code_of(&answer), "upstream_first_event_timeout");
    }
    assert!(started.elapsed() < soon_after(Duration::from_secs(3)) + Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(open.load(Ordering::Relaxed), REQUESTS);
    gateway.end().await;
}

/// Its system takes in the beginning, and its program reads when it has done with what came before.
#[actix_web::test]
async fn an_upstream_that_is_busy_for_long_answers_a_long_request_in_the_end() {
    if !takes_its_time() {
        return println!("skipped: it takes half a minute; LOAD=full runs it");
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let gateway = Bystander::beside(&base_url, "60").await;
    let prompt = "x".repeat(6 * 1024 * 1024);
    let long = with(hello(), json!({"messages": [{"role": "user", "content": prompt}]}));
    let served = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0, "it was given up");
        }
        let body = r#"{"choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}"#;
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes()).await.unwrap();
    };
    let asking = gateway.ask_patiently(with(long, json!({"model": "bad"})));
    let ((answer, _), ()) = gateway.while_good(futures::future::join(asking, served)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    gateway.end().await;
}

//! Upstreams that reset connections.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{FakeUpstream, Reply, hello, hello_streamed};

use super::bystander::code_of;
use super::{Bystander, MANY};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";

/// All requests of an upstream that answers like this fail, with one of these codes.
async fn fails(what: &str, reply: Reply, codes: &[&str]) {
    let bad = FakeUpstream::in_turn([reply]).await;
    let gateway = Bystander::beside(&bad.base_url(), "5").await;
    let requests = (0..MANY).map(|number| if number % 2 == 0 { hello() } else { hello_streamed() });
    let answers = gateway.ask_bad(requests.collect()).await;
    for answer in &answers {
        let code = code_of(answer);
        assert!(codes.contains(&code.as_str()), "{what}: {}: {}", answer.status, answer.text());
    }
    assert!(bad.received().len() >= 3, "{what}: the upstream was not asked");
    bad.wait_for_open_connections(0).await;
    gateway.end().await;
}

#[actix_web::test]
async fn a_reset_before_the_head() {
    fails("before", Reply::reset_without_answer(), &["upstream_connection_lost", "no_channel_available"]).await;
}

#[actix_web::test]
async fn a_reset_in_the_head_or_the_body() {
    let codes = ["upstream_connection_lost", "upstream_cut_answer", "no_channel_available"];
    fails("in the head", Reply::raw("HTTP/1.1 200 OK\r\ncontent-ty").reset_after(1), &codes).await;
    fails("in the body", Reply::raw(format!("{HEAD}{{\"id\":")).reset_after(1), &codes).await;
}

#[actix_web::test]
async fn a_reset_in_mid_stream() {
    let bad = FakeUpstream::in_turn([Reply::stream(["Hel", "lo"]).reset_after(2)]).await;
    let gateway = Bystander::beside(&bad.base_url(), "5").await;
    for answer in gateway.ask_bad(vec![hello_streamed(); MANY]).await {
        assert!(["upstream_cut_answer", "no_channel_available"].contains(&code_of(&answer).as_str()));
    }
    bad.wait_for_open_connections(0).await;
    gateway.end().await;
}

/// Takes every connection and hands it to `serve`.
async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    base_url
}

#[actix_web::test]
async fn a_reset_as_soon_as_it_is_connected() {
    let base_url = listen(async |stream: TcpStream| stream.set_zero_linger()).await;
    let gateway = Bystander::beside(&base_url, "5").await;
    for answer in gateway.ask_bad(vec![hello(); MANY]).await {
        let code = code_of(&answer);
        assert!(
            ["upstream_connection_lost", "upstream_unreachable", "no_channel_available"].contains(&code.as_str()),
            "{code}"
        );
    }
    gateway.end().await;
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        if stream.read_buf(&mut request).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Something on the way forgets connections that are idle, as balancers do, and resets whoever uses one again.
#[actix_web::test]
async fn a_pool_full_of_dead_connections_costs_no_request_its_answer() {
    let resets = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&resets);
    let is_dying = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let dying = Arc::clone(&is_dying);
    let base_url = listen(move |mut stream: TcpStream| {
        let (counted, is_dying) = (Arc::clone(&counted), Arc::clone(&dying));
        async move {
            const BODY: &str = r#"{"choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
                BODY.len()
            );
            let dies = is_dying.load(Ordering::Relaxed);
            loop {
                read_request(&mut stream).await?;
                stream.write_all(answer.as_bytes()).await?;
                if dies {
                    stream.readable().await?;
                    counted.fetch_add(1, Ordering::Relaxed);
                    return stream.set_zero_linger();
                }
            }
        }
    })
    .await;
    let gateway = Bystander::beside(&base_url, "5").await;
    // Asked at once, they leave as many connections in the pool.
    let all_answered = |answers: Vec<crate::support::Answer>| {
        for answer in answers {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    };
    all_answered(gateway.ask_bad(vec![hello(); MANY]).await);
    is_dying.store(false, Ordering::Relaxed);
    // One after the other, each would meet only dead ones.
    for _ in 0..5 {
        all_answered(vec![gateway.ask("bad", hello()).await]);
    }
    all_answered(gateway.while_good(join_all((0..MANY).map(|_| gateway.ask("bad", hello())))).await);
    println!("{} dead connections were met", resets.load(Ordering::Relaxed));
    assert!(resets.load(Ordering::Relaxed) > 20, "the pool had hardly any connection");
    gateway.may_keep(MANY);
    gateway.end().await;
}

//! Requests share connections, and nothing that becomes of one touches the others.

use std::time::Duration;

use futures::future::join_all;
use h2::Reason;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{before, next_text};
use crate::support::{Abilities, CHAT, Http2Upstream, KEY, Request, hello, hello_streamed, upstream_key};

#[actix_web::test]
async fn requests_that_follow_each_other_use_one_connection() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    for text in ["one", "two", "three"] {
        let request = hello();
        let played = async {
            let mut asked = upstream.asked().await;
            assert_eq!((asked.version, asked.method.as_str(), asked.connection), (http::Version::HTTP_2, "POST", 0));
            assert_eq!(asked.uri.path(), "/v1/chat/completions");
            assert_eq!(asked.uri.scheme_str(), Some("https"));
            assert_eq!(asked.uri.host(), Some("localhost"));
            assert_eq!(asked.header("authorization"), Some(format!("Bearer {}", upstream_key("up")).as_str()));
            assert_eq!(asked.header("content-type"), Some("application/json"));
            assert!(asked.header("user-agent").unwrap().starts_with("uni-api/"));
            for of_http1 in ["host", "connection", "transfer-encoding", "keep-alive"] {
                assert_eq!(asked.header(of_http1), None, "{of_http1}");
            }
            let body = asked.body().await;
            assert_eq!(asked.header("content-length"), Some(body.len().to_string().as_str()));
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["model"], "gpt-4o");
            asked.answer_chat(text).await;
        };
        let (answer, ()) = tokio::join!(gateway.ask(&request), played);
        assert_eq!((answer.status, &answer.json()["choices"][0]["message"]["content"]), (200, &json!(text)));
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn crowds_share_one_connection_from_the_start() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let request = hello();
    // More of them than there are places.
    for _ in 0..3 {
        let played = async {
            let mut asked = Vec::new();
            for _ in 0..50 {
                asked.push(upstream.asked().await);
            }
            join_all(asked.into_iter().map(|asked| asked.answer_chat("Hello"))).await;
        };
        let (answers, ()) = tokio::join!(join_all((0..50).map(|_| gateway.ask(&request))), played);
        assert!(answers.iter().all(|answer| answer.status == 200));
    }
    assert_eq!(upstream.accepted_connections(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn nobody_waits_for_a_place_on_a_connection_that_is_full() {
    let mut upstream = Http2Upstream::with(Abilities { places: Some(2), ..Abilities::default() }).await;
    let gateway = before([upstream.channel("up")]).await;
    let request = hello();
    let played = async {
        let mut asked = Vec::new();
        for _ in 0..7 {
            asked.push(upstream.asked().await);
        }
        for connection in 0..4 {
            let shared = asked.iter().filter(|asked| asked.connection == connection).count();
            assert!((1..=2).contains(&shared), "{shared} on connection {connection}");
        }
        join_all(asked.into_iter().map(|asked| asked.answer_chat("Hello"))).await;
    };
    let (answers, ()) = tokio::join!(join_all((0..7).map(|_| gateway.ask(&request))), played);
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(upstream.accepted_connections(), 4);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_crowd_learns_first_how_many_a_server_takes() {
    let mut upstream = Http2Upstream::with(Abilities { places: Some(1), is_late: true, http1: None }).await;
    let gateway = before([upstream.channel("up")]).await;
    let request = hello();
    let played = async {
        let mut asked = Vec::new();
        for _ in 0..150 {
            asked.push(upstream.asked().await);
        }
        join_all(asked.into_iter().map(|asked| asked.answer_chat("Hello"))).await;
    };
    let (answers, ()) = tokio::join!(join_all((0..150).map(|_| gateway.ask(&request))), played);
    assert!(answers.iter().all(|answer| answer.status == 200));
    gateway.all_settled().await;
    assert_eq!((gateway.health(0).failed(), upstream.accepted_connections()), (0, 150));
    gateway.stop().await;
}

#[actix_web::test]
async fn clients_that_leave_while_they_are_sent_on_harm_nobody() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let streamed = hello_streamed();
    let (mut staying, mut answer) = tokio::join!(gateway.open(&streamed), async {
        let mut answer = upstream.asked().await.begin_stream();
        answer.send_chunk("one").await;
        answer
    });
    assert_eq!(next_text(&mut staying).await.as_deref(), Some("one"));
    let text = "0123456789abcdef".repeat(200_000);
    let long = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]});
    for _ in 0..10 {
        let mut leaving = gateway.client().connect().await;
        leaving.send(&Request::post(CHAT).key(KEY).json(&long)).await;
        // It is not read, so most of it is still here.
        let asked = upstream.asked().await;
        leaving.hang_up();
        let reason = timeout(Duration::from_secs(1), asked.begin_stream().given_up()).await.expect("within a second");
        assert_eq!(reason, Reason::CANCEL);
    }
    let played = async {
        let mut asked = upstream.asked().await;
        assert!(asked.body().await.len() > text.len());
        asked.answer_chat("Hello").await;
    };
    assert_eq!(tokio::join!(gateway.ask(&long), played).0.status, 200);
    answer.send_chunk("two").await;
    answer.done().await;
    assert_eq!(next_text(&mut staying).await.as_deref(), Some("two"));
    assert!(staying.rest().await.text().contains("[DONE]"));
    assert_eq!(upstream.accepted_connections(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_client_that_leaves_takes_only_its_own_request_along() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let (request, unanswered) = (hello_streamed(), hello());
    let mut waiting = gateway.client().connect().await;
    waiting.send(&Request::post(CHAT).key(KEY).json(&unanswered)).await;
    let before_the_head = upstream.asked().await;
    let (mut leaving, mut in_mid_stream) = tokio::join!(gateway.open(&request), async {
        let mut answer = upstream.asked().await.begin_stream();
        answer.send_chunk("one").await;
        answer
    });
    let (mut staying, mut staying_there) = tokio::join!(gateway.open(&request), async {
        let mut answer = upstream.asked().await.begin_stream();
        answer.send_chunk("one").await;
        answer
    });
    assert_eq!(next_text(&mut leaving).await.as_deref(), Some("one"));
    in_mid_stream.send_chunk("two").await;
    leaving.hang_up();
    waiting.hang_up();
    for given_up in [in_mid_stream, before_the_head.begin_stream()] {
        let reason = timeout(Duration::from_secs(1), given_up.given_up()).await.expect("within a second");
        assert_eq!(reason, Reason::CANCEL);
    }
    staying_there.send_chunk("two").await;
    staying_there.done().await;
    for text in ["one", "two"] {
        assert_eq!(next_text(&mut staying).await.as_deref(), Some(text));
    }
    let rest = staying.rest().await;
    assert!(rest.complete && rest.text().contains("[DONE]"), "{}", rest.text());
    assert_eq!(upstream.accepted_connections(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_slow_client_holds_up_nobody_on_the_same_connection() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let (streamed, request) = (hello_streamed(), hello());
    let mut slow = Vec::new();
    for _ in 0..10 {
        let (stream, mut answer) = tokio::join!(gateway.open(&streamed), async {
            let mut answer = upstream.asked().await.begin_stream();
            answer.send_chunk("one").await;
            answer
        });
        // Until nothing more is taken, neither here nor on the way to the client, who reads nothing.
        answer.flood().await;
        slow.push((stream, answer));
    }
    let played = async { upstream.asked().await.answer_chat("Hello").await };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.accepted_connections(), 1);
    drop(slow);
    gateway.stop().await;
}

#[actix_web::test]
async fn nobody_waits_for_one_that_is_slow() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let request = hello();
    let slow = async { upstream.asked().await };
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(CHAT).key(KEY).json(&request)).await;
    let waiting = slow.await;
    for _ in 0..3 {
        let played = async { upstream.asked().await.answer_chat("Hello").await };
        assert_eq!(tokio::join!(gateway.ask(&request), played).0.status, 200);
    }
    waiting.answer_chat("Hello").await;
    assert_eq!(connection.answer().await.unwrap().status, 200);
    gateway.stop().await;
}

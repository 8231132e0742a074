//! What breaks off is never taken for whole, and nothing is asked twice that may have been looked at.

use futures::future::join_all;
use h2::Reason;
use serde_json::{Value, json};

use super::{before, next_text};
use crate::support::{FakeUpstream, Http2Upstream, Setup, channel, hello, hello_streamed};

#[actix_web::test]
async fn a_stream_that_breaks_off_never_looks_whole() {
    for reason in [Some(Reason::NO_ERROR), Some(Reason::CANCEL), Some(Reason::INTERNAL_ERROR), None] {
        let mut upstream = Http2Upstream::start().await;
        let gateway = before([upstream.channel("up")]).await;
        let request = hello_streamed();
        let (mut stream, answer) = tokio::join!(gateway.open(&request), async {
            let mut answer = upstream.asked().await.begin_stream();
            answer.send_chunk("Hel").await;
            answer
        });
        assert_eq!(next_text(&mut stream).await.as_deref(), Some("Hel"));
        match reason {
            Some(reason) => answer.reset(reason),
            None => upstream.cut(0).await,
        }
        let rest = stream.rest().await;
        assert!(rest.text().contains("\"error\"") && !rest.text().contains("[DONE]"), "{reason:?}: {}", rest.text());
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn an_answer_that_breaks_off_is_tried_elsewhere() {
    let (mut upstream, other) = (Http2Upstream::start().await, FakeUpstream::start().await);
    let setup = Setup::new([upstream.channel("up"), channel("other", &other)]).fixed_priority().workers(1);
    let gateway = setup.start().await;
    let request = hello();
    let played = async {
        let mut answer = upstream.asked().await.begin(200, &[("content-type", "application/json")]);
        answer.send("{\"choices\": [").await;
        answer.reset(Reason::INTERNAL_ERROR);
    };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    assert_eq!((answer.status, other.received().len()), (200, 1));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_server_that_will_close_a_connection_loses_no_request() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let (streamed, request) = (hello_streamed(), hello());
    let (mut stream, mut answer) = tokio::join!(gateway.open(&streamed), async {
        let mut answer = upstream.asked().await.begin_stream();
        answer.send_chunk("one").await;
        answer
    });
    assert_eq!(next_text(&mut stream).await.as_deref(), Some("one"));
    upstream.announce_end(0);
    let played = async {
        let asked = upstream.asked().await;
        // It may be on its way before the announcement has come.
        let connection = asked.connection;
        asked.answer_chat("Hello").await;
        connection
    };
    let (answered, _) = tokio::join!(gateway.ask(&request), played);
    assert_eq!(answered.status, 200);
    let played = async {
        let asked = upstream.asked().await;
        assert_eq!(asked.connection, 1);
        asked.answer_chat("Hello").await;
    };
    let (answered, ()) = tokio::join!(gateway.ask(&request), played);
    assert_eq!(answered.status, 200);
    answer.send_chunk("two").await;
    answer.done().await;
    assert_eq!(next_text(&mut stream).await.as_deref(), Some("two"));
    assert!(stream.rest().await.text().contains("[DONE]"));
    upstream.closed(0).await;
    gateway.stop().await;
}

#[actix_web::test]
async fn a_connection_that_was_cut_while_nobody_used_it_costs_no_request() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let request = hello();
    for connection in 0..3 {
        let played = async {
            let asked = upstream.asked().await;
            assert_eq!(asked.connection, connection);
            asked.answer_chat("Hello").await;
        };
        let (answer, ()) = tokio::join!(gateway.ask(&request), played);
        assert_eq!(answer.status, 200);
        upstream.cut(connection).await;
    }
    gateway.all_settled().await;
    let health = gateway.health(0);
    assert_eq!((health.succeeded(), health.failed()), (3, 0));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_request_that_the_server_has_not_looked_at_is_sent_again() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let request = hello();
    let played = async {
        upstream.asked().await.reset(Reason::REFUSED_STREAM);
        let mut asked = upstream.asked().await;
        assert_eq!(asked.connection, 1);
        assert_eq!(serde_json::from_slice::<Value>(&asked.body().await).unwrap()["model"], "gpt-4o");
        asked.answer_chat("Hello").await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    gateway.all_settled().await;
    assert_eq!((answer.status, gateway.health(0).failed()), (200, 0));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_server_that_looks_at_nothing_is_left_for_another() {
    let (mut upstream, other) = (Http2Upstream::start().await, FakeUpstream::start().await);
    let setup = Setup::new([upstream.channel("up"), channel("other", &other)]).fixed_priority().workers(1);
    let gateway = setup.start().await;
    let request = hello();
    let played = async {
        for _ in 0..3 {
            upstream.asked().await.reset(Reason::REFUSED_STREAM);
        }
    };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    assert_eq!((answer.status, other.received().len()), (200, 1));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_request_that_may_have_been_looked_at_is_not_sent_there_again() {
    let (mut upstream, other) = (Http2Upstream::start().await, FakeUpstream::start().await);
    let setup = Setup::new([upstream.channel("up"), channel("other", &other)]).fixed_priority().workers(1);
    let gateway = setup.start().await;
    let request = hello();
    let played = async { upstream.asked().await.reset(Reason::INTERNAL_ERROR) };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    assert_eq!((answer.status, other.received().len()), (200, 1));
    assert!(!upstream.is_asked(), "it could be billed twice");
    gateway.stop().await;
}

#[actix_web::test]
async fn an_error_that_comes_before_the_whole_request_is_read() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let text = "0123456789abcdef".repeat(200_000);
    let request = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]});
    let played = async {
        // Reads nothing of what is much longer than it has room for.
        upstream.asked().await.answer(413, &json!({"error": {"message": "this prompt is too long"}})).await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("this prompt is too long"), "{}", answer.text());
    gateway.stop().await;
}

#[actix_web::test]
async fn what_was_asked_on_a_connection_that_ends_is_not_asked_there_again() {
    for with_a_word in [false, true] {
        let (mut upstream, other) = (Http2Upstream::start().await, FakeUpstream::start().await);
        let setup = Setup::new([upstream.channel("up"), channel("other", &other)]).fixed_priority().workers(1);
        let gateway = setup.start().await;
        let request = hello();
        let first = async { upstream.asked().await.answer_chat("Hello").await };
        assert_eq!(tokio::join!(gateway.ask(&request), first).0.status, 200);
        let played = async {
            let mut unanswered = Vec::new();
            for _ in 0..5 {
                unanswered.push(upstream.asked().await);
                assert_eq!(unanswered.last().unwrap().connection, 0);
            }
            match with_a_word {
                true => upstream.end_with_a_word(0).await,
                false => upstream.cut(0).await,
            }
        };
        let (answers, ()) = tokio::join!(join_all((0..5).map(|_| gateway.ask(&request))), played);
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(other.received().len(), 5);
        assert!(!upstream.is_asked(), "it could be billed twice");
        gateway.stop().await;
    }
}

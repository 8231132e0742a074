//! `http2: true`: requests share connections, and nothing that becomes of one touches the others.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use h2::Reason;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::support::{
    Abilities, Authority, FakeProxy, FakeUpstream, Gateway, Http2Upstream, KEY, Manner, OpenStream, Reply, Setup,
    TlsFront, channel, channel_at,
    gateway::eventually,
    hello, hello_streamed,
    logs::{self, CANARY},
    upstream_key, with,
};

/// With one worker, since connections are a worker's own.
async fn before(providers: impl IntoIterator<Item = Value>) -> Gateway {
    Setup::new(providers).workers(1).start().await
}

/// The text of a stream up to now, piece by piece.
async fn next_text(stream: &mut OpenStream) -> Option<String> {
    let event: Value = serde_json::from_str(&stream.next_event().await?).ok()?;
    Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())
}

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
async fn headers_and_overrides_are_sent_as_over_http1() {
    let mut upstream = Http2Upstream::start().await;
    let preferences = json!({
        "http2": true,
        "headers": {"X-Team": "blue", "User-Agent": "other/1"},
        "post_body_parameter_overrides": {"seed": 7},
    });
    let gateway = before([upstream.channel_with("up", preferences)]).await;
    let request = hello();
    let played = async {
        let mut asked = upstream.asked().await;
        assert_eq!((asked.header("x-team"), asked.header("user-agent")), (Some("blue"), Some("other/1")));
        assert_eq!(serde_json::from_slice::<Value>(&asked.body().await).unwrap()["seed"], 7);
        asked.answer_chat("Hello").await;
    };
    assert_eq!(tokio::join!(gateway.ask(&request), played).0.status, 200);
    gateway.stop().await;
}

#[actix_web::test]
async fn every_piece_of_a_stream_arrives_once_and_in_order() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let request = hello_streamed();
    let played = async {
        let mut answer = upstream.asked().await.begin_stream();
        for number in 0..500 {
            answer.send_chunk(&format!("<{number}>")).await;
            if number % 50 == 0 {
                answer.send_nothing();
            }
        }
        answer.done().await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    let events = answer.events();
    let texts = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    let text: String =
        texts.filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect();
    assert_eq!(text, (0..500).map(|number| format!("<{number}>")).collect::<String>());
    assert!(answer.complete && events.last().unwrap() == "[DONE]");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_crowd_shares_one_connection_from_the_start() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let request = hello();
    let played = async {
        let mut asked = Vec::new();
        for _ in 0..50 {
            asked.push(upstream.asked().await);
        }
        join_all(asked.into_iter().map(|asked| asked.answer_chat("Hello"))).await;
    };
    let (answers, ()) = tokio::join!(join_all((0..50).map(|_| gateway.ask(&request))), played);
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(upstream.accepted_connections(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn nobody_waits_for_a_place_on_a_connection_that_is_full() {
    let mut upstream = Http2Upstream::with(Abilities { places: Some(2), http1: None }).await;
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
async fn a_client_that_leaves_takes_only_its_own_request_along() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let (request, unanswered) = (hello_streamed(), hello());
    let mut waiting = gateway.client().connect().await;
    waiting.send(&crate::support::Request::post("/v1/chat/completions").key(KEY).json(&unanswered)).await;
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
async fn a_long_request_arrives_whole() {
    let mut upstream = Http2Upstream::start().await;
    let gateway = before([upstream.channel("up")]).await;
    let text = "0123456789abcdef".repeat(200_000);
    let request = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]});
    let played = async {
        let mut asked = upstream.asked().await;
        let body: Value = serde_json::from_slice(&asked.body().await).unwrap();
        assert!(body["messages"][0]["content"] == text.as_str());
        asked.answer_chat("Hello").await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    assert_eq!(answer.status, 200);
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
async fn http1_is_spoken_where_nothing_else_is_wished() {
    let behind = FakeUpstream::start().await;
    let mut upstream = Http2Upstream::with(Abilities { places: None, http1: Some(behind.address()) }).await;
    let gateway = before([upstream.channel_with("up", json!({}))]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert_eq!((behind.received().len(), upstream.accepted_connections()), (1, 1));
    gateway.stop().await;
}

#[actix_web::test]
async fn http1_is_spoken_to_servers_that_speak_nothing_else() {
    let upstream = FakeUpstream::start().await;
    let authority = Authority::new("ours");
    let front = TlsFront::of(upstream.address(), "localhost", &authority).await;
    let file = authority.file_with([]);
    let wishes = json!({"preferences": {"ca_file": file.path(), "http2": true}});
    for base_url in [front.base_url(), upstream.base_url()] {
        let gateway = before([with(channel_at("up", &base_url), wishes.clone())]).await;
        for request in [hello(), hello_streamed()] {
            let answer = gateway.ask(&request).await;
            assert!(answer.status == 200 && answer.complete, "{base_url}");
        }
        gateway.stop().await;
    }
    assert_eq!(upstream.received().len(), 4);
}

#[actix_web::test]
async fn http1_is_spoken_from_when_the_server_requires_it() {
    let behind = FakeUpstream::start().await;
    let mut upstream = Http2Upstream::with(Abilities { places: None, http1: Some(behind.address()) }).await;
    let gateway = before([upstream.channel("up")]).await;
    let request = hello();
    let played = async { upstream.asked().await.reset(Reason::HTTP_1_1_REQUIRED) };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    assert_eq!(answer.status, 200);
    assert_eq!(gateway.ask(&request).await.status, 200);
    assert_eq!(behind.received().len(), 2);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_list_of_models_is_asked_for_over_http2_as_well() {
    let mut upstream = Http2Upstream::start().await;
    let mut provider = upstream.channel("up");
    provider.as_object_mut().unwrap().remove("model");
    let gateway = before([provider]).await;
    let asked = upstream.asked().await;
    assert_eq!((asked.method.as_str(), asked.uri.path()), ("GET", "/v1/models"));
    assert_eq!((asked.header("content-length"), asked.header("content-type")), (None, None));
    asked.answer(200, &json!({"object": "list", "data": [{"id": "a"}, {"id": "b"}]})).await;
    eventually("the models", async || gateway.models(KEY).await == ["a", "b"]).await;
    gateway.stop().await;
}

#[actix_web::test]
async fn it_goes_through_a_proxy_as_well() {
    let mut upstream = Http2Upstream::start().await;
    let proxy = FakeProxy::http(Manner::Opens).await;
    let preferences = json!({"http2": true, "proxy": proxy.url("http", "")});
    let gateway = before([upstream.channel_with("up", preferences)]).await;
    let request = hello();
    for _ in 0..2 {
        let played = async { upstream.asked().await.answer_chat("Hello").await };
        assert_eq!(tokio::join!(gateway.ask(&request), played).0.status, 200);
    }
    assert_eq!(proxy.asked().len(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_server_that_is_not_there_or_not_trusted_is_told_as_over_http1() {
    let upstream = Http2Upstream::start().await;
    let strange = with(upstream.channel("up"), json!({"preferences": {"http2": true}}));
    let gateway = before([strange]).await;
    let answer = gateway.ask(&hello()).await;
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("name it in preferences.ca_file"), "{}", answer.text());
    gateway.stop().await;

    let nobody = crate::support::refusing_address().await;
    let provider = channel_at("up", &format!("https://localhost:{}/v1", nobody.port()));
    let gateway = before([with(provider, json!({"preferences": {"http2": true}}))]).await;
    let answer = gateway.ask(&hello()).await;
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("no connection to the upstream"), "{}", answer.text());
    gateway.stop().await;
}

#[actix_web::test]
async fn no_key_and_no_prompt_is_logged_on_the_way() {
    let mut upstream = Http2Upstream::start().await;
    let marker = format!("{CANARY}-over-http2");
    let preferences = json!({"http2": true, "headers": {"X-Team": format!("team-{marker}")}});
    let keyed = with(upstream.channel_with("up", preferences), json!({"api": format!("sk-up-{marker}-0123456789")}));
    let gateway = before([keyed]).await;
    let request =
        with(hello_streamed(), json!({"messages": [{"role": "user", "content": format!("prompt {marker}")}]}));
    let played = async {
        let mut asked = upstream.asked().await;
        assert!(String::from_utf8_lossy(&asked.body().await).contains(&marker));
        let mut answer = asked.begin_stream();
        answer.send_chunk(&format!("answer {marker}")).await;
        answer.done().await;
    };
    let (answer, ()) = tokio::join!(gateway.ask(&request), played);
    assert!(answer.text().contains(&marker), "{}", answer.text());
    gateway.stop().await;
    let told: Vec<String> = logs::lines().into_iter().filter(|line| line.contains(&marker)).collect();
    assert!(told.is_empty(), "{told:#?}");
}

#[actix_web::test]
async fn the_requests_of_a_crowd_do_not_wait_for_one_that_is_slow() {
    let mut upstream = Http2Upstream::start().await;
    let other = FakeUpstream::in_turn([Reply::chat("Hello").gate_head(Arc::new(Semaphore::new(0)))]).await;
    let gateway = before([upstream.channel("up"), with(channel("other", &other), json!({"model": ["other"]}))]).await;
    let request = hello();
    let slow = async { upstream.asked().await };
    let mut connection = gateway.client().connect().await;
    connection.send(&crate::support::Request::post("/v1/chat/completions").key(KEY).json(&request)).await;
    let waiting = slow.await;
    for _ in 0..3 {
        let played = async { upstream.asked().await.answer_chat("Hello").await };
        assert_eq!(tokio::join!(gateway.ask(&request), played).0.status, 200);
    }
    waiting.answer_chat("Hello").await;
    assert_eq!(connection.answer().await.unwrap().status, 200);
    gateway.stop().await;
}

//! Failures before the commit point: who is asked next, and who is not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    FakeUpstream, Gateway, Reply, Setup, channel, channel_at, hello, hello_streamed, refusing_address, upstream_key,
    with,
};

const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";

/// What goes wrong whether or not a stream was asked for.
fn failures() -> Vec<(&'static str, Reply)> {
    let mut failures: Vec<_> = [401, 402, 403, 404, 408, 409, 429, 500, 502, 503, 504, 529]
        .into_iter()
        .map(|status| ("a status", Reply::error(status, "it went wrong")))
        .collect();
    failures.extend([
        ("a redirect", Reply::body("text/plain", "").status(307).header("location", "http://127.0.0.1:1/")),
        ("an error with success", Reply::json(200, json!({"error": {"message": "overloaded", "code": 503}}))),
        ("an error as text with success", Reply::json(200, json!({"error": "overloaded"}))),
        ("nothing", Reply::body("application/json", "")),
        ("a blank line", Reply::body("application/json", "\n")),
        ("a web page", Reply::body("text/html", "<!DOCTYPE html><html><body>Just a moment</body></html>")),
        ("no completion", Reply::json(200, json!({"hello": "world"}))),
        ("no choices", Reply::json(200, json!({"id": "x", "choices": null}))),
        ("null", Reply::json(200, json!(null))),
        ("a list", Reply::json(200, json!([]))),
        ("a close", Reply::close_without_answer()),
        ("a reset", Reply::reset_without_answer()),
        ("half a head", Reply::raw("HTTP/1.1 200 OK\r\ncontent-ty")),
        ("no HTTP", Reply::raw("SSH-2.0-OpenSSH_9.6\r\n\r\n")),
        ("status 204", Reply::raw("HTTP/1.1 204 No Content\r\n\r\n")),
    ]);
    failures
}

async fn moves_on(what: &str, failure: Reply, request: &Value) {
    let bad = FakeUpstream::in_turn([failure.clone()]).await;
    let good = FakeUpstream::start().await;
    let gateway = Setup::new([channel("bad", &bad), channel("good", &good)]).fixed_priority().start().await;
    let answer = gateway.ask(request).await;
    assert_eq!(answer.status, 200, "{what}: {failure:?}: {}", answer.text());
    assert!(answer.complete, "{what}");
    match request["stream"] == true {
        false => assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hello", "{what}"),
        true => assert_eq!(answer.events().last().unwrap(), "[DONE]", "{what}"),
    }
    assert!(!bad.received().is_empty(), "{what}: the first channel was not asked");
    assert_eq!(good.received().len(), 1, "{what}");
    gateway.all_settled().await;
    assert_eq!((gateway.health(0).failed(), gateway.health(0).succeeded()), (1, 0), "{what}");
    gateway.stop().await;
}

#[actix_web::test]
async fn another_channel_answers_after_a_failure() {
    for (what, failure) in failures() {
        moves_on(what, failure, &hello()).await;
    }
    let completion = r#"{"choices":[{"index":0,"message":{"content":"Hello"}}]}"#;
    let lie = Reply::body("application/json", completion).content_length_lie(1000);
    moves_on("a whole document, but less than announced", lie, &hello()).await;
    moves_on("a cut document", Reply::chat("Hello").cut_at_byte(60), &hello()).await;
    moves_on("a cut chunked document", Reply::sse([completion]).cut_at_byte(20), &hello()).await;
    moves_on("half a document", Reply::body("application/json", &completion[..30]), &hello()).await;
    moves_on("a document reset", Reply::chat("Hello").reset_after(0), &hello()).await;
}

#[actix_web::test]
async fn another_channel_streams_after_a_failure() {
    for (what, failure) in failures() {
        moves_on(what, failure, &hello_streamed()).await;
    }
    let error = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";
    for (what, failure) in [
        ("an error event", Reply::sse([error])),
        ("an error event that is not announced as one", Reply::sse([error]).content_type("application/json")),
        ("an error event after the role", Reply::sse([ROLE, error])),
        ("an error event after a comment", Reply::sse([": wait\n\n", error])),
        ("DONE alone", Reply::sse(["data: [DONE]\n\n"])),
        ("the role and DONE", Reply::sse([ROLE, "data: [DONE]\n\n"])),
        ("no event", Reply::sse([""; 0])),
        ("comments alone", Reply::sse([": wait\n\n", ": wait\n\n"])),
        ("a cut before the first event", Reply::stream(["Hel", "lo"]).cut_after(0)),
        ("a cut within the first event", Reply::stream(["Hel", "lo"]).cut_at_byte(10)),
        ("a cut after the role", Reply::stream(["Hel", "lo"]).cut_after(1)),
        ("a reset after the role", Reply::stream(["Hel", "lo"]).reset_after(1)),
        ("the end after the role", Reply::sse([ROLE])),
        ("no JSON", Reply::sse(["data: hello\n\n"])),
        ("a document that has no stream", Reply::chat("Hello")),
    ] {
        moves_on(what, failure, &hello_streamed()).await;
    }
}

#[actix_web::test]
async fn another_channel_answers_when_nobody_listens() {
    let good = FakeUpstream::start().await;
    let nobody = format!("http://{}/v1", refusing_address().await);
    for request in [hello(), hello_streamed()] {
        let gateway = Gateway::before([channel_at("bad", &nobody), channel("good", &good)]).await;
        assert_eq!(gateway.ask(&request).await.status, 200);
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn another_channel_answers_when_the_host_name_is_unknown() {
    let good = FakeUpstream::start().await;
    let gateway = Gateway::before([channel_at("bad", "http://no-such-host.invalid/v1"), channel("good", &good)]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.stop().await;
}

#[actix_web::test]
async fn another_channel_answers_when_the_first_event_takes_too_long() {
    let role_only = Reply::stream(["Hel", "lo"]).stall_after(1);
    let drip = Reply::sse(vec![": wait\n\n"; 5]).stall_after(5);
    for (silent, request) in [
        (Reply::never_answer(), hello()),
        (Reply::chat("Hello").stall_after(0), hello()),
        (Reply::never_answer(), hello_streamed()),
        (Reply::stream(["Hel", "lo"]).stall_after(0), hello_streamed()),
        (role_only, hello_streamed()),
        (drip, hello_streamed()),
    ] {
        let (bad, good) = (FakeUpstream::in_turn([silent.clone()]).await, FakeUpstream::start().await);
        let setup = Setup::new([channel("bad", &bad), channel("good", &good)]).fixed_priority();
        let gateway = setup.patience(Duration::from_millis(100)).start().await;
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.status, 200, "{silent:?}: {}", answer.text());
        bad.wait_for_disconnect().await;
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn second_key_is_tried_after_401() {
    for status in [401, 402, 403, 429] {
        let upstream = FakeUpstream::answering(move |request| match request.bearer() {
            Some("sk-dead-0123456789") => Reply::error(status, "no"),
            _ => Reply::healthy(request),
        })
        .await;
        let keys = json!({"api": ["sk-dead-0123456789", "sk-live-0123456789"]});
        let gateway = Gateway::before([with(channel("up", &upstream), keys)]).await;
        assert_eq!(gateway.ask(&hello()).await.status, 200, "after {status}");
        let received = upstream.received();
        let keys: Vec<_> = received.iter().filter_map(|request| request.bearer()).collect();
        assert_eq!(keys, ["sk-dead-0123456789", "sk-live-0123456789"], "after {status}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_400_about_the_key_is_no_verdict_on_the_request() {
    let upstream =
        FakeUpstream::in_turn([Reply::error(400, "API key not valid. Please pass one."), Reply::chat("Hello")]);
    let upstream = upstream.await;
    let keys = json!({"api": ["sk-dead-0123456789", "sk-live-0123456789"]});
    let gateway = Gateway::before([with(channel("up", &upstream), keys)]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_refused_request_goes_straight_back_to_the_client() {
    for status in [400, 413, 422] {
        for request in [hello(), hello_streamed()] {
            let said = json!({"error": {"message": "messages[0] is wrong", "type": "some_type", "code": "some_code"}});
            let (first, second) =
                (FakeUpstream::in_turn([Reply::json(status, said)]).await, FakeUpstream::start().await);
            let keys = json!({"api": ["sk-one-0123456789", "sk-two-0123456789"]});
            let gateway = Gateway::before([with(channel("a", &first), keys), channel("b", &second)]).await;
            let answer = gateway.ask(&request).await;
            assert_eq!(answer.status, status);
            let error = &answer.json()["error"];
            assert_eq!(error["message"], "messages[0] is wrong");
            assert_eq!((&error["type"], &error["code"]), (&json!("some_type"), &json!("some_code")));
            assert_eq!(answer.json()["message"], "messages[0] is wrong");
            assert_eq!((first.received().len(), second.received().len()), (1, 0));
            gateway.stop().await;
        }
    }
}

#[actix_web::test]
async fn auto_retry_says_how_often() {
    for (auto_retry, attempts) in [(json!(false), 1), (json!(0), 1), (json!(1), 2), (json!(2), 3), (json!(true), 4)] {
        let upstream = FakeUpstream::in_turn([Reply::error(500, "broken")]).await;
        let setup = Setup::new(["a", "b", "c", "d"].map(|name| channel(name, &upstream)));
        let gateway = setup.client_preferences(json!({"AUTO_RETRY": auto_retry})).start().await;
        assert_eq!(gateway.ask(&hello()).await.status, 500);
        assert_eq!(upstream.received().len(), attempts, "AUTO_RETRY: {auto_retry}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn every_key_of_every_channel_is_tried_once_before_giving_up() {
    let upstream = FakeUpstream::in_turn([Reply::error(500, "broken")]).await;
    let keys = |name: &str| json!({"api": [format!("sk-{name}-1"), format!("sk-{name}-2")]});
    let channels = ["a", "b"].map(|name| with(channel(name, &upstream), keys(name)));
    let gateway = Setup::new(channels).fixed_priority().start().await;
    assert_eq!(gateway.ask(&hello()).await.status, 500);
    let received = upstream.received();
    let keys: Vec<_> = received.iter().filter_map(|request| request.bearer()).collect();
    assert_eq!(keys, ["sk-a-1", "sk-b-1", "sk-a-2", "sk-b-2"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_channel_that_cannot_be_reached_is_asked_once_whatever_keys_it_has() {
    let missing = FakeUpstream::in_turn([Reply::error(404, "no such model")]).await;
    let keys = json!({"api": ["sk-one-0123456789", "sk-two-0123456789", "sk-three-0123456789"]});
    let gateway = Gateway::before([with(channel("up", &missing), keys)]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 404);
    assert_eq!(missing.received().len(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_pooled_connection_that_was_closed_meanwhile_is_no_failure() {
    for goodbye in [Reply::close_without_answer(), Reply::error(408, "nobody asked for too long")] {
        let upstream = FakeUpstream::in_turn([Reply::chat("Hello"), goodbye, Reply::chat("Hello")]).await;
        let gateway = Setup::new([channel("up", &upstream)]).workers(1).start().await;
        for _ in 0..2 {
            assert_eq!(gateway.ask(&hello()).await.status, 200);
        }
        assert_eq!((gateway.health(0).failed(), upstream.received().len()), (0, 3));
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_pooled_connection_that_ends_after_a_word_is_a_failure() {
    let interim = Reply::raw("HTTP/1.1 102 Processing\r\n\r\n");
    let upstream = FakeUpstream::in_turn([Reply::chat("Hello"), interim, Reply::chat("Hello")]).await;
    let gateway = Setup::new([channel("up", &upstream)]).workers(1).start().await;
    for _ in 0..2 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    assert_eq!((gateway.health(0).failed(), upstream.received().len()), (1, 3));
    gateway.stop().await;
}

#[actix_web::test]
async fn requests_go_round_all_channels_by_default() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before(["a", "b", "c"].map(|name| channel(name, &upstream))).await;
    for _ in 0..6 {
        gateway.ask(&hello()).await;
    }
    let received = upstream.received();
    let keys: Vec<_> = received.iter().filter_map(|request| request.bearer()).collect();
    assert_eq!(keys, ["a", "b", "c", "a", "b", "c"].map(upstream_key));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_fixed_priority_starts_at_the_first_channel_every_time() {
    let upstream = FakeUpstream::start().await;
    let setup = Setup::new(["a", "b", "c"].map(|name| channel(name, &upstream))).fixed_priority();
    let gateway = setup.start().await;
    for _ in 0..4 {
        gateway.ask(&hello()).await;
    }
    assert!(upstream.received().iter().all(|request| request.bearer() == Some(&upstream_key("a"))));
    gateway.stop().await;
}

#[actix_web::test]
async fn the_keys_of_a_channel_take_turns() {
    let upstream = FakeUpstream::start().await;
    let keys = ["sk-1-0123456789", "sk-2-0123456789", "sk-3-0123456789"];
    let gateway = Gateway::before([with(channel("up", &upstream), json!({"api": keys}))]).await;
    for _ in 0..6 {
        gateway.ask(&hello()).await;
    }
    let received = upstream.received();
    let used: Vec<_> = received.iter().filter_map(|request| request.bearer()).collect();
    assert_eq!(used, [keys, keys].concat());
    gateway.stop().await;
}

#[actix_web::test]
async fn a_channel_full_of_dead_keys_does_not_keep_the_others_from_their_turn() {
    let dead = FakeUpstream::in_turn([Reply::error(401, "no")]).await;
    let good = FakeUpstream::start().await;
    let keys: Vec<String> = (0..20).map(|number| format!("sk-dead-{number:02}-0123456789")).collect();
    let channels = [with(channel("dead", &dead), json!({"api": keys})), channel("good", &good)];
    let gateway = Setup::new(channels).fixed_priority().start().await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert_eq!((dead.received().len(), good.received().len()), (11, 1));
    gateway.stop().await;
}

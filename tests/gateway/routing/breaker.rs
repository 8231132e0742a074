//! A model of a channel that keeps failing is left alone for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{CHAT, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, hello, hello_streamed, with};

use super::{asked, shared, verdict};

const MODELS: [&str; 2] = ["gpt-4o", "gpt-4o-mini"];

fn before(upstream: &FakeUpstream, names: &[&str], breaker: Value) -> Setup {
    let models = || json!({"model": MODELS});
    let channels = names.iter().map(|name| with(channel(name, upstream), models()));
    Setup::new(channels).fixed_priority().preferences(json!({"breaker": breaker}))
}

#[actix_web::test]
async fn a_model_that_keeps_failing_is_left_alone_and_the_others_of_its_channel_are_not() {
    let upstream = shared(|channel, request| match (channel, request.json()["model"].as_str()) {
        ("a", Some("gpt-4o")) => Reply::error(503, "busy"),
        _ => Reply::healthy(request),
    })
    .await;
    let gateway = before(&upstream, &["a", "b"], json!({"failures": 3, "open": 60})).start().await;
    for _ in 0..6 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    assert_eq!(asked(&upstream), "a b a b a b b b b ");
    for _ in 0..2 {
        assert_eq!(gateway.ask(&with(hello(), json!({"model": "gpt-4o-mini"}))).await.status, 200);
    }
    assert_eq!(asked(&upstream), "a b a b a b b b b a a ");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_success_in_between_begins_the_count_anew() {
    let upstream =
        FakeUpstream::in_turn([500, 500, 200, 500, 500, 200].map(|status| Reply::chat("Hello").status(status))).await;
    let good = FakeUpstream::start().await;
    let setup = Setup::new([channel("a", &upstream), channel("b", &good)]).fixed_priority();
    let gateway = setup.preferences(json!({"breaker": {"failures": 3, "open": 60}})).start().await;
    for _ in 0..6 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    assert_eq!((upstream.received().len(), good.received().len()), (6, 4));
    gateway.stop().await;
}

#[actix_web::test]
async fn what_is_wrong_with_a_request_or_a_key_does_not_open_it() {
    for status in [400, 401, 429] {
        let upstream = FakeUpstream::in_turn([Reply::error(status, "no")]).await;
        let key = |number: usize| format!("sk-key-{number}-0123456789");
        let keys = json!({"api": (0..4).map(key).collect::<Vec<_>>()});
        let setup = Setup::new([with(channel("a", &upstream), keys)]).client_preferences(json!({"AUTO_RETRY": false}));
        let gateway = setup.preferences(json!({"breaker": {"failures": 1, "open": 60}})).start().await;
        for _ in 0..4 {
            gateway.ask(&hello()).await;
        }
        assert_eq!(upstream.received().len(), 4, "{status}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn one_request_that_fails_with_every_key_does_not_open_it() {
    let upstream = FakeUpstream::in_turn([Reply::error(500, "oops")]).await;
    let keys = json!({"api": (0..4).map(|number| format!("sk-key-{number}-0123456789")).collect::<Vec<_>>()});
    let setup = Setup::new([with(channel("a", &upstream), keys)]);
    let gateway = setup.preferences(json!({"breaker": {"failures": 2, "open": 60}})).start().await;
    for resting in [0, 1] {
        assert_eq!(gateway.ask(&hello()).await.status, 500);
        gateway.all_settled().await;
        assert!(upstream.received().len() >= 4, "every key is tried");
        assert_eq!(gateway.health(0).resting(Duration::ZERO).len(), resting);
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn the_last_one_standing_is_asked_all_the_same() {
    let is_well = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&is_well);
    let upstream = shared(move |channel, request| match switch.load(Ordering::Relaxed) {
        false => Reply::error(503, &format!("{channel} is busy")),
        true => Reply::healthy(request),
    })
    .await;
    for names in [vec!["a"], vec!["a", "b"]] {
        is_well.store(false, Ordering::Relaxed);
        let gateway = before(&upstream, &names, json!({"failures": 1, "open": 60})).start().await;
        for _ in 0..3 {
            let asked_before = upstream.received().len();
            let answer = gateway.ask(&hello()).await;
            assert_eq!(verdict(&answer).0, 503, "{}", answer.text());
            assert!(answer.json()["message"].as_str().unwrap().contains("is busy"), "{}", answer.text());
            assert!(upstream.received().len() > asked_before, "it was not tried");
        }
        is_well.store(true, Ordering::Relaxed);
        assert_eq!(gateway.ask(&hello()).await.status, 200, "{names:?}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn it_can_be_switched_off_for_all_and_for_a_channel() {
    let upstream = shared(|channel, request| match channel {
        "a" => Reply::error(500, "oops"),
        _ => Reply::healthy(request),
    })
    .await;
    let gateway = before(&upstream, &["a", "b"], json!("off")).start().await;
    for _ in 0..8 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    assert_eq!(asked(&upstream), "a b ".repeat(8));
    gateway.stop().await;

    let off = json!({"preferences": {"breaker": "off"}});
    let channels = [with(channel("a", &upstream), off), channel("b", &upstream)];
    let strict = json!({"breaker": {"failures": 1, "open": 60}});
    let gateway = Setup::new(channels).fixed_priority().preferences(strict).start().await;
    for _ in 0..8 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    assert_eq!(asked(&upstream), "a b ".repeat(16));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_client_that_leaves_frees_the_probe() {
    let primary = FakeUpstream::in_turn([Reply::error(503, "busy"), Reply::never_answer(), Reply::chat("Hello")]).await;
    let fallback = FakeUpstream::start().await;
    let setup = Setup::new([channel("a", &primary), channel("b", &fallback)]).fixed_priority();
    let gateway = setup.preferences(json!({"breaker": {"failures": 1, "open": 0.5}})).start().await;
    // The second one learns of the failure of the first, so the breaker opens with it at the latest.
    for _ in 0..2 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    assert_eq!((primary.received().len(), fallback.received().len()), (1, 2));
    sleep(Duration::from_millis(550)).await;

    let mut probe = gateway.client().connect().await;
    probe.send(&Request::post(CHAT).key(KEY).json(&hello())).await;
    primary.wait_for_requests(2).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert_eq!((primary.received().len(), fallback.received().len()), (2, 3), "there is one probe at a time");
    probe.hang_up();
    primary.wait_for_disconnect().await;
    gateway.all_settled().await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert_eq!((primary.received().len(), fallback.received().len()), (3, 3), "the next one is the probe");
    gateway.stop().await;
}

#[actix_web::test]
async fn of_many_requests_at_once_one_is_the_probe() {
    let primary = FakeUpstream::in_turn([Reply::error(503, "busy"), Reply::never_answer(), Reply::chat("Hello")]).await;
    let fallback = FakeUpstream::start().await;
    let setup = Setup::new([channel("a", &primary), channel("b", &fallback)]).fixed_priority();
    let setup = setup.preferences(json!({"breaker": {"failures": 1, "open": 0.4}, "model_timeout": 0.2}));
    let gateway = setup.start().await;
    for _ in 0..2 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    sleep(Duration::from_millis(450)).await;
    let body = hello();
    let answers = join_all((0..20).map(|_| gateway.ask(&body))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(
        (primary.received().len(), fallback.received().len()),
        (2, 22),
        "also the probe was answered in the end"
    );
    gateway.stop().await;
}

#[actix_web::test]
async fn an_outage_does_not_double_the_load() {
    let upstream = FakeUpstream::in_turn([Reply::error(500, "oops")]).await;
    // More than is sent, and less than would be with a retry of each request.
    let limited = json!({"preferences": {"api_key_rate_limit": "500/min", "breaker": "off"}});
    let gateway = Gateway::before([with(channel("a", &upstream), limited)]).await;
    let body = hello();
    for _ in 0..4 {
        let answers = join_all((0..75).map(|_| gateway.ask(&body))).await;
        assert!(answers.iter().all(|answer| answer.status == 500), "a retry that is not made counts for no limit");
    }
    // A hundred retries are free, and five requests pay for one more.
    let retries = upstream.received().len() - 300;
    assert!((100..=160).contains(&retries), "{retries}");
    gateway.stop().await;
}

#[actix_web::test]
async fn streams_that_keep_breaking_open_it_although_they_begin() {
    let upstream = shared(|channel, request| match channel {
        "a" => Reply::stream(["Hel", "lo"]).cut_after(2),
        _ => Reply::healthy(request),
    })
    .await;
    let gateway = before(&upstream, &["a", "b"], json!({"failures": 3, "open": 60})).start().await;
    for is_whole in [false, false, false, true, true] {
        let answer = gateway.ask(&hello_streamed()).await;
        assert_eq!((answer.status, answer.text().contains("[DONE]")), (200, is_whole), "{}", asked(&upstream));
    }
    assert_eq!(asked(&upstream), "a a a b b ");
    gateway.stop().await;
}

//! When a request gives up, and what the client is told then.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{FakeUpstream, Reply, Setup, channel, hello, hello_streamed, with};

use super::{asked, shared, verdict};

/// Longer than a request needs that waits for nothing, also on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

#[actix_web::test]
async fn a_deadline_is_for_all_attempts_together() {
    for request in [hello(), hello_streamed()] {
        let upstream = shared(|_, _| Reply::never_answer()).await;
        let setup = Setup::new(["a", "b", "c"].map(|name| channel(name, &upstream))).fixed_priority();
        let setup = setup.patience(Duration::from_millis(300)).preferences(json!({"deadline": 0.5}));
        let gateway = setup.start().await;
        let started = Instant::now();
        let answer = gateway.ask(&request).await;
        let took = started.elapsed();
        assert_eq!(answer.status, 504, "{}", answer.text());
        assert!(took >= Duration::from_millis(500) && took < Duration::from_millis(500) + SLACK, "{took:?}");
        assert_eq!(asked(&upstream), "a b ", "no time is left for the third");
        upstream.wait_for_disconnects(2).await;
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_deadline_ends_even_an_attempt_that_may_take_longer() {
    let upstream = shared(|_, _| Reply::never_answer()).await;
    let gateway = Setup::new([channel("a", &upstream)]).preferences(json!({"deadline": 0.3})).start().await;
    let started = Instant::now();
    let answer = gateway.ask(&hello()).await;
    assert_eq!(verdict(&answer), (504, "deadline_passed".to_owned()), "{}", answer.text());
    assert!(started.elapsed() < Duration::from_millis(300) + SLACK, "{:?}", started.elapsed());
    gateway.stop().await;
}

#[actix_web::test]
async fn a_channel_that_is_silent_until_the_deadline_is_left_alone_after_a_while() {
    let (silent, good) = (FakeUpstream::in_turn([Reply::never_answer()]).await, FakeUpstream::start().await);
    let preferences = json!({"deadline": 0.1, "breaker": {"failures": 2, "open": 60}});
    let setup = Setup::new([channel("silent", &silent), channel("good", &good)]).fixed_priority();
    let gateway = setup.preferences(preferences).start().await;
    for status in [504, 504, 200, 200] {
        assert_eq!(gateway.ask(&hello()).await.status, status);
    }
    assert_eq!(silent.received().len(), 2);
    gateway.stop().await;
}

#[actix_web::test]
async fn so_is_one_that_was_asked_second_and_had_most_of_the_time() {
    let upstream = shared(|channel, request| match channel {
        "broken" => Reply::error(500, "oops"),
        "silent" => Reply::never_answer(),
        _ => Reply::healthy(request),
    })
    .await;
    let preferences = json!({"deadline": 0.5, "breaker": {"failures": 2, "open": 60}});
    let setup = Setup::new(["broken", "silent", "good"].map(|name| channel(name, &upstream))).fixed_priority();
    let gateway = setup.preferences(preferences).start().await;
    for status in [500, 500, 200] {
        assert_eq!(gateway.ask(&hello()).await.status, status);
    }
    assert_eq!(asked(&upstream), "broken silent broken silent good ");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_limit_beyond_the_deadline_is_not_waited_for() {
    let limited = Reply::error(429, "slow down").header("retry-after", "2");
    let upstream = FakeUpstream::in_turn([limited]).await;
    let gateway = Setup::new([channel("a", &upstream)]).preferences(json!({"deadline": 1})).start().await;
    let started = Instant::now();
    let answer = gateway.ask(&hello()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("2")));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    gateway.stop().await;
}

#[actix_web::test]
async fn what_has_begun_in_time_may_take_longer_than_the_deadline() {
    let slow = Reply::stream(["Hel", "lo"]).stall_after(2);
    let upstream = FakeUpstream::in_turn([slow]).await;
    let setup = Setup::new([channel("a", &upstream)]).patience(Duration::from_millis(600));
    let gateway = setup.preferences(json!({"deadline": 0.2})).start().await;
    let started = Instant::now();
    let answer = gateway.ask(&hello_streamed()).await;
    assert!(started.elapsed() >= Duration::from_millis(600), "{:?}", started.elapsed());
    assert!(answer.text().contains("upstream_idle_timeout"), "{}", answer.text());
    gateway.stop().await;
}

#[actix_web::test]
async fn the_time_for_a_first_event_depends_on_the_model() {
    let (short, long) = (0.1, 30);
    for (of_channel, of_all) in [
        (json!({}), json!(short)),
        (json!({}), json!({"gpt-4o-mini": short, "gpt-4o": long, "default": long})),
        (json!({}), json!({"4o": short, "default": long})),
        (json!({}), json!({"gpt": long, "4o-mini": short})),
        (json!({}), json!({"claude": long, "default": short})),
        (json!({"model_timeout": {"default": short}}), json!({"gpt-4o-mini": long})),
        (json!({"model_timeout": short}), json!(long)),
        (json!({"model_timeout": {"claude": long}}), json!({"gpt-4o-mini": short})),
        // By its name at the provider.
        (json!({"model_timeout": {"name-upstream": short, "default": long}}), json!(long)),
    ] {
        let upstream = shared(|channel, request| match channel {
            "a" => Reply::never_answer(),
            _ => Reply::healthy(request),
        })
        .await;
        let model = || json!({"model": [{"name-upstream": "gpt-4o-mini"}]});
        let first = with(with(channel("a", &upstream), model()), json!({"preferences": of_channel}));
        let channels = [first, with(channel("b", &upstream), model())];
        let setup = Setup::new(channels).fixed_priority().patience(Duration::from_secs(30));
        let gateway = setup.preferences(json!({"model_timeout": of_all})).start().await;
        let started = Instant::now();
        assert_eq!(gateway.ask(&with(hello(), json!({"model": "gpt-4o-mini"}))).await.status, 200);
        assert!(started.elapsed() < SLACK, "{of_channel} {of_all}: {:?}", started.elapsed());
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_model_may_be_given_more_time_than_others() {
    let upstream = shared(|_, request| Reply::healthy(request).delay_head(Duration::from_millis(300))).await;
    let slow = json!({"gpt-4o": 5, "default": 0.1});
    let gateway = Setup::new([channel("a", &upstream)]).preferences(json!({"model_timeout": slow})).start().await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.stop().await;
}

#[actix_web::test]
async fn when_all_are_limited_the_client_is_told_when_the_first_is_free() {
    let upstream = shared(|channel, _| {
        let seconds = if channel == "b" { "20" } else { "40" };
        Reply::error(429, "slow down").header("retry-after", seconds)
    })
    .await;
    let gateway = Setup::new(["a", "b", "c"].map(|name| channel(name, &upstream))).fixed_priority().start().await;
    for expected in ["a b c ", "a b c b "] {
        let answer = gateway.ask(&hello()).await;
        assert_eq!(verdict(&answer), (429, "rate_limit_exceeded".to_owned()));
        assert_eq!(answer.header("retry-after"), Some("20"));
        assert_eq!(asked(&upstream), expected, "later the one that is free first is asked");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn when_all_are_limited_for_a_moment_the_first_that_is_free_is_waited_for() {
    let upstream = shared({
        let limited = Mutex::new(vec!["a", "b"]);
        move |channel, request| {
            let mut limited = limited.lock().unwrap();
            let Some(at) = limited.iter().position(|name| *name == channel) else { return Reply::healthy(request) };
            limited.remove(at);
            Reply::error(429, "slow down").header("retry-after-ms", if channel == "a" { "5000" } else { "300" })
        }
    })
    .await;
    let gateway = Setup::new(["a", "b"].map(|name| channel(name, &upstream))).fixed_priority().start().await;
    let started = Instant::now();
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(300) && took < SLACK, "{took:?}");
    assert_eq!(asked(&upstream), "a b b ");
    gateway.stop().await;
}

#[actix_web::test]
async fn the_failure_that_says_most_is_told() {
    let upstream = shared(|channel, _| match channel {
        "a" => Reply::error(401, "bad key"),
        "b" => Reply::error(503, "we are moving house"),
        "c" => Reply::error(429, "slow down").header("retry-after", "40"),
        _ => Reply::close_without_answer(),
    })
    .await;
    let gateway = Setup::new(["a", "b", "c", "d"].map(|name| channel(name, &upstream))).fixed_priority().start().await;
    let answer = gateway.ask(&hello()).await;
    assert_eq!((answer.status, &answer.json()["message"]), (503, &json!("b: we are moving house")));
    assert_eq!(answer.header("retry-after"), None, "waiting for the limit would not help the others");
    gateway.stop().await;
}

//! A channel that has failed rests if `cooldown_period` says so, and a key whose rate is limited as long as it is told
//! to. Nobody rests when everybody does.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{CHAT, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, hello, with};

use super::asked;

const MODELS: [&str; 2] = ["gpt-4o", "gpt-4o-mini"];

/// The channel `name` with so many seconds of its own, if any.
fn resting(name: &str, upstream: &FakeUpstream, seconds: Option<f64>) -> Value {
    let preferences = seconds.map(|seconds| json!({"cooldown_period": seconds})).unwrap_or_else(|| json!({}));
    with(channel(name, upstream), json!({"model": MODELS, "preferences": preferences}))
}

async fn before(channels: impl IntoIterator<Item = Value>, seconds: f64) -> Gateway {
    Setup::new(channels).fixed_priority().preferences(json!({"cooldown_period": seconds})).start().await
}

/// The first request goes wrong, and all that follow are answered.
async fn wrong_at_first(requests: usize) -> FakeUpstream {
    let replies = (0..requests).map(|_| Reply::error(500, "oops")).chain([Reply::chat("Hello")]);
    FakeUpstream::in_turn(replies).await
}

async fn ask(gateway: &Gateway, model: &str) -> u16 {
    gateway.ask(&with(hello(), json!({"model": model}))).await.status
}

#[actix_web::test]
async fn a_channel_that_failed_rests_for_the_model_if_that_is_wanted() {
    for (own, of_all, expected) in [
        (None, 0.0, "a b a a "),
        (None, 60.0, "a b b a "),
        (Some(60.0), 0.0, "a b b a "),
        (Some(0.0), 60.0, "a b a a "),
    ] {
        let upstream = wrong_at_first(1).await;
        let gateway = before([resting("a", &upstream, own), resting("b", &upstream, None)], of_all).await;
        for model in ["gpt-4o", "gpt-4o", "gpt-4o-mini"] {
            assert_eq!(ask(&gateway, model).await, 200);
        }
        assert_eq!(asked(&upstream), expected, "{own:?}, {of_all}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_rest_ends_with_its_time() {
    let upstream = wrong_at_first(1).await;
    let gateway = before([resting("a", &upstream, None), resting("b", &upstream, None)], 0.3).await;
    for _ in 0..2 {
        assert_eq!(ask(&gateway, "gpt-4o").await, 200);
    }
    sleep(Duration::from_millis(350)).await;
    assert_eq!(ask(&gateway, "gpt-4o").await, 200);
    assert_eq!(asked(&upstream), "a b b a ");
    gateway.stop().await;
}

#[actix_web::test]
async fn when_everything_rests_the_one_that_wakes_first_is_asked() {
    let upstream = wrong_at_first(3).await;
    let rests = [("a", 60.0), ("b", 30.0), ("c", 90.0)];
    let gateway = before(rests.map(|(name, seconds)| resting(name, &upstream, Some(seconds))), 0.0).await;
    assert_eq!(ask(&gateway, "gpt-4o").await, 500);
    assert_eq!(ask(&gateway, "gpt-4o").await, 200);
    assert_eq!(ask(&gateway, "gpt-4o").await, 200, "it rests no more");
    assert_eq!(asked(&upstream), "a b c b b ");
    gateway.stop().await;
}

#[actix_web::test]
async fn the_only_channel_never_refuses_because_it_rests() {
    let upstream = wrong_at_first(2).await;
    let setup = Setup::new([resting("a", &upstream, Some(60.0))]).client_preferences(json!({"AUTO_RETRY": false}));
    let gateway = setup.start().await;
    let statuses = [ask(&gateway, "gpt-4o").await, ask(&gateway, "gpt-4o").await, ask(&gateway, "gpt-4o").await];
    assert_eq!(statuses, [500, 500, 200]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_limited_key_is_left_alone_as_long_as_its_provider_says() {
    let limited = Reply::error(429, "slow down").header("retry-after-ms", "300");
    let upstream = FakeUpstream::in_turn([limited, Reply::chat("Hello")]).await;
    let gateway = before([resting("a", &upstream, None), resting("b", &upstream, None)], 0.0).await;
    for _ in 0..2 {
        assert_eq!(ask(&gateway, "gpt-4o").await, 200);
    }
    assert_eq!(ask(&gateway, "gpt-4o-mini").await, 200);
    sleep(Duration::from_millis(350)).await;
    assert_eq!(ask(&gateway, "gpt-4o").await, 200);
    assert_eq!(asked(&upstream), "a b b a a ", "another model was not limited");
    gateway.stop().await;
}

#[actix_web::test]
async fn nothing_is_sent_for_a_client_that_left_while_a_limit_was_waited_for() {
    let limited = Reply::error(429, "slow down").header("retry-after-ms", "300");
    let upstream = FakeUpstream::in_turn([limited, Reply::chat("Hello")]).await;
    let gateway = before([resting("a", &upstream, None)], 0.0).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(CHAT).key(KEY).json(&hello())).await;
    upstream.wait_for_requests(1).await;
    connection.hang_up();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(upstream.received().len(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_provider_that_may_be_asked_again_at_once_is_given_a_moment_all_the_same() {
    for status in [429, 503] {
        let upstream = FakeUpstream::in_turn([Reply::error(status, "not now").header("retry-after", "0")]).await;
        let gateway = before([resting("a", &upstream, None)], 0.0).await;
        let started = Instant::now();
        assert_eq!(ask(&gateway, "gpt-4o").await, status);
        assert_eq!(upstream.received().len(), 3, "{status}: two waits at most");
        assert!(started.elapsed() >= Duration::from_millis(500), "{status}: {:?}", started.elapsed());
        gateway.stop().await;
    }
}

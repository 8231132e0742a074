//! The primary refuses for now, fails, or is silent before the first token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{FakeUpstream, Reply, Setup, channel, with};

use super::{alone, backed, text_of, well, whole_and_streamed};

/// Longer than a request needs that waits for nothing, also on a busy machine.
const SOON: Duration = Duration::from_secs(2);

#[actix_web::test]
async fn s01_rate_limited_with_retry_after() {
    for request in whole_and_streamed() {
        let limited = Reply::error(429, "slow down").header("retry-after-ms", "400");
        let primary = FakeUpstream::in_turn([limited, well(&request)]).await;
        let gateway = alone(&primary).start().await;
        assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
        let received = primary.received();
        let [first, second] = received.as_slice() else { panic!("{received:?}") };
        let waited = second.at - first.at;
        assert!(waited >= Duration::from_millis(400) && waited < SOON, "{waited:?}");
        assert_eq!((first.bearer(), &first.body), (second.bearer(), &second.body));
        gateway.stop().await;

        let limited = Reply::error(429, "slow down").header("retry-after", "60");
        let (primary, fallback) = (FakeUpstream::in_turn([limited]).await, FakeUpstream::start().await);
        let gateway = backed(&primary, &fallback).start().await;
        let started = Instant::now();
        assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        assert_eq!((primary.received().len(), fallback.received().len()), (1, 1));
        gateway.stop().await;
    }
}

/// At most six requests, and at most four in any three seconds.
fn is_no_storm(upstream: &FakeUpstream) -> bool {
    let times: Vec<Instant> = upstream.received().iter().map(|request| request.at).collect();
    times.len() <= 6 && times.windows(5).all(|five| five[4] - five[0] > Duration::from_secs(3))
}

#[actix_web::test]
async fn s02_rate_limited_for_long() {
    for request in whole_and_streamed() {
        let (primary, fallback) =
            (FakeUpstream::in_turn([Reply::error(429, "slow down")]).await, FakeUpstream::start().await);
        let gateway = backed(&primary, &fallback).start().await;
        for _ in 0..20 {
            assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
        }
        assert!(is_no_storm(&primary), "{} requests", primary.received().len());
        assert_eq!(fallback.received().len(), 20);
        gateway.stop().await;

        let primary = FakeUpstream::in_turn([Reply::error(429, "slow down")]).await;
        let rests = json!({"preferences": {"api_key_rate_limit_cooldown_period": 0.3}});
        let gateway = Setup::new([with(channel("primary", &primary), rests)]).start().await;
        let answer = gateway.ask(&request).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")), "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded");
        assert!(is_no_storm(&primary), "{} requests", primary.received().len());
        let received = primary.received();
        assert!(received.windows(2).all(|two| two[1].at - two[0].at >= Duration::from_millis(300)), "{received:?}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn s03_one_internal_error() {
    for request in whole_and_streamed() {
        let once = || FakeUpstream::in_turn([Reply::error(500, "oops"), well(&request)]);
        let primary = once().await;
        let gateway = alone(&primary).start().await;
        assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
        assert_eq!(primary.received().len(), 2);
        gateway.stop().await;

        let (primary, fallback) = (once().await, FakeUpstream::start().await);
        let gateway = backed(&primary, &fallback).start().await;
        assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
        assert_eq!((primary.received().len(), fallback.received().len()), (1, 1));
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn s04_unavailable_for_long() {
    for request in whole_and_streamed() {
        let busy = || FakeUpstream::in_turn([Reply::error(503, "we are moving house")]);
        let (primary, fallback) = (busy().await, FakeUpstream::start().await);
        let gateway = backed(&primary, &fallback).start().await;
        for _ in 0..20 {
            assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
        }
        assert!(primary.received().len() <= 6, "{} requests", primary.received().len());
        assert_eq!(fallback.received().len(), 20);
        gateway.stop().await;

        let primary = busy().await;
        let gateway = alone(&primary).start().await;
        let answer = gateway.ask(&request).await;
        assert_eq!((answer.status, &answer.json()["message"]), (503, &json!("primary: we are moving house")));
        assert!(primary.received().len() <= 6, "{} requests", primary.received().len());
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn s05_connection_reset() {
    for request in whole_and_streamed() {
        let primary = FakeUpstream::in_turn([Reply::reset_without_answer(), well(&request)]).await;
        let gateway = alone(&primary).start().await;
        assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
        gateway.stop().await;

        let (primary, fallback) =
            (FakeUpstream::in_turn([Reply::reset_without_answer()]).await, FakeUpstream::start().await);
        let gateway = backed(&primary, &fallback).start().await;
        assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
        assert!(primary.received().len() <= 2, "{} requests", primary.received().len());
        assert_eq!(fallback.received().len(), 1);
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn s06_no_response() {
    for request in whole_and_streamed() {
        let primary = FakeUpstream::in_turn([Reply::never_answer()]).await;
        let fallback = FakeUpstream::start().await;
        let gateway = backed(&primary, &fallback).preferences(json!({"model_timeout": 0.3})).start().await;
        let started = Instant::now();
        assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        assert_eq!((primary.received().len(), fallback.received().len()), (1, 1));
        primary.wait_for_disconnect().await;
        gateway.stop().await;

        let primary = FakeUpstream::in_turn([Reply::never_answer()]).await;
        let gateway = alone(&primary).preferences(json!({"model_timeout": 0.3})).start().await;
        let started = Instant::now();
        let answer = gateway.ask(&request).await;
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        assert_eq!((answer.status, primary.received().len()), (504, 1), "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "upstream_first_event_timeout");
        primary.wait_for_disconnect().await;
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn s07_slow_first_token() {
    for request in whole_and_streamed() {
        // The head comes at once, and then nothing.
        let primary = FakeUpstream::in_turn([well(&request).gate(Arc::new(Semaphore::new(0)))]).await;
        let fallback = FakeUpstream::start().await;
        let gateway = backed(&primary, &fallback).preferences(json!({"model_timeout": {"gpt-4o": 0.3}})).start().await;
        let started = Instant::now();
        assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        assert_eq!((primary.received().len(), fallback.received().len()), (1, 1));
        primary.wait_for_disconnect().await;
        gateway.stop().await;
    }
}

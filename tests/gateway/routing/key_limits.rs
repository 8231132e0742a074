//! `api_key_rate_limit`: how often a key may be used for a model.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, FakeUpstream, Gateway, Received, Setup, channel, hello, with};

use super::verdict;

const KEYS: [&str; 2] = ["sk-1-0123456789", "sk-2-0123456789"];
const MODELS: [&str; 2] = ["gpt-4o", "gpt-4o-mini"];

fn limited(upstream: &FakeUpstream, limit: Value) -> Value {
    let preferences = json!({"api_key_rate_limit": limit});
    with(channel("up", upstream), json!({"api": KEYS, "model": MODELS, "preferences": preferences}))
}

fn asking_for(model: &str) -> Value {
    with(hello(), json!({"model": model}))
}

/// How many requests at the same time are answered.
async fn answered(gateway: &Gateway, model: &str, requests: usize) -> usize {
    let body = asking_for(model);
    let answers = join_all((0..requests).map(|_| gateway.ask(&body))).await;
    let is_refused = |answer: &&Answer| answer.status != 200;
    for answer in answers.iter().filter(is_refused) {
        assert_eq!(verdict(answer), (429, "rate_limit_exceeded".to_owned()));
        let after: u64 = answer.header("retry-after").expect("when to come again").parse().unwrap();
        assert!((50..=60).contains(&after), "{after}");
    }
    requests - answers.iter().filter(is_refused).count()
}

/// How often each key was used for each model.
fn used(upstream: &FakeUpstream) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for request in upstream.received() {
        let model = request.json()["model"].as_str().unwrap().to_owned();
        *counts.entry((model, request.bearer().unwrap().to_owned())).or_default() += 1;
    }
    counts
}

#[actix_web::test]
async fn no_key_is_used_more_often_for_a_model() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([limited(&upstream, json!("3/min"))]).await;
    for model in MODELS {
        assert_eq!(answered(&gateway, model, 20).await, 6, "{model}");
    }
    let counts = used(&upstream);
    assert!(counts.len() == 4 && counts.values().all(|count| *count == 3), "{counts:?}");
    gateway.stop().await;
}

#[actix_web::test]
async fn each_model_may_have_a_limit_of_its_own() {
    let upstream = FakeUpstream::start().await;
    let limits = json!({"gpt-4o": "1/min", "default": "4/min"});
    let channel = with(limited(&upstream, limits), json!({"model": ["gpt-4o", "claude"]}));
    let gateway = Gateway::before([channel]).await;
    assert_eq!(answered(&gateway, "gpt-4o", 10).await, 2);
    assert_eq!(answered(&gateway, "claude", 20).await, 8);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_channel_whose_keys_have_reached_their_limit_is_passed_over() {
    let (up, fallback) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let channels = [limited(&up, json!("2/min")), channel("fallback", &fallback)];
    let gateway = Setup::new(channels).fixed_priority().start().await;
    assert_eq!(answered(&gateway, "gpt-4o", 10).await, 10);
    assert_eq!((up.received().len(), fallback.received().len()), (4, 6));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_short_limit_is_waited_for() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([with(limited(&upstream, json!("2/s")), json!({"api": KEYS[0]}))]).await;
    assert_eq!(answered(&gateway, "gpt-4o", 3).await, 3);
    let received: Vec<Received> = upstream.received();
    // A little less than a second: a request may take longer on its way than the next one.
    let waited = received[2].at - received[0].at;
    assert!(waited > Duration::from_millis(900) && waited < Duration::from_secs(3), "{waited:?}");
    gateway.stop().await;
}

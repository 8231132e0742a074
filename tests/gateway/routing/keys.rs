//! The keys of a channel: who is next, and who rests.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{FakeUpstream, Gateway, Reply, Setup, channel, hello, with};

use super::{keys, verdict};

const KEYS: [&str; 3] = ["sk-1-0123456789", "sk-2-0123456789", "sk-3-0123456789"];
const MODELS: [&str; 2] = ["gpt-4o", "gpt-4o-mini"];

async fn before(upstream: &FakeUpstream, preferences: Value) -> Gateway {
    let keyed = json!({"api": KEYS, "model": MODELS, "preferences": preferences});
    Gateway::before([with(channel("up", upstream), keyed)]).await
}

/// The first of the keys gets this reply, and the others an answer.
async fn refusing_the_first(refusal: Reply) -> FakeUpstream {
    FakeUpstream::answering(move |request| match request.bearer() {
        Some(key) if key == KEYS[0] => refusal.clone(),
        _ => Reply::healthy(request),
    })
    .await
}

async fn ask(gateway: &Gateway, model: &str, times: usize) {
    for _ in 0..times {
        assert_eq!(gateway.ask(&with(hello(), json!({"model": model}))).await.status, 200);
    }
}

#[actix_web::test]
async fn a_key_that_is_refused_rests_and_the_next_is_tried_at_once() {
    let spent = json!({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}});
    let [one, two, three] = KEYS;
    for (refusal, also_for_others) in [
        (Reply::error(401, "no"), true),
        // Often said of a model that the key may not use.
        (Reply::error(403, "no"), false),
        (Reply::json(429, spent), true),
    ] {
        let upstream = refusing_the_first(refusal.clone()).await;
        let gateway = before(&upstream, json!({})).await;
        ask(&gateway, "gpt-4o", 4).await;
        assert_eq!(keys(&upstream), [one, two, three, two, three], "{refusal:?}");
        ask(&gateway, "gpt-4o-mini", 2).await;
        let then = if also_for_others { vec![two, three] } else { vec![one, two, three] };
        assert_eq!(keys(&upstream)[5..], then, "{refusal:?}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn when_all_keys_rest_the_one_that_wakes_first_is_tried() {
    let upstream = FakeUpstream::in_turn([Reply::error(401, "no")]).await;
    let gateway = before(&upstream, json!({})).await;
    assert_eq!(verdict(&gateway.ask(&hello()).await), (502, "upstream_key_refused".to_owned()));
    assert_eq!(keys(&upstream), KEYS);
    assert_eq!(gateway.ask(&hello()).await.status, 502);
    assert_eq!(keys(&upstream)[3..], KEYS[..1], "one attempt, and not one for each dead key");
    gateway.stop().await;
}

#[actix_web::test]
async fn keys_take_turns_by_default() {
    for preferences in [json!({}), json!({"api_key_schedule_algorithm": "round_robin"})] {
        let upstream = FakeUpstream::start().await;
        let gateway = before(&upstream, preferences).await;
        ask(&gateway, "gpt-4o", 6).await;
        assert_eq!(keys(&upstream), [KEYS, KEYS].concat());
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn keys_may_have_a_fixed_priority() {
    let upstream = FakeUpstream::start().await;
    let gateway = before(&upstream, json!({"api_key_schedule_algorithm": "FIXED_PRIORITY"})).await;
    ask(&gateway, "gpt-4o", 4).await;
    assert_eq!(keys(&upstream), [KEYS[0]; 4]);
    gateway.stop().await;

    let upstream = refusing_the_first(Reply::error(401, "no")).await;
    let gateway = before(&upstream, json!({"api_key_schedule_algorithm": "fixed_priority"})).await;
    ask(&gateway, "gpt-4o", 3).await;
    assert_eq!(keys(&upstream), [KEYS[0], KEYS[1], KEYS[1], KEYS[1]]);
    gateway.stop().await;
}

#[actix_web::test]
async fn keys_may_be_drawn() {
    let upstream = FakeUpstream::start().await;
    let gateway = before(&upstream, json!({"api_key_schedule_algorithm": "random"})).await;
    ask(&gateway, "gpt-4o", 300).await;
    let used = keys(&upstream);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    used.iter().for_each(|key| *counts.entry(key).or_default() += 1);
    // A hundred each, within five standard deviations.
    assert!(counts.len() == 3 && counts.values().all(|count| count.abs_diff(100) < 41), "{counts:?}");
    assert!(used.windows(2).any(|two| two[0] == two[1]), "they do not take turns");
    gateway.stop().await;
}

#[actix_web::test]
async fn without_retries_only_one_key_is_tried() {
    for retries in [json!(false), json!(0), json!("false")] {
        let upstream = refusing_the_first(Reply::error(401, "no")).await;
        let keyed = with(channel("up", &upstream), json!({"api": KEYS}));
        let gateway = Setup::new([keyed]).client_preferences(json!({"AUTO_RETRY": retries})).start().await;
        assert_eq!(gateway.ask(&hello()).await.status, 502);
        assert_eq!(keys(&upstream), KEYS[..1]);
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_number_of_retries_counts_keys_as_well() {
    let upstream = FakeUpstream::in_turn([Reply::error(401, "no")]).await;
    let keyed = with(channel("up", &upstream), json!({"api": KEYS}));
    let gateway = Setup::new([keyed]).client_preferences(json!({"AUTO_RETRY": 1})).start().await;
    assert_eq!(gateway.ask(&hello()).await.status, 502);
    assert_eq!(keys(&upstream), KEYS[..2]);
    gateway.stop().await;
}

//! Rules of client keys: other client keys, weights, and providers of the same name.

use serde_json::{Value, json};

use crate::support::{FakeUpstream, Gateway, KEY, Reply, Setup, channel, hello, with};

use super::{asked, shared};

const INNER: &str = "sk-inner-0123456789";

/// A client key with these rules and this schedule.
fn key(api: &str, rules: Value, schedule: &str) -> Value {
    json!({"api": api, "model": rules, "preferences": {"SCHEDULING_ALGORITHM": schedule}})
}

/// Channels `a`, `b` and `c`, which all work but these.
async fn all_work_but(broken: &'static [&'static str]) -> FakeUpstream {
    shared(move |channel, request| match broken.contains(&channel) {
        true => Reply::error(500, "oops"),
        false => Reply::healthy(request),
    })
    .await
}

async fn in_front_of(upstream: &FakeUpstream, keys: Value) -> Gateway {
    let channels = ["a", "b", "c"].map(|name| channel(name, upstream));
    Setup::new(channels).api_keys(keys).preferences(json!({"breaker": "off"})).start().await
}

async fn ask(gateway: &Gateway, times: usize) {
    for _ in 0..times {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
}

fn count(asked: &str, name: &str) -> usize {
    asked.split_whitespace().filter(|channel| *channel == name).count()
}

fn random_among_a_and_b_then_c() -> Value {
    let inner = key(INNER, json!(["a/*", "b/*"]), "random");
    json!([key(KEY, json!([format!("{INNER}/*"), "c/*"]), "fixed_priority"), inner])
}

#[actix_web::test]
async fn one_of_two_at_random_and_the_third_in_need_only() {
    let upstream = all_work_but(&[]).await;
    let gateway = in_front_of(&upstream, random_among_a_and_b_then_c()).await;
    ask(&gateway, 400).await;
    let asked = asked(&upstream);
    // Two hundred each, within five standard deviations.
    assert!(count(&asked, "a").abs_diff(200) < 50, "{}", count(&asked, "a"));
    assert_eq!((count(&asked, "a") + count(&asked, "b"), count(&asked, "c")), (400, 0));
    gateway.stop().await;
}

#[actix_web::test]
async fn when_one_of_the_two_fails_the_other_is_tried_before_the_third() {
    let upstream = all_work_but(&["a"]).await;
    let gateway = in_front_of(&upstream, random_among_a_and_b_then_c()).await;
    ask(&gateway, 40).await;
    assert_eq!((count(&asked(&upstream), "b"), count(&asked(&upstream), "c")), (40, 0));
    gateway.stop().await;
}

#[actix_web::test]
async fn when_both_fail_the_third_answers() {
    let upstream = all_work_but(&["a", "b"]).await;
    let gateway = in_front_of(&upstream, random_among_a_and_b_then_c()).await;
    ask(&gateway, 40).await;
    let asked = asked(&upstream);
    for three in asked.split_whitespace().collect::<Vec<_>>().chunks(3) {
        assert!(matches!(three, ["a", "b", "c"] | ["b", "a", "c"]), "{three:?}");
    }
    assert_eq!(["a", "b", "c"].map(|name| count(&asked, name)), [40; 3]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_key_that_names_another_may_use_what_that_one_may() {
    let upstream = all_work_but(&[]).await;
    let gateway = in_front_of(&upstream, random_among_a_and_b_then_c()).await;
    assert_eq!(gateway.models(KEY).await, ["gpt-4o"]);
    let stranger = with(hello(), json!({"model": "gpt-4o-mini"}));
    assert_eq!(gateway.ask(&stranger).await.status, 404);
    gateway.stop().await;
}

#[actix_web::test]
async fn weights_say_who_is_first_how_often() {
    let upstream = all_work_but(&[]).await;
    let rules = json!([{"a/*": 5}, {"b/*": 3}, {"c/*": 2}]);
    let gateway = in_front_of(&upstream, json!([key(KEY, rules, "Weighted_Round_Robin")])).await;
    ask(&gateway, 20).await;
    assert_eq!(asked(&upstream), "a b c a a b a c b a ".repeat(2));
    gateway.stop().await;
}

#[actix_web::test]
async fn the_others_follow_by_weight_and_then_those_without() {
    let upstream = all_work_but(&["a", "b"]).await;
    let rules = json!(["c/*", {"b/*": 1}, {"a/*": 2}]);
    let gateway = in_front_of(&upstream, json!([key(KEY, rules, "weighted_round_robin")])).await;
    ask(&gateway, 3).await;
    assert_eq!(asked(&upstream), "a b c b a c a b c ");
    gateway.stop().await;
}

#[actix_web::test]
async fn providers_of_one_name_take_part_together() {
    let (bad, good) = (FakeUpstream::in_turn([Reply::error(500, "oops")]).await, FakeUpstream::start().await);
    let rules = json!([key(KEY, json!(["up/*"]), "round_robin")]);
    let setup = Setup::new([channel("up", &bad), channel("up", &good)]).api_keys(rules);
    let gateway = setup.preferences(json!({"breaker": "off"})).start().await;
    ask(&gateway, 6).await;
    assert_eq!((bad.received().len(), good.received().len()), (3, 6), "each begins in turn, and one helps the other");
    gateway.stop().await;
}

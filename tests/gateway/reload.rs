//! Another configuration while requests are under way: what is still there goes on as if nothing had happened.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uni_api::config::ChannelId;

use crate::support::{
    FakeUpstream, Gateway, KEY, Reply, Setup, channel, gateway::eventually, hello, hello_streamed, upstream_key, with,
};

/// Who was asked, one upstream key for each request.
fn asked(upstream: &FakeUpstream) -> Vec<String> {
    upstream.received().iter().map(|request| request.bearer().expect("a key").to_owned()).collect()
}

fn keys_of(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| upstream_key(name)).collect()
}

async fn ask(gateway: &Gateway, times: usize) {
    for _ in 0..times {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
}

#[actix_web::test]
async fn turns_go_on_where_they_were() {
    let upstream = FakeUpstream::start().await;
    let setup = |names: &[&str]| Setup::new(names.iter().map(|name| channel(name, &upstream)).collect::<Vec<_>>());
    let gateway = setup(&["a", "b", "c"]).start().await;
    ask(&gateway, 2).await;
    gateway.reload(setup(&["a", "b", "c"])).await;
    ask(&gateway, 2).await;
    gateway.reload(setup(&["a", "b", "c", "d"])).await;
    ask(&gateway, 3).await;
    assert_eq!(asked(&upstream), keys_of(&["a", "b", "c", "a", "b", "c", "d"]));
    gateway.stop().await;
}

#[actix_web::test]
async fn weights_stay_exact_over_reloads() {
    let upstream = FakeUpstream::start().await;
    let setup = || {
        let rules = json!([{"a/*": 5}, {"b/*": 3}, {"c/*": 2}]);
        let preferences = json!({"SCHEDULING_ALGORITHM": "weighted_round_robin"});
        Setup::new(["a", "b", "c"].map(|name| channel(name, &upstream)))
            .api_keys(json!([{"api": KEY, "model": rules, "preferences": preferences}]))
    };
    let gateway = setup().start().await;
    for _ in 0..10 {
        ask(&gateway, 1).await;
        gateway.reload(setup()).await;
    }
    let asked = asked(&upstream);
    let count = |name| asked.iter().filter(|key| **key == upstream_key(name)).count();
    assert_eq!([count("a"), count("b"), count("c")], [5, 3, 2]);
    gateway.stop().await;
}

#[actix_web::test]
async fn limits_go_on_counting() {
    let upstream = FakeUpstream::start().await;
    let limited =
        |requests: &str| Setup::new([channel("up", &upstream)]).client_preferences(json!({"RATE_LIMIT": requests}));
    let gateway = limited("3/min").start().await;
    ask(&gateway, 2).await;
    gateway.reload(limited("3/min")).await;
    ask(&gateway, 1).await;
    assert_eq!(gateway.ask(&hello()).await.status, 429);
    gateway.reload(limited("4/min")).await;
    ask(&gateway, 1).await;
    assert_eq!(gateway.ask(&hello()).await.status, 429);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_channel_that_has_not_changed_keeps_its_actor_with_all_it_knows() {
    let upstream = FakeUpstream::start().await;
    let limited = json!({"preferences": {"api_key_rate_limit": "2/hour"}});
    let setup = |more: &[&str]| {
        let others = more.iter().map(|name| channel(name, &upstream));
        Setup::new(others.chain([with(channel("up", &upstream), limited.clone())]).collect::<Vec<_>>())
    };
    let gateway = setup(&[]).start().await;
    let actor = |gateway: &Gateway| gateway.control.providers().get(&ChannelId(0)).map(|actor| actor.clone());
    ask(&gateway, 1).await;
    let before = actor(&gateway);
    gateway.reload(setup(&["new"])).await;
    assert!(before.is_some() && actor(&gateway) == before);
    gateway.reload(setup(&[])).await;
    ask(&gateway, 1).await;
    assert_eq!(gateway.ask(&hello()).await.status, 429, "both requests count for the key");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_channel_that_is_gone_ends_its_streams_and_then_itself() {
    let gate = Arc::new(Semaphore::new(0));
    let old = FakeUpstream::in_turn([Reply::stream(["Hel", "lo"]).gate(Arc::clone(&gate))]).await;
    let new = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("old", &old)]).await;
    let mut stream = {
        gate.add_permits(2);
        gateway.open(&hello_streamed()).await
    };
    assert!(stream.next_event().await.is_some());
    let health = gateway.health(0);
    gateway.reload(Setup::new([channel("new", &new)])).await;
    ask(&gateway, 1).await;
    assert_eq!((old.received().len(), new.received().len()), (1, 1));
    gate.close();
    let mut last = None;
    while let Some(event) = stream.next_event().await {
        last = Some(event);
    }
    assert_eq!(last.as_deref(), Some("[DONE]"));
    eventually("the actor to end", async || Arc::strong_count(&health) == 1).await;
    gateway.stop().await;
}

#[actix_web::test]
async fn a_changed_channel_is_asked_as_it_is_now() {
    let upstream = FakeUpstream::start().await;
    let keyed = |key: &str| Setup::new([with(channel("up", &upstream), json!({"api": key}))]);
    let gateway = keyed("sk-one-0123456789").start().await;
    ask(&gateway, 1).await;
    gateway.reload(keyed("sk-two-0123456789")).await;
    ask(&gateway, 1).await;
    assert_eq!(asked(&upstream), ["sk-one-0123456789", "sk-two-0123456789"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn new_rules_and_keys_count_at_once() {
    let upstream = FakeUpstream::start().await;
    let with_keys = |keys: Value| {
        Setup::new([with(channel("up", &upstream), json!({"model": ["gpt-4o", "other"]}))]).api_keys(keys)
    };
    let gateway = with_keys(json!([{"api": KEY}, {"api": "sk-leaving-0123456789"}])).start().await;
    ask(&gateway, 1).await;
    assert_eq!(gateway.models("sk-leaving-0123456789").await.len(), 2);
    gateway.reload(with_keys(json!([{"api": "sk-coming-0123456789"}, {"api": KEY, "model": ["other"]}]))).await;
    assert_eq!(gateway.ask(&hello()).await.status, 404);
    assert_eq!(gateway.models(KEY).await, ["other"]);
    assert_eq!(gateway.models("sk-coming-0123456789").await.len(), 2);
    assert_eq!(gateway.client().get("/v1/models", "sk-leaving-0123456789").await.status, 401);
    gateway.stop().await;
}

#[actix_web::test]
async fn discovered_models_are_kept() {
    let upstream = FakeUpstream::start().await;
    let asking = || {
        let mut entry = channel("up", &upstream);
        entry.as_object_mut().expect("an object").remove("model");
        Setup::new([entry])
    };
    let gateway = asking().start().await;
    eventually("the models", async || gateway.models(KEY).await.len() == 2).await;
    let lists = upstream.received().len();
    gateway.reload(asking()).await;
    assert_eq!(gateway.models(KEY).await.len(), 2);
    assert_eq!(upstream.received().len(), lists, "nobody asked again");
    gateway.stop().await;
}

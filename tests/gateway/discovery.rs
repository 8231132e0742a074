//! Providers without `model`: their list is asked for in the background.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    FakeUpstream, Gateway, KEY, Reply, Setup, channel, gateway::eventually, hello, hello_streamed, refusing_address,
    upstream_key, with,
};

fn without_models(mut channel: Value) -> Value {
    channel.as_object_mut().unwrap().remove("model");
    channel
}

#[actix_web::test]
async fn a_provider_without_models_offers_what_its_upstream_lists() {
    let upstream = FakeUpstream::start().await;
    upstream.set_models(["gpt-4o", "org/model:free"]);
    let gateway = Gateway::before([without_models(channel("up", &upstream))]).await;
    eventually("the models", async || gateway.models(KEY).await == ["gpt-4o", "org/model:free"]).await;
    let received = upstream.received();
    assert_eq!((received[0].method.as_str(), received[0].path.as_str()), ("GET", "/v1/models"));
    assert_eq!(received[0].bearer(), Some(upstream_key("up").as_str()));

    let asked = with(hello_streamed(), json!({"model": "org/model:free"}));
    assert_eq!(gateway.ask(&asked).await.status, 200);
    assert_eq!(upstream.received().pop().unwrap().json()["model"], "org/model:free");
    assert_eq!(upstream.received().len(), 2, "the list is asked for once");
    gateway.stop().await;
}

#[actix_web::test]
async fn the_list_is_found_beside_the_chat_endpoint() {
    let upstream = FakeUpstream::start().await;
    let at_endpoint = json!({"base_url": upstream.url("/openai/v1/chat/completions")});
    let gateway = Gateway::before([without_models(with(channel("up", &upstream), at_endpoint))]).await;
    eventually("the models", async || !gateway.models(KEY).await.is_empty()).await;
    assert_eq!(upstream.received()[0].path, "/openai/v1/models");
    gateway.stop().await;
}

#[actix_web::test]
async fn rules_apply_to_discovered_models() {
    let upstream = FakeUpstream::start().await;
    upstream.set_models(["a", "b", "c"]);
    let setup = Setup::new([without_models(channel("up", &upstream))]);
    let gateway = setup.api_keys(json!([{"api": KEY, "model": ["up/b", "a"]}])).start().await;
    eventually("the models", async || gateway.models(KEY).await == ["b", "a"]).await;
    assert_eq!(gateway.ask(&with(hello(), json!({"model": "c"}))).await.status, 404);
    gateway.stop().await;
}

#[actix_web::test]
async fn until_the_list_is_there_only_its_models_are_missing() {
    let gate = Arc::new(Semaphore::new(0));
    let late = Reply::models(["late"]).gate_head(Arc::clone(&gate));
    let slow = FakeUpstream::answering(move |request| match request.method.as_str() {
        "GET" => late.clone(),
        _ => Reply::healthy(request),
    })
    .await;
    let ready = FakeUpstream::start().await;
    let gateway = Gateway::before([without_models(channel("slow", &slow)), channel("ready", &ready)]).await;
    slow.wait_for_requests(1).await;
    assert_eq!(gateway.models(KEY).await, ["gpt-4o"]);
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert_eq!(gateway.ask(&with(hello(), json!({"model": "late"}))).await.status, 404);
    gate.close();
    eventually("the models", async || gateway.models(KEY).await == ["late", "gpt-4o"]).await;
    assert_eq!(gateway.ask(&with(hello(), json!({"model": "late"}))).await.status, 200);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_discovery_that_fails_harms_nobody_else() {
    let ready = FakeUpstream::start().await;
    for failure in [
        Reply::error(401, "bad key"),
        Reply::error(500, "broken"),
        Reply::body("text/html", "<html></html>"),
        Reply::json(200, json!({"models": []})),
        Reply::close_without_answer(),
        Reply::body("application/json", "{\"data\":[").content_length_lie(1000),
        Reply::never_answer(),
    ] {
        let failing = FakeUpstream::answering(move |_| failure.clone()).await;
        let channels = [without_models(channel("failing", &failing)), channel("ready", &ready)];
        let gateway = Gateway::before(channels).await;
        failing.wait_for_requests(1).await;
        assert_eq!(gateway.ask(&hello()).await.status, 200);
        assert_eq!(gateway.models(KEY).await, ["gpt-4o"]);
        gateway.stop().await;
    }
    let nobody = json!({"base_url": format!("http://{}/v1", refusing_address().await)});
    let unreachable = with(without_models(channel("unreachable", &ready)), nobody);
    let gateway = Gateway::before([unreachable, channel("ready", &ready)]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.stop().await;
}

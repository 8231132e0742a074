//! Actors that panic: the next request is answered, and nothing else notices.

use std::sync::Arc;

use actix::Addr;
use serde_json::json;
use tokio::sync::Semaphore;
use uni_api::actors::{messages::Crash, provider::ProviderActor};
use uni_api::config::ChannelId;

use crate::support::{FakeUpstream, Gateway, KEY, Reply, channel, gateway::eventually, hello, hello_streamed};

const BOTH: [Crash; 2] = [Crash::InHandler, Crash::Fatal];

fn provider(gateway: &Gateway) -> Addr<ProviderActor> {
    gateway.control.providers().get(&ChannelId(0)).unwrap().clone()
}

fn crash_provider(gateway: &Gateway, crash: Crash) {
    provider(gateway).do_send(crash);
}

fn crash_router(gateway: &Gateway, crash: Crash) {
    gateway.control.router().do_send(crash);
}

async fn one_channel() -> (FakeUpstream, Gateway) {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    // A router that answers has started its provider actors.
    assert_eq!(gateway.models(KEY).await, ["gpt-4o"]);
    (upstream, gateway)
}

#[actix_web::test]
async fn a_provider_actor_that_panics_is_back_for_the_next_request() {
    for crash in BOTH {
        let (_upstream, gateway) = one_channel().await;
        for _ in 0..3 {
            crash_provider(&gateway, crash);
            assert_eq!(gateway.ask(&hello()).await.status, 200, "{crash:?}");
        }
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_provider_actor_that_is_gone_is_replaced() {
    let (_upstream, gateway) = one_channel().await;
    let first = provider(&gateway);
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    first.do_send(Crash::Fatal);
    eventually("the actor to be gone", async || !first.connected()).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert!(provider(&gateway).connected() && provider(&gateway) != first);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_provider_actor_survives_a_panic_in_a_handler() {
    let (_upstream, gateway) = one_channel().await;
    let first = provider(&gateway);
    crash_provider(&gateway, Crash::InHandler);
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert!(first.connected() && provider(&gateway) == first);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_router_that_panics_is_back_for_the_next_request() {
    for crash in BOTH {
        let (_upstream, gateway) = one_channel().await;
        for _ in 0..3 {
            let router = gateway.control.router();
            crash_router(&gateway, crash);
            assert_eq!(gateway.ask(&hello()).await.status, 200, "{crash:?}");
            eventually("the router to be gone", async || !router.connected()).await;
            assert_eq!(gateway.models(KEY).await, ["gpt-4o"]);
            assert_eq!(gateway.ask(&hello_streamed()).await.status, 200, "{crash:?}");
        }
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_router_that_panics_leaves_the_provider_actors_alone() {
    let (_upstream, gateway) = one_channel().await;
    let first = provider(&gateway);
    crash_router(&gateway, Crash::Fatal);
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert!(provider(&gateway) == first);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_is_not_disturbed_by_any_panic() {
    let gate = Arc::new(Semaphore::new(2));
    let upstream =
        FakeUpstream::in_turn([Reply::stream(["Hel", "lo"]).gate(Arc::clone(&gate)), Reply::chat("Hello")]).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let mut stream = gateway.open(&hello_streamed()).await;
    stream.next_event().await.unwrap();
    for crash in BOTH {
        crash_provider(&gateway, crash);
        assert_eq!(gateway.ask(&hello()).await.status, 200, "{crash:?}");
        crash_router(&gateway, crash);
        assert_eq!(gateway.ask(&hello()).await.status, 200, "{crash:?}");
    }
    gate.close();
    let rest = stream.rest().await;
    assert!(rest.complete && rest.text().ends_with("data: [DONE]\n\n"), "{}", rest.text());
    gateway.stop().await;
}

#[actix_web::test]
async fn requests_under_way_are_answered_while_actors_panic() {
    let (upstream, gateway) = one_channel().await;
    let crashes = async {
        for crash in BOTH.into_iter().cycle().take(6) {
            crash_provider(&gateway, crash);
            crash_router(&gateway, crash);
            tokio::task::yield_now().await;
        }
    };
    let body = hello();
    let requests = futures::future::join_all((0..20).map(|_| gateway.ask(&body)));
    let ((), answers) = tokio::join!(crashes, requests);
    // A question is asked three times at most; actors that die faster than that may cost a request its answer.
    assert!(answers.iter().all(|answer| [200, 500].contains(&answer.status)));
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    drop(upstream);
    gateway.stop().await;
}

#[actix_web::test]
async fn discovered_models_survive_the_router() {
    let upstream = FakeUpstream::start().await;
    let discovered = json!({"provider": "up", "base_url": upstream.base_url()});
    let gateway = Gateway::before([discovered]).await;
    eventually("the models", async || gateway.models(KEY).await == ["gpt-4o", "gpt-4o-mini"]).await;
    let asked_before = upstream.received().len();
    let router = gateway.control.router();
    crash_router(&gateway, Crash::Fatal);
    eventually("the router to be gone", async || !router.connected()).await;
    eventually("the models", async || gateway.models(KEY).await == ["gpt-4o", "gpt-4o-mini"]).await;
    assert_eq!(upstream.received().len(), asked_before, "the upstream is not asked again");
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.stop().await;
}

#[actix_web::test]
async fn discovered_models_are_there_for_the_first_request_after_the_router_panicked() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([json!({"provider": "up", "base_url": upstream.base_url()})]).await;
    eventually("the models", async || !gateway.models(KEY).await.is_empty()).await;
    crash_router(&gateway, Crash::Fatal);
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.stop().await;
}

//! Cloudflare Workers AI, of which the account is all that is configured.

use serde_json::{Value, json};

use crate::support::{
    FakeUpstream, Gateway, KEY, Reply, gateway::eventually, hello, hello_streamed, upstream_key, with,
};

const ROOT: &str = "/client/v4/accounts/0123456789abcdef/ai";

fn cloudflare(upstream: &FakeUpstream) -> Value {
    json!({
        "provider": "cf", "base_url": upstream.url("/"), "cf_account_id": "0123456789abcdef", "api": upstream_key("cf"),
        "model": [{"@cf/meta/llama-3.1-8b-instruct": "gpt-4o"}],
    })
}

#[actix_web::test]
async fn the_whole_conversation_reaches_the_account() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([cloudflare(&upstream)]).await;
    let conversation = json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Who are you?"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "temperature": 0.5,
    });
    for request in [hello(), hello_streamed()] {
        let request = with(request, conversation.clone());
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.status, 200);
        assert!(answer.complete && answer.text().contains("\"usage\""), "{}", answer.text());
    }
    for received in upstream.received() {
        assert_eq!(received.path, format!("{ROOT}/v1/chat/completions"));
        assert_eq!(received.bearer(), Some(upstream_key("cf").as_str()));
        let sent = received.json();
        assert_eq!(sent["model"], "@cf/meta/llama-3.1-8b-instruct");
        for (field, value) in conversation.as_object().unwrap() {
            assert_eq!(sent[field], *value);
        }
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn the_models_of_the_account_are_listed() {
    let upstream = FakeUpstream::answering(|request| match request.method.as_str() {
        "GET" => Reply::json(
            200,
            json!({"success": true, "result": [{"id": "0f", "name": "@cf/meta/llama-3.1-8b-instruct"}]}),
        ),
        _ => Reply::healthy(request),
    })
    .await;
    let mut provider = cloudflare(&upstream);
    provider.as_object_mut().unwrap().remove("model");
    let gateway = Gateway::before([provider]).await;
    eventually("the models", async || gateway.models(KEY).await == ["@cf/meta/llama-3.1-8b-instruct"]).await;
    let received = &upstream.received()[0];
    assert_eq!(
        (received.path.as_str(), received.query.as_str()),
        (&*format!("{ROOT}/models/search"), "task=Text%20Generation&per_page=100")
    );
    assert_eq!(received.bearer(), Some(upstream_key("cf").as_str()));
    let answer = gateway.ask(&with(hello(), json!({"model": "@cf/meta/llama-3.1-8b-instruct"}))).await;
    assert_eq!(answer.status, 200);
    gateway.stop().await;
}

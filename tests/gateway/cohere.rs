//! Cohere behind an OpenAI client, both versions of its chat.

use serde_json::{Value, json};

use crate::support::{
    FakeUpstream, Gateway, KEY, Reply, channel, gateway::eventually, hello, hello_streamed, upstream_key, with,
};

fn cohere(upstream: &FakeUpstream, path: &str) -> Value {
    let base_url = upstream.url(path);
    with(channel("up", upstream), json!({"base_url": base_url, "engine": "cohere", "model": [{"command-a": "gpt-4o"}]}))
}

fn text_of(events: &[String]) -> String {
    let chunks = events.iter().map(|event| serde_json::from_str::<Value>(event).unwrap());
    chunks.filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect()
}

#[actix_web::test]
async fn the_second_version_answers_whole_and_streamed() {
    let upstream = FakeUpstream::answering(|request| {
        if request.json()["stream"] != true {
            return Reply::json(
                200,
                json!({
                    "id": "1", "finish_reason": "COMPLETE",
                    "message": {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
                    "usage": {"billed_units": {"input_tokens": 1, "output_tokens": 2},
                              "tokens": {"input_tokens": 7, "output_tokens": 5}},
                }),
            );
        }
        let event = |document: Value| format!("event: {}\ndata: {document}\n\n", document["type"].as_str().unwrap());
        let said = |text: &str| {
            let delta = json!({"message": {"content": {"text": text}}});
            event(json!({"type": "content-delta", "index": 0, "delta": delta}))
        };
        let usage = json!({"tokens": {"input_tokens": 7, "output_tokens": 5}});
        Reply::sse([
            event(json!({"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}})),
            said("Hel"),
            said("lo"),
            event(json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}})),
        ])
    })
    .await;
    for base in ["", "/v2", "/v2/chat"] {
        let gateway = Gateway::before([cohere(&upstream, base)]).await;
        let whole = gateway.ask(&hello()).await.json();
        assert_eq!(whole["choices"][0]["message"]["content"], "Hello", "{whole}");
        assert_eq!(whole["usage"]["total_tokens"], 12);
        let mut events = gateway.ask(&hello_streamed()).await.events();
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        assert_eq!(text_of(&events), "Hello");
        gateway.stop().await;
    }
    for received in upstream.received() {
        assert_eq!((received.path.as_str(), &received.json()["model"]), ("/v2/chat", &json!("command-a")));
        assert_eq!(received.bearer(), Some(upstream_key("up").as_str()));
    }
}

#[actix_web::test]
async fn the_first_version_streams_lines() {
    let line = |document: Value| format!("{document}\n");
    let lines = [
        line(json!({"is_finished": false, "event_type": "stream-start", "generation_id": "1"})),
        line(json!({"is_finished": false, "event_type": "text-generation", "text": "Hel"})),
        line(json!({"is_finished": false, "event_type": "text-generation", "text": "lo"})),
        line(json!({"is_finished": true, "event_type": "stream-end", "finish_reason": "COMPLETE",
            "response": {"meta": {"tokens": {"input_tokens": 7, "output_tokens": 5}}}})),
    ];
    let reply = Reply::sse(lines.clone()).content_type("application/stream+json");
    let upstream = FakeUpstream::in_turn([reply.clone(), reply.cut_after(3)]).await;
    let gateway = Gateway::before([cohere(&upstream, "/v1/chat")]).await;
    let mut events = gateway.ask(&hello_streamed()).await.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    assert_eq!(text_of(&events), "Hello");
    let received = &upstream.received()[0];
    assert_eq!((received.path.as_str(), &received.json()["message"]), ("/v1/chat", &json!("Hi")));

    let cut = gateway.ask(&hello_streamed()).await;
    assert!(!cut.text().contains("[DONE]"), "{}", cut.text());
    gateway.stop().await;
}

#[actix_web::test]
async fn its_models_are_listed() {
    let upstream = FakeUpstream::answering(|_| {
        Reply::json(200, json!({"models": [{"name": "command-a", "endpoints": ["chat"]}], "next_page_token": null}))
    })
    .await;
    let mut provider = cohere(&upstream, "/v2/chat");
    provider.as_object_mut().unwrap().remove("model");
    let gateway = Gateway::before([provider]).await;
    eventually("the models", async || gateway.models(KEY).await == ["command-a"]).await;
    assert_eq!(upstream.received()[0].path, "/v1/models");
    gateway.stop().await;
}

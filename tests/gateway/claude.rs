//! Claude behind an OpenAI client: what its upstream gets, and what the client sees of it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    CHAT, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, gateway::eventually, hello, hello_streamed,
    upstream_key, with,
};

fn claude(name: &str, upstream: &FakeUpstream) -> Value {
    let base_url = upstream.url("/v1/messages");
    with(
        channel(name, upstream),
        json!({"base_url": base_url, "model": ["claude-sonnet-4-5", {"claude-sonnet-4-5": "gpt-4o"}]}),
    )
}

fn message() -> Reply {
    Reply::json(
        200,
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
            "content": [
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}},
                {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {"city": "Oslo"}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 7, "cache_read_input_tokens": 90, "output_tokens": 5},
        }),
    )
}

fn event(document: Value) -> String {
    format!("event: {}\ndata: {document}\n\n", document["type"].as_str().unwrap())
}

fn started() -> String {
    event(json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-sonnet-4-5",
        "stop_reason": null, "usage": {"input_tokens": 7, "output_tokens": 1},
    }}))
}

fn block(index: usize, block: Value) -> String {
    event(json!({"type": "content_block_start", "index": index, "content_block": block}))
}

fn delta(index: usize, delta: Value) -> String {
    event(json!({"type": "content_block_delta", "index": index, "delta": delta}))
}

fn said(text: &str) -> String {
    delta(0, json!({"type": "text_delta", "text": text}))
}

fn ping() -> String {
    event(json!({"type": "ping"}))
}

/// "Hello", said in two pieces.
fn hello_events() -> Vec<String> {
    vec![
        started(),
        block(0, json!({"type": "text", "text": ""})),
        ping(),
        said("Hel"),
        said("lo"),
        event(json!({"type": "content_block_stop", "index": 0})),
        event(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}})),
        event(json!({"type": "message_stop"})),
    ]
}

fn chunks(events: &[String]) -> Vec<Value> {
    events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

fn text_of(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

#[actix_web::test]
async fn a_request_reaches_claude_in_its_own_words() {
    let upstream = FakeUpstream::in_turn([message()]).await;
    let gateway = Gateway::before([claude("up", &upstream)]).await;
    let asked = with(
        hello(),
        json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "stop": "END"}),
    );
    let answer = gateway.ask(&asked).await.json();

    let received = &upstream.received()[0];
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/v1/messages"));
    assert_eq!(received.header("x-api-key"), Some(upstream_key("up").as_str()));
    assert_eq!(received.header("anthropic-version"), Some("2023-06-01"));
    assert_eq!((received.header("authorization"), received.header("anthropic-beta")), (None, None));
    let body = received.json();
    assert_eq!(body["model"], "claude-sonnet-4-5");
    assert_eq!(body["system"][0]["text"], "Be brief.");
    assert_eq!(body["stop_sequences"], json!(["END"]));

    assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("gpt-4o")));
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &json!("Let me look."))
    );
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    let ids: Vec<_> = calls.iter().map(|call| call["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["toolu_1", "toolu_2"]);
    assert_eq!(calls[1]["function"], json!({"name": "weather", "arguments": "{\"city\":\"Oslo\"}"}));
    let usage = &answer["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["total_tokens"]), (&json!(97), &json!(102)));
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 90);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_of_claude_arrives_as_chunks() {
    let upstream = FakeUpstream::in_turn([Reply::sse(hello_events())]).await;
    let gateway = Gateway::before([claude("up", &upstream)]).await;
    let answer = gateway.ask(&with(hello_streamed(), json!({"stream_options": {"include_usage": true}}))).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let mut events = answer.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let chunks = chunks(&events);
    assert_eq!(text_of(&chunks), "Hello");
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let id = format!("chatcmpl-{}", answer.header("x-request-id").unwrap());
    assert!(chunks.iter().all(|chunk| chunk["id"] == id && chunk["model"] == "gpt-4o"));
    let [.., finish, usage] = &chunks[..] else { panic!("only {} chunks", chunks.len()) };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(12)));

    let unasked = gateway.ask(&hello_streamed()).await.events();
    assert!(unasked.iter().all(|event| !event.contains("usage")), "{unasked:?}");
    gateway.stop().await;
}

#[actix_web::test]
async fn the_clients_beta_features_reach_claude_and_nobody_else() {
    let upstream = FakeUpstream::answering(|request| match request.path.as_str() {
        "/v1/messages" => message(),
        _ => Reply::chat("Hello"),
    })
    .await;
    let gateway = Gateway::before([claude("claude", &upstream), channel("gpt", &upstream)]).await;
    for model in ["claude-sonnet-4-5", "gpt-4o", "gpt-4o"] {
        let asked = Request::post(CHAT).key(KEY).header("anthropic-beta", "context-1m-2025-08-07,x");
        let asked = asked.header("anthropic-beta", "y");
        let answer = gateway.client().request(asked.json(&with(hello(), json!({"model": model})))).await;
        assert_eq!(answer.status, 200);
    }
    for received in upstream.received() {
        let expected = (received.path == "/v1/messages").then_some("context-1m-2025-08-07,x,y");
        assert_eq!(received.header("anthropic-beta"), expected, "{}", received.path);
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_of_claude_cut_at_any_event_never_looks_complete() {
    let events = hello_events();
    for cut in 0..events.len() {
        let reply = Reply::sse(events.clone()).cut_after(cut);
        let upstream = FakeUpstream::in_turn([reply]).await;
        let gateway = Gateway::before([claude("up", &upstream)]).await;
        let answer = gateway.ask(&hello_streamed()).await;
        assert!(!answer.text().contains("[DONE]"), "cut after {cut} events");
        assert!(answer.text().contains("\"error\""), "cut after {cut} events");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_claude_that_fails_before_its_first_word_is_replaced_by_the_next_channel() {
    let overloaded = event(json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}));
    for reply in [
        Reply::json(529, json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})),
        Reply::sse([started(), ping(), overloaded]),
        Reply::sse([started(), ping()]),
        Reply::sse(hello_events()).stall_after(3),
    ] {
        let broken = FakeUpstream::in_turn([reply]).await;
        let healthy = FakeUpstream::start().await;
        let setup = Setup::new([claude("claude", &broken), channel("gpt", &healthy)]).fixed_priority();
        let gateway = setup.patience(Duration::from_millis(300)).start().await;
        let mut events = gateway.ask(&hello_streamed()).await.events();
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        assert_eq!(text_of(&chunks(&events)), "Hello");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn an_error_event_in_mid_stream_is_told_in_band() {
    let overloaded = event(json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}));
    let events = [started(), said("Hel"), overloaded, said("lo")];
    let gate = Arc::new(Semaphore::new(2));
    let upstream = FakeUpstream::in_turn([Reply::sse(events).gate(Arc::clone(&gate))]).await;
    let gateway = Gateway::before([claude("up", &upstream)]).await;
    let stream = gateway.open(&hello_streamed()).await;
    gate.close();
    let mut events = stream.rest().await.events();
    let error: Value = serde_json::from_str(&events.pop().unwrap()).unwrap();
    assert_eq!(error["error"]["message"], "up: Overloaded");
    assert_eq!(text_of(&chunks(&events)), "Hel");
    gateway.stop().await;
}

#[actix_web::test]
async fn what_claude_cannot_take_goes_to_a_channel_that_can() {
    let audio = json!([{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]);
    let asked = with(hello(), json!({"messages": [{"role": "user", "content": audio}]}));
    let claude_upstream = FakeUpstream::in_turn([message()]).await;
    let gpt = FakeUpstream::start().await;
    let gateway = Setup::new([claude("claude", &claude_upstream), channel("gpt", &gpt)]).fixed_priority().start().await;
    assert_eq!(gateway.ask(&asked).await.status, 200);
    assert_eq!((claude_upstream.received().len(), gpt.received().len()), (0, 1));

    let answer = gateway.ask(&with(asked, json!({"model": "claude-sonnet-4-5"}))).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("unsupported_by_channel")));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_malformed_message_is_the_clients_fault_and_tried_nowhere_else() {
    let upstream = FakeUpstream::in_turn([message()]).await;
    let gateway = Gateway::before([claude("up", &upstream), claude("other", &upstream)]).await;
    let asked =
        with(hello(), json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "tool", "content": "x"}]}));
    let answer = gateway.ask(&asked).await;
    let error = answer.json();
    assert_eq!((answer.status, &error["error"]["param"]), (400, &json!("messages[1]")));
    assert!(error["message"].as_str().unwrap().contains("tool_call_id"), "{error}");
    assert_eq!(upstream.received().len(), 0);
    gateway.stop().await;
}

#[actix_web::test]
async fn the_models_of_anthropic_are_listed_with_its_own_header() {
    let upstream = FakeUpstream::start().await;
    upstream.set_models(["claude-sonnet-4-5"]);
    let mut provider = claude("up", &upstream);
    provider.as_object_mut().unwrap().remove("model");
    let gateway = Gateway::before([provider]).await;
    eventually("the models", async || gateway.models(KEY).await == ["claude-sonnet-4-5"]).await;
    let received = &upstream.received()[0];
    assert_eq!((received.path.as_str(), received.query.as_str()), ("/v1/models", "limit=1000"));
    assert_eq!(received.header("x-api-key"), Some(upstream_key("up").as_str()));
    assert_eq!((received.header("anthropic-version"), received.header("authorization")), (Some("2023-06-01"), None));
    gateway.stop().await;
}

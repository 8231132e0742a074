//! `post_body_parameter_overrides`: what is changed in the bodies that a provider gets.

use serde_json::{Value, json};

use crate::support::{FakeUpstream, Gateway, KEY, Reply, Request, channel, hello, hello_streamed, with};

fn with_overrides(provider: Value, overrides: Value) -> Value {
    with(provider, json!({"preferences": {"post_body_parameter_overrides": overrides}}))
}

#[actix_web::test]
async fn fields_are_set_and_removed_and_the_rest_stays_as_it_is_written() {
    let upstream = FakeUpstream::start().await;
    let overrides = json!({
        "temperature": 0.5, "extra": {"a": {"b": 1}}, "__remove__": "seed",
        "gpt-4o": {"top_p": 1, "__remove__": ["user", "stop"]}, "gpt-4o-mini": {"top_p": 2},
    });
    let provider = with(channel("up", &upstream), json!({"model": ["gpt-4o", "gpt-4o-mini", {"up": "other"}]}));
    let gateway = Gateway::before([with_overrides(provider, overrides)]).await;
    let fields = r#""messages":[{"role":"user","content":"h\u00e9" , "x":1e400}],"temperature":1,"seed":5,"user":"u","extra":{"c":2}"#;
    let expected = r#""messages":[{"role":"user","content":"h\u00e9" , "x":1e400}],"temperature":0.5,"#;
    for (model, sent) in [
        ("gpt-4o", format!(r#"{{"model":"gpt-4o",{expected}"extra":{{"c":2,"a":{{"b":1}}}},"top_p":1}}"#)),
        ("other", format!(r#"{{"model":"up",{expected}"user":"u","extra":{{"c":2,"a":{{"b":1}}}}}}"#)),
    ] {
        assert_eq!(gateway.post(format!(r#"{{"model":"{model}",{fields}}}"#)).await.status, 200);
        let received = upstream.received().pop().unwrap();
        assert_eq!(String::from_utf8_lossy(&received.body), sent);
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn streams_are_changed_as_well_and_read_as_before() {
    let upstream = FakeUpstream::start().await;
    let overrides = json!({"max_tokens": 7, "__remove__": ["stream_options"]});
    let gateway = Gateway::before([with_overrides(channel("up", &upstream), overrides)]).await;
    let answer = gateway.ask(&hello_streamed()).await;
    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    let expected = with(hello_streamed(), json!({"max_tokens": 7}));
    assert_eq!(upstream.received()[0].json(), expected);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_translated_request_is_changed_in_the_words_of_the_provider() {
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 7, "output_tokens": 5},
    });
    let upstream = FakeUpstream::in_turn([Reply::json(200, message)]).await;
    let overrides = json!({"max_tokens": 99, "thinking": {"type": "disabled"}, "__remove__": ["temperature"]});
    let provider = with(channel("up", &upstream), json!({"engine": "claude"}));
    let gateway = Gateway::before([with_overrides(provider, overrides)]).await;
    assert_eq!(gateway.ask(&with(hello(), json!({"temperature": 1}))).await.status, 200);
    let sent = upstream.received()[0].json();
    assert_eq!((&sent["max_tokens"], &sent["thinking"]), (&json!(99), &json!({"type": "disabled"})));
    assert_eq!(sent.get("temperature"), None);
    gateway.stop().await;
}

#[actix_web::test]
async fn what_is_no_chat_is_changed_if_it_is_json() {
    let list =
        json!({"object": "list", "data": [{"embedding": [1]}], "usage": {"prompt_tokens": 3, "total_tokens": 3}});
    let upstream = FakeUpstream::in_turn([Reply::json(200, list)]).await;
    let gateway = Gateway::before([with_overrides(channel("up", &upstream), json!({"dimensions": 256}))]).await;
    let request = Request::post("/v1/embeddings").key(KEY).json(&json!({"model": "gpt-4o", "input": "a"}));
    assert_eq!(gateway.client().request(request).await.status, 200);
    assert_eq!(upstream.received()[0].json(), json!({"model": "gpt-4o", "input": "a", "dimensions": 256}));
    gateway.stop().await;
}

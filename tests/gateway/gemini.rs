//! Gemini behind an OpenAI client: what its upstream gets, and what the client sees of it.

use serde_json::{Value, json};

use crate::support::{
    FakeUpstream, Gateway, KEY, Reply, Setup, channel, gateway::eventually, hello, hello_streamed, upstream_key, with,
};

fn gemini(name: &str, upstream: &FakeUpstream) -> Value {
    let base_url = upstream.url("/v1beta");
    with(channel(name, upstream), json!({"base_url": base_url, "model": [{"gemini-2.5-flash": "gpt-4o"}]}))
}

fn usage() -> Value {
    json!({"promptTokenCount": 7, "candidatesTokenCount": 3, "thoughtsTokenCount": 2, "totalTokenCount": 12})
}

fn parts(parts: Value, finish: Option<&str>) -> Value {
    let candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    let candidate = match finish {
        Some(reason) => with(candidate, json!({"finishReason": reason})),
        None => candidate,
    };
    json!({"candidates": [candidate], "usageMetadata": usage(), "modelVersion": "gemini-2.5-flash", "responseId": "r1"})
}

fn event(document: Value) -> String {
    format!("data: {document}\r\n\r\n")
}

fn hello_events() -> [String; 3] {
    [
        event(parts(json!([{"text": "Hmm.", "thought": true}]), None)),
        event(parts(json!([{"text": "Hel"}]), None)),
        event(parts(json!([{"text": "lo"}]), Some("STOP"))),
    ]
}

fn field_of(events: &[String], field: &str) -> String {
    let chunks = events.iter().map(|event| serde_json::from_str::<Value>(event).unwrap());
    chunks.filter_map(|chunk| Some(chunk["choices"][0]["delta"][field].as_str()?.to_owned())).collect()
}

#[actix_web::test]
async fn a_request_reaches_gemini_in_its_own_words() {
    let calls = json!([
        {"functionCall": {"name": "weather", "args": {"city": "Bern"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}},
    ]);
    let upstream = FakeUpstream::in_turn([Reply::json(200, parts(calls, Some("STOP")))]).await;
    let gateway = Gateway::before([gemini("up", &upstream)]).await;
    let answer = gateway.ask(&with(hello(), json!({"temperature": 0.5, "stop": ["END"]}))).await.json();

    let received = &upstream.received()[0];
    assert_eq!(received.path, "/v1beta/models/gemini-2.5-flash:generateContent");
    assert_eq!((received.header("x-goog-api-key"), received.query.as_str()), (Some(upstream_key("up").as_str()), ""));
    assert_eq!(received.header("authorization"), None);
    let body = received.json();
    assert_eq!(body["contents"], json!([{"role": "user", "parts": [{"text": "Hi"}]}]));
    let config = &body["generationConfig"];
    assert_eq!((&config["temperature"], &config["stopSequences"]), (&json!(0.5), &json!(["END"])));
    assert!(config.get("maxOutputTokens").is_none(), "{config}");

    let choice = &answer["choices"][0];
    assert_eq!((&choice["finish_reason"], &answer["model"]), (&json!("tool_calls"), &json!("gpt-4o")));
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls[1]["function"], json!({"name": "weather", "arguments": "{\"city\":\"Oslo\"}"}));
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_eq!(calls[0]["extra_content"]["google"]["thought_signature"], "c2ln");
    let usage = &answer["usage"];
    assert_eq!((&usage["completion_tokens"], &usage["total_tokens"]), (&json!(5), &json!(12)));
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 2);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_of_gemini_arrives_as_chunks() {
    let upstream = FakeUpstream::in_turn([Reply::sse(hello_events())]).await;
    let gateway = Gateway::before([gemini("up", &upstream)]).await;
    let mut events =
        gateway.ask(&with(hello_streamed(), json!({"stream_options": {"include_usage": true}}))).await.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    assert_eq!((field_of(&events, "content"), field_of(&events, "reasoning_content")), ("Hello".into(), "Hmm.".into()));
    let usage: Value = serde_json::from_str(&events.pop().unwrap()).unwrap();
    assert_eq!(usage["usage"]["total_tokens"], 12);
    let finish: Value = serde_json::from_str(&events.pop().unwrap()).unwrap();
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    let received = &upstream.received()[0];
    assert_eq!(received.path, "/v1beta/models/gemini-2.5-flash:streamGenerateContent");
    assert_eq!(received.query, "alt=sse");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_of_gemini_cut_at_any_event_never_looks_complete() {
    for cut in 0..3 {
        let upstream = FakeUpstream::in_turn([Reply::sse(hello_events()).cut_after(cut)]).await;
        let gateway = Gateway::before([gemini("up", &upstream)]).await;
        let answer = gateway.ask(&hello_streamed()).await;
        assert!(answer.text().contains("\"error\"") && !answer.text().contains("[DONE]"), "cut after {cut}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_blocked_prompt_is_the_clients_matter_and_tried_nowhere_else() {
    let blocked = Reply::json(200, json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage()}));
    let upstream = FakeUpstream::in_turn([blocked]).await;
    let setup = Setup::new([gemini("one", &upstream), gemini("other", &upstream)]).fixed_priority();
    let gateway = setup.start().await;
    let answer = gateway.ask(&hello()).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("content_filter")));
    assert_eq!(upstream.received().len(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn the_models_of_gemini_are_listed_with_its_own_header() {
    let list =
        json!({"models": [{"name": "models/gemini-2.5-flash", "supportedGenerationMethods": ["generateContent"]}]});
    let upstream = FakeUpstream::answering(move |_| Reply::json(200, list.clone())).await;
    let mut provider = gemini("up", &upstream);
    provider.as_object_mut().unwrap().remove("model");
    let gateway = Gateway::before([provider]).await;
    eventually("the models", async || gateway.models(KEY).await == ["gemini-2.5-flash"]).await;
    let received = &upstream.received()[0];
    assert_eq!((received.path.as_str(), received.query.as_str()), ("/v1beta/models", "pageSize=1000"));
    assert_eq!(received.header("x-goog-api-key"), Some(upstream_key("up").as_str()));
    gateway.stop().await;
}

#[actix_web::test]
async fn an_image_behind_an_address_is_brought_in_for_gemini() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    let pictures = FakeUpstream::in_turn([Reply::body("image/png", png.to_vec())]).await;
    let upstream = FakeUpstream::in_turn([Reply::json(200, parts(json!([{"text": "A dot."}]), Some("STOP")))]).await;
    let content = json!([
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": pictures.url("/dot.png?token=s3cret")}},
        {"type": "image_url", "image_url": {"url": pictures.url("/dot.png?token=s3cret")}},
    ]);
    let asked = with(hello(), json!({"messages": [{"role": "user", "content": content}]}));

    let gateway = Setup::new([gemini("up", &upstream)]).preferences(json!({"media_fetch": "any"})).start().await;
    assert_eq!(gateway.ask(&asked).await.status, 200);
    let parts = upstream.received()[0].json()["contents"][0]["parts"].clone();
    let part = json!({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgoAAAANSUhEUg=="}});
    assert_eq!((&parts[1], &parts[2]), (&part, &part));
    gateway.stop().await;

    let gateway = Gateway::before([gemini("up", &upstream)]).await;
    let refused = gateway.ask(&asked).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!("invalid_media_url")));
    assert!(!refused.text().contains("s3cret"), "{}", refused.text());
    assert_eq!((pictures.received().len(), upstream.received().len()), (1, 1));
    gateway.stop().await;
}

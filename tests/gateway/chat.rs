//! A chat request on its way to an upstream of the same format, and the whole answer on its way back.

use serde_json::{Value, json};

use crate::support::{CHAT, FakeUpstream, Gateway, KEY, Reply, Request, channel, hello, upstream_key, with};

/// Unusual in every way that JSON allows, and none of the gateway's business.
const PECULIAR: &str = r#" { "temperature" : 1.50, "seed":12345678901234567890123, "model":"gpt-4o",
    "x_unknown": {"b":1,"a":[null, 1e400]}, "escaped\u0020key":"\ud83d\ude00 \/ \u00e9", "twice":1, "twice":2,
    "messages":[{"role":"user","content":"Grüße, 世界","name":"x","cache_control":{"type":"ephemeral"}}] } "#;

#[actix_web::test]
async fn a_request_that_needs_no_change_arrives_byte_for_byte() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    assert_eq!(gateway.post(PECULIAR).await.status, 200);
    assert_eq!(upstream.received()[0].body, PECULIAR);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_renamed_model_is_all_that_changes() {
    let upstream = FakeUpstream::start().await;
    let renamed = with(channel("up", &upstream), json!({"model": [{"real/name \"7\"": "gpt-4o"}]}));
    let gateway = Gateway::before([renamed]).await;
    assert_eq!(gateway.post(PECULIAR).await.status, 200);
    let body = upstream.received()[0].body.clone();
    let body = std::str::from_utf8(&body).unwrap();
    let values = [
        r#""real/name \"7\"""#,
        "1.50",
        "12345678901234567890123",
        r#"{"b":1,"a":[null, 1e400]}"#,
        r#""\ud83d\ude00 \/ \u00e9""#,
        r#"[{"role":"user","content":"Grüße, 世界","name":"x","cache_control":{"type":"ephemeral"}}]"#,
    ];
    for value in values {
        assert!(body.contains(value), "{value} is missing in {body}");
    }
    assert!(!body.contains("gpt-4o"), "{body}");
    assert_eq!(body.matches("twice").count(), 2, "{body}");
    gateway.stop().await;
}

#[actix_web::test]
async fn only_the_alias_of_a_renamed_model_can_be_asked_for() {
    let upstream = FakeUpstream::start().await;
    let renamed = with(channel("up", &upstream), json!({"model": [{"original": "alias"}]}));
    let gateway = Gateway::before([renamed]).await;
    let original = gateway.ask(&with(hello(), json!({"model": "original"}))).await;
    assert_eq!(original.status, 404);
    assert_eq!(original.json()["error"]["code"], "model_not_found");
    assert_eq!(gateway.ask(&with(hello(), json!({"model": "alias"}))).await.status, 200);
    assert_eq!(upstream.received().len(), 1);
    assert_eq!(upstream.received()[0].json()["model"], "original");
    gateway.stop().await;
}

#[actix_web::test]
async fn the_original_of_a_renamed_model_can_be_listed_too() {
    let upstream = FakeUpstream::start().await;
    let both = with(channel("up", &upstream), json!({"model": ["original", {"original": "alias"}]}));
    let gateway = Gateway::before([both]).await;
    for model in ["original", "alias"] {
        assert_eq!(gateway.ask(&with(hello(), json!({"model": model}))).await.status, 200, "{model}");
    }
    assert!(upstream.received().iter().all(|request| request.json()["model"] == "original"));
    gateway.stop().await;
}

#[actix_web::test]
async fn an_answer_comes_back_byte_for_byte() {
    let sent = "\n { \"choices\" : [ {\"message\":{\"content\":\"\\u00e9\\/\u{1f600}\"},\"x\":1.0 } ],\"usage\":null, \"z\":{} } \n";
    let upstream = FakeUpstream::in_turn([
        Reply::body("application/json; charset=utf-8", sent),
        Reply::body("application/json", sent).split_every(1),
        Reply::sse([sent]).content_type("text/plain"),
        Reply::raw(format!("HTTP/1.0 200 OK\r\n\r\n{sent}")),
    ])
    .await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    for framing in ["length", "length in pieces", "chunked", "until close"] {
        let answer = gateway.ask(&hello()).await;
        assert_eq!((answer.status, answer.text()), (200, sent), "{framing}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{framing}");
        assert_eq!(answer.headers.all("content-length"), [sent.len().to_string()], "{framing}");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn an_upstream_is_told_what_it_needs_and_no_more() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let request = Request::post(CHAT).key(KEY).header("cookie", "session=1").header("x-forwarded-for", "10.0.0.1");
    assert_eq!(gateway.client().request(request.json(&hello())).await.status, 200);
    let received = upstream.received();
    let received = &received[0];
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", CHAT));
    assert_eq!(received.headers.all("authorization"), [format!("Bearer {}", upstream_key("up"))]);
    assert_eq!(received.headers.all("host"), [upstream.address().to_string()]);
    assert_eq!(received.headers.all("content-type"), ["application/json"]);
    assert_eq!(received.headers.all("content-length"), [hello().to_string().len().to_string()]);
    for private in ["cookie", "x-forwarded-for", "x-api-key"] {
        assert_eq!(received.header(private), None, "{private}");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_channel_without_keys_sends_no_authorization() {
    let upstream = FakeUpstream::start().await;
    let keyless = json!({"provider": "local", "base_url": upstream.base_url(), "model": ["gpt-4o"]});
    let gateway = Gateway::before([keyless]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert_eq!(upstream.received()[0].header("authorization"), None);
    gateway.stop().await;
}

#[actix_web::test]
async fn openrouter_is_told_who_asks() {
    let upstream = FakeUpstream::start().await;
    let openrouter = with(channel("router", &upstream), json!({"engine": "openrouter"}));
    let gateway = Gateway::before([openrouter]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    let received = upstream.received();
    assert!(received[0].header("http-referer").is_some());
    assert!(received[0].header("x-title").is_some());
    gateway.stop().await;
}

#[actix_web::test]
async fn every_form_of_base_url_leads_to_the_same_endpoint() {
    let upstream = FakeUpstream::start().await;
    for base in ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/models"] {
        let at = with(channel("up", &upstream), json!({"base_url": upstream.url(base)}));
        let gateway = Gateway::before([at]).await;
        assert_eq!(gateway.ask(&hello()).await.status, 200, "{base:?}");
        gateway.stop().await;
    }
    let queried = with(channel("up", &upstream), json!({"base_url": upstream.url("/a/b/chat/completions?v=1")}));
    let gateway = Gateway::before([queried]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.stop().await;
    let mut received = upstream.received();
    let last = received.pop().unwrap();
    assert!(received.iter().all(|request| request.path == CHAT));
    assert_eq!((last.path.as_str(), last.query.as_str()), ("/a/b/chat/completions", "v=1"));
}

#[actix_web::test]
async fn tools_are_removed_where_a_channel_has_none() {
    let upstream = FakeUpstream::start().await;
    let without_tools = with(channel("up", &upstream), json!({"tools": false}));
    let gateway = Gateway::before([without_tools]).await;
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let asked = with(hello(), json!({"tools": tools, "tool_choice": "auto", "user": "u"}));
    assert_eq!(gateway.ask(&asked).await.status, 200);
    let sent = upstream.received()[0].json();
    assert_eq!(sent, with(hello(), json!({"user": "u"})));
    gateway.stop().await;
}

#[actix_web::test]
async fn tools_arrive_where_a_channel_has_them() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let asked = with(hello(), json!({"tools": [{"type": "function"}], "tool_choice": "auto"}));
    assert_eq!(gateway.ask(&asked).await.status, 200);
    assert_eq!(upstream.received()[0].json(), asked);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_configuration_as_a_user_writes_it_works() {
    let upstream = FakeUpstream::start().await;
    let yaml = format!(
        "
providers:
  - provider: openai
    base_url: {}/chat/completions
    api:
      - sk-one-0123456789
      - sk-two-0123456789
    model:
      - gpt-4o-2024-08-06: gpt-4o   # only the alias can be asked for
      - gpt-4o-mini
    tools: true
api_keys:
  - api: {KEY}
    model:
      - gpt-4o
      - openai/gpt-4o-mini
    preferences:
      SCHEDULING_ALGORITHM: fixed_priority
      AUTO_RETRY: true
",
        upstream.base_url()
    );
    let gateway = Gateway::start(&yaml).await;
    assert_eq!(gateway.models(KEY).await, ["gpt-4o", "gpt-4o-mini"]);
    let answer = gateway.ask(&hello()).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hello");
    assert_eq!(upstream.received()[0].json()["model"], "gpt-4o-2024-08-06");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_connection_serves_one_request_after_another() {
    let upstream = FakeUpstream::start().await;
    let setup = crate::support::Setup::new([channel("up", &upstream)]).workers(1);
    let gateway = setup.start().await;
    let mut connection = gateway.client().connect().await;
    for turn in 0..3 {
        let body: Value = with(hello(), json!({"stream": turn == 1}));
        connection.send(&Request::post(CHAT).key(KEY).json(&body)).await;
        let answer = connection.answer().await.unwrap();
        assert_eq!((answer.status, answer.complete), (200, true), "request {turn}");
    }
    assert_eq!(upstream.accepted_connections(), 1, "the upstream connection is used again, too");
    gateway.stop().await;
}

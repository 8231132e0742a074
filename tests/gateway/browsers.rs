//! What a browser extension needs: preflights without a key, and CORS headers on every answer.

use serde_json::json;

use crate::support::{Answer, CHAT, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, hello, hello_streamed};

fn preflight(path: &str) -> Request {
    Request::new("OPTIONS", path)
        .header("origin", "chrome-extension://abc")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-stainless-os")
}

fn from_a_page(request: Request) -> Request {
    request.header("origin", "https://page.example")
}

fn allows_any_page(answer: &Answer) {
    assert_eq!(answer.headers.all("access-control-allow-origin"), ["*"], "status {}", answer.status);
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert!(answer.header("access-control-expose-headers").is_some());
}

#[actix_web::test]
async fn a_preflight_needs_no_key_and_gets_what_it_asks_for() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    for path in [CHAT, "/v1/models", "/healthz", "/v1/not-yet"] {
        let answer = gateway.client().request(preflight(path)).await;
        assert!([200, 204].contains(&answer.status), "{path}: {}", answer.status);
        allows_any_page(&answer);
        let headers = answer.header("access-control-allow-headers").unwrap();
        assert_eq!(headers, "authorization,content-type,x-stainless-os");
        assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
        assert!(answer.body.is_empty());
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_bare_options_request_is_answered_too() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let answer = gateway.client().request(Request::new("OPTIONS", CHAT)).await;
    assert!([200, 204].contains(&answer.status));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("authorization"));
    gateway.stop().await;
}

#[actix_web::test]
async fn every_answer_can_be_read_by_any_page() {
    let upstream = FakeUpstream::in_turn([
        Reply::chat("Hello"),
        Reply::stream(["Hi"]),
        Reply::error(500, "broken"),
        Reply::error(429, "slow down"),
        Reply::error(400, "wrong"),
    ])
    .await;
    let small = json!({"max_request_body_bytes": 1000});
    let setup = Setup::new([channel("up", &upstream)]).client_preferences(json!({"AUTO_RETRY": false}));
    let gateway = setup.preferences(small).start().await;
    let chat = |body: &serde_json::Value| from_a_page(Request::post(CHAT).key(KEY)).json(body);
    let long = "x".repeat(1001);
    for (request, status) in [
        (chat(&hello()), 200),
        (chat(&hello_streamed()), 200),
        (chat(&hello()), 500),
        (chat(&hello()), 429),
        (chat(&hello()), 400),
        (chat(&json!({})), 400),
        (chat(&json!({"model": "no-such-model", "messages": []})), 404),
        (chat(&json!({"pad": long})), 413),
        (from_a_page(Request::post(CHAT)).json(&hello()), 401),
        (from_a_page(Request::get("/v1/models").key("sk-wrong")), 401),
        (from_a_page(Request::get("/v1/models").key(KEY)), 200),
        (from_a_page(Request::get("/nowhere")), 404),
        (from_a_page(Request::get(CHAT)), 405),
        (from_a_page(Request::get("/healthz")), 200),
        (Request::get("/healthz"), 200),
    ] {
        let answer = gateway.client().request(request).await;
        assert_eq!(answer.status, status, "{:?}", answer.body);
        allows_any_page(&answer);
    }
    gateway.stop().await;
}

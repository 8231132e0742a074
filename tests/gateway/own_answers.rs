//! What the gateway answers by itself: one model, a new key, what there is to ask for.

use std::collections::HashSet;

use serde_json::json;

use crate::support::{FakeUpstream, Gateway, KEY, Request, Setup, channel, with};

#[actix_web::test]
async fn one_model_is_described_as_in_the_list() {
    let (a, b) = (FakeUpstream::start().await, FakeUpstream::start().await);
    let providers = [
        with(channel("a", &a), json!({"model": ["x", "org/x", "hidden"]})),
        with(channel("b", &b), json!({"model": ["x", "y"]})),
    ];
    let keys = json!([{"api": KEY, "model": ["b/y", "x", "a/org/x"], "preferences": {}}]);
    let gateway = Setup::new(providers).api_keys(keys).with_database().start().await;
    let list = gateway.client().get("/v1/models", KEY).await.json();
    let owned: Vec<(&str, &str)> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| (model["id"].as_str().unwrap(), model["owned_by"].as_str().unwrap()))
        .collect();
    assert_eq!(owned, [("y", "b"), ("x", "a"), ("org/x", "a")], "in the order of the rules, each once");
    for model in list["data"].as_array().unwrap() {
        let id = model["id"].as_str().unwrap();
        for path in [id.to_owned(), id.replace('/', "%2F")] {
            let answer = gateway.client().get(&format!("/v1/models/{path}"), KEY).await;
            assert_eq!((answer.status, &answer.json()), (200, model), "{path}");
        }
    }
    for id in ["hidden", "z", "a/x"] {
        let answer = gateway.client().get(&format!("/v1/models/{id}"), KEY).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("model_not_found")), "{id}");
    }
    assert_eq!(gateway.client().get("/v1/models/x", "sk-nobody").await.status, 401);
    let endpoints = gateway.query("SELECT DISTINCT endpoint AS line FROM request_stats ORDER BY 1").await;
    assert_eq!(endpoints, ["GET /v1/models", "GET /v1/models/{id}"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_new_key_is_random_and_for_admins_alone() {
    let upstream = FakeUpstream::start().await;
    let keys =
        json!([{"api": KEY, "role": "admin", "preferences": {}}, {"api": "sk-guest-0123456789", "preferences": {}}]);
    let gateway = Setup::new([channel("up", &upstream)]).api_keys(keys).start().await;
    let mut made = HashSet::new();
    for _ in 0..20 {
        let answer = gateway.client().get("/v1/generate-api-key", KEY).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
        let key = answer.json()["api_key"].as_str().unwrap().to_owned();
        let random = key.strip_prefix("sk-").unwrap();
        assert!(random.len() == 48 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
        assert_eq!(gateway.client().get("/v1/models", &key).await.status, 401, "it is registered nowhere");
        assert!(made.insert(key));
    }
    assert_eq!(gateway.client().get("/v1/generate-api-key", "sk-guest-0123456789").await.status, 403);
    assert_eq!(gateway.client().request(Request::get("/v1/generate-api-key")).await.status, 401);
    gateway.stop().await;
}

#[actix_web::test]
async fn an_unknown_path_names_those_there_are() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let answer = gateway.client().post_json("/v1/chat/completion", KEY, &json!({})).await;
    let error = &answer.json()["error"];
    assert_eq!((answer.status, &error["code"]), (404, &json!("unknown_url")));
    let message = error["message"].as_str().unwrap();
    for known in
        ["POST /v1/chat/completion here", "POST /v1/chat/completions", "POST /v1/audio/speech", "GET /v1/models"]
    {
        assert!(message.contains(known), "{message}");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_wrong_method_is_told_the_right_one() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    for (method, path, allow) in [
        ("GET", "/v1/images/generations", "POST"),
        ("DELETE", "/v1/audio/speech", "POST"),
        ("PUT", "/v1/embeddings", "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/v1/models/gpt-4o", "GET"),
        ("POST", "/healthz", "GET, HEAD"),
    ] {
        let answer = gateway.client().request(Request::new(method, path).key(KEY)).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
        assert_eq!(answer.json()["error"]["code"], "method_not_allowed");
    }
    gateway.stop().await;
}

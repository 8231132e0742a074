//! Who may use what: client keys and their rules.

use serde_json::{Value, json};

use crate::support::{
    CHAT, FakeUpstream, Gateway, KEY, Request, Setup, channel, hello, hello_streamed, upstream_key, with,
};

#[actix_web::test]
async fn a_key_is_taken_from_either_header() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    for request in [
        Request::post(CHAT).header("authorization", &format!("Bearer {KEY}")),
        Request::post(CHAT).header("Authorization", &format!("bearer {KEY}")),
        Request::post(CHAT).header("x-api-key", KEY),
        Request::post(CHAT).header("X-API-Key", KEY).header("authorization", "Bearer "),
    ] {
        let answer = gateway.client().request(request.json(&hello())).await;
        assert_eq!(answer.status, 200);
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn without_a_right_key_nobody_is_asked() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let longer = format!("{KEY}x");
    let wrong = ["", "Bearer", "Bearer ", "Basic c2s6", KEY, "Bearer sk-wrong", &format!("Bearer {longer}")];
    let mut requests: Vec<Request> =
        wrong.iter().map(|value| Request::post(CHAT).header("authorization", value)).collect();
    requests.push(Request::post(CHAT));
    requests.push(Request::post(CHAT).header("x-api-key", &KEY[..KEY.len() - 1]));
    requests.push(Request::post(CHAT).header("x-api-key", &upstream_key("up")));
    for request in requests {
        for request in [request.clone().json(&hello()), request.json(&hello_streamed())] {
            let answer = gateway.client().request(request.clone()).await;
            assert_eq!(answer.status, 401, "{request:?}");
            let error = &answer.json()["error"];
            assert_eq!((&error["code"], &error["type"]), (&json!("invalid_api_key"), &json!("authentication_error")));
            assert!(!answer.text().contains(KEY) && !answer.text().contains("sk-wrong"), "{}", answer.text());
        }
    }
    assert_eq!(gateway.client().get("/v1/models", "sk-wrong").await.status, 401);
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn an_unknown_model_is_not_found() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    for model in ["no-such-model", "GPT-4o", "gpt-4o ", "up/gpt-4o", "gpt-4*", "all", "*"] {
        let answer = gateway.ask(&with(hello(), json!({"model": model}))).await;
        assert_eq!(answer.status, 404, "{model}");
        let error = &answer.json()["error"];
        assert_eq!((&error["code"], &error["param"]), (&json!("model_not_found"), &json!("model")), "{model}");
    }
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

/// Two providers in front of one upstream, told apart by their keys: `one` has `x` and `y`, `two` has `x`, `z` and an
/// alias with a slash.
async fn with_rules(upstream: &FakeUpstream, rules: Value) -> Gateway {
    let one = with(channel("one", upstream), json!({"model": ["x", "y"]}));
    let two = with(channel("two", upstream), json!({"model": ["x", "z", "one/x"]}));
    let key = match rules {
        Value::Null => json!([{"api": KEY}]),
        rules => json!([{"api": KEY, "model": rules}]),
    };
    Setup::new([one, two]).api_keys(key).start().await
}

#[actix_web::test]
async fn rules_say_what_a_key_may_use_and_in_which_order_it_is_listed() {
    let upstream = FakeUpstream::start().await;
    let everything = ["x", "y", "z", "one/x"].as_slice();
    for (rules, listed) in [
        (Value::Null, everything),
        (json!([]), everything),
        (json!("all"), everything),
        (json!(["all"]), everything),
        (json!(["*"]), everything),
        (json!(["y", "all"]), &["y", "x", "z", "one/x"]),
        (json!(["y"]), &["y"]),
        (json!(["z", "x"]), &["z", "x"]),
        (json!(["one/*"]), &["x", "y"]),
        (json!(["two/*", "one/*"]), &["x", "z", "one/x", "y"]),
        (json!(["two/z"]), &["z"]),
        (json!(["one/x"]), &["x"]),
        (json!(["two/one/x"]), &["one/x"]),
        (json!(["<one/x>"]), &["one/x"]),
        (json!(["<one/x>", "y"]), &["one/x", "y"]),
    ] {
        let gateway = with_rules(&upstream, rules.clone()).await;
        assert_eq!(gateway.models(KEY).await, listed, "{rules}");
        for model in everything {
            let status = gateway.ask(&with(hello(), json!({"model": model}))).await.status;
            let expected = if listed.contains(model) { 200 } else { 404 };
            assert_eq!(status, expected, "{model} with {rules}");
        }
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn rules_say_which_channels_may_answer() {
    for (rules, model, channels) in [
        (json!(["x"]), "x", vec!["one", "two"]),
        (json!(["one/x"]), "x", vec!["one"]),
        (json!(["two/x"]), "x", vec!["two"]),
        (json!(["two/x", "x"]), "x", vec!["two", "one"]),
        (json!(["two/*"]), "x", vec!["two"]),
        (json!(["two/x", "one/x"]), "x", vec!["two", "one"]),
        (json!(["all"]), "x", vec!["one", "two"]),
        (json!(["<one/x>"]), "one/x", vec!["two"]),
    ] {
        let upstream = FakeUpstream::in_turn([crate::support::Reply::body("text/html", "<html>")]).await;
        let gateway = with_rules(&upstream, rules.clone()).await;
        assert_eq!(gateway.ask(&with(hello(), json!({"model": model}))).await.status, 502);
        let received = upstream.received();
        let asked: Vec<_> = received.iter().filter_map(|request| request.bearer()).collect();
        assert_eq!(asked, channels.into_iter().map(upstream_key).collect::<Vec<_>>(), "{rules}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn every_key_has_its_own_rules() {
    let upstream = FakeUpstream::start().await;
    let both = with(channel("up", &upstream), json!({"model": ["x", "y"]}));
    let keys = json!([{"api": "sk-first-key", "model": ["x"]}, {"api": "sk-second-key", "model": ["y"]}]);
    let gateway = Setup::new([both]).api_keys(keys).start().await;
    assert_eq!(gateway.models("sk-first-key").await, ["x"]);
    assert_eq!(gateway.models("sk-second-key").await, ["y"]);
    for (key, model, status) in [
        ("sk-first-key", "x", 200),
        ("sk-first-key", "y", 404),
        ("sk-second-key", "x", 404),
        ("sk-second-key", "y", 200),
    ] {
        let body = with(hello(), json!({"model": model}));
        assert_eq!(gateway.client().post_json(CHAT, key, &body).await.status, status, "{key} {model}");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn models_are_listed_as_openai_lists_them() {
    let upstream = FakeUpstream::start().await;
    let listed = with(channel("up", &upstream), json!({"model": ["z", {"real": "a"}]}));
    let gateway = Gateway::before([listed]).await;
    let answer = gateway.client().get("/v1/models", KEY).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let list = answer.json();
    assert_eq!(list["object"], "list");
    let models = list["data"].as_array().unwrap();
    assert!(models.iter().all(|model| model["object"] == "model" && model["owned_by"] == "up"));
    assert!(models.iter().all(|model| model["created"] == 1_720_524_448), "in seconds");
    assert_eq!(gateway.models(KEY).await, ["z", "a"]);
    assert!(upstream.received().is_empty(), "nobody is asked for what is configured");
    gateway.stop().await;
}

//! `headers`: what every request to a provider carries.

use serde_json::{Value, json};

use crate::support::{
    FakeUpstream, Gateway, Received, Reply, Setup, channel,
    gateway::eventually,
    hello, hello_streamed,
    logs::{self, CANARY},
    upstream_key, with,
};

fn with_headers(provider: Value, headers: Value) -> Value {
    with(provider, json!({"preferences": {"headers": headers}}))
}

/// The values of a header, which may be there twice.
fn sent<'r>(request: &'r Received, name: &str) -> Vec<&'r str> {
    request.headers.all(name)
}

#[actix_web::test]
async fn headers_of_the_provider_come_beside_those_of_all() {
    let upstream = FakeUpstream::start().await;
    let provider = with_headers(channel("up", &upstream), json!({"X-Team": "blue", "x-unwanted": null, "x-number": 7}));
    let setup =
        Setup::new([provider]).preferences(json!({"headers": {"x-team": "red", "x-unwanted": "a", "x-all": "b"}}));
    let gateway = setup.start().await;
    for request in [hello(), hello_streamed()] {
        assert_eq!(gateway.ask(&request).await.status, 200);
    }
    for request in upstream.received() {
        for (name, values) in [("x-team", &["blue"][..]), ("x-all", &["b"]), ("x-number", &["7"]), ("x-unwanted", &[])]
        {
            assert_eq!(sent(&request, name), values, "{name}");
        }
        assert_eq!(request.bearer(), Some(upstream_key("up").as_str()));
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn they_replace_what_the_gateway_says_itself() {
    let upstream = FakeUpstream::start().await;
    let headers = json!({"Authorization": "Basic dXNlcjpwdw==", "User-Agent": "curl/8", "Accept": "*/*"});
    let gateway = Gateway::before([with_headers(channel("up", &upstream), headers)]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    let request = &upstream.received()[0];
    assert_eq!(sent(request, "authorization"), ["Basic dXNlcjpwdw=="]);
    assert_eq!(sent(request, "user-agent"), ["curl/8"]);
    assert_eq!(sent(request, "accept"), ["*/*"]);
    assert_eq!(sent(request, "content-type"), ["application/json"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_list_of_models_is_asked_for_with_them() {
    let upstream = FakeUpstream::start().await;
    let mut provider = with_headers(channel("up", &upstream), json!({"x-team": "blue", "user-agent": "curl/8"}));
    provider.as_object_mut().unwrap().remove("model");
    let gateway = Gateway::before([provider]).await;
    eventually("the list", async || !upstream.received().is_empty()).await;
    let request = &upstream.received()[0];
    assert_eq!(request.path, "/v1/models");
    assert_eq!((sent(request, "x-team"), sent(request, "user-agent")), (vec!["blue"], vec!["curl/8"]));
    gateway.stop().await;
}

#[actix_web::test]
async fn what_they_say_is_repeated_nowhere() {
    let token = format!("token-{CANARY}-0123456789");
    let echo = format!("not allowed: {token}");
    let replies = [Reply::error(400, &echo), Reply::error(401, &echo), Reply::error(500, &echo)];
    let upstream = FakeUpstream::in_turn(replies).await;
    let headers = json!({"x-token": format!("Token {token}")});
    let gateway = Setup::new([with_headers(channel("up", &upstream), headers)]).with_database().start().await;
    for _ in 0..3 {
        let answer = gateway.ask(&hello()).await;
        assert!(answer.status >= 400 && !answer.text().contains(CANARY), "{}", answer.text());
    }
    let database = gateway.database().await;
    gateway.stop().await;
    let lines = logs::lines();
    let told: Vec<&String> = lines.iter().filter(|line| line.contains(&token)).collect();
    assert!(told.is_empty(), "{told:#?}");
    drop(database);
}

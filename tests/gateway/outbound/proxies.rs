//! `proxy`: connections to providers are tunnels through it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Authority, FakeProxy, FakeUpstream, Gateway, Manner, Reply, Setup, TlsFront, channel, channel_at,
    gateway::eventually,
    hello, hello_streamed,
    logs::{self, CANARY},
    refusing_address, with,
};

/// The same provider through a proxy.
fn through(proxy: &str, provider: Value) -> Value {
    with(provider, json!({"preferences": {"proxy": proxy}}))
}

/// A provider at a name that only the proxy knows.
fn behind(upstream: &FakeUpstream) -> Value {
    channel_at("up", &format!("http://{}/v1", destination(upstream)))
}

fn destination(upstream: &FakeUpstream) -> String {
    format!("up.test:{}", upstream.address().port())
}

#[actix_web::test]
async fn an_http_proxy_is_asked_to_connect_to_the_name() {
    let upstream = FakeUpstream::start().await;
    let proxy = FakeProxy::http(Manner::OpensFor("me", "p@ss:word")).await;
    let gateway =
        Setup::new([through(&proxy.url("http", "me:p%40ss:word@"), behind(&upstream))]).workers(1).start().await;
    for request in [hello(), hello_streamed(), hello()] {
        assert_eq!(gateway.ask(&request).await.status, 200);
    }
    let to = destination(&upstream);
    let said = format!(
        "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: uni-api/{}\r\nProxy-Authorization: Basic bWU6cEBzczp3b3Jk\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    let asked = proxy.asked();
    assert_eq!(asked.len(), 1, "a tunnel is used again");
    assert_eq!(String::from_utf8_lossy(&asked[0].said), said);
    for request in upstream.received() {
        assert_eq!((request.path.as_str(), request.header("host")), ("/v1/chat/completions", Some(to.as_str())));
        assert_eq!(request.header("proxy-authorization"), None);
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_socks_proxy_is_asked_to_connect_to_the_name() {
    for scheme in ["socks5", "socks5h"] {
        let upstream = FakeUpstream::start().await;
        let proxy = FakeProxy::socks(Manner::OpensFor("me", "word")).await;
        let gateway = Gateway::before([through(&proxy.url(scheme, "me:word@"), behind(&upstream))]).await;
        assert_eq!(gateway.ask(&hello()).await.status, 200);
        let port = upstream.address().port().to_be_bytes();
        let said = [&b"\x05\x02\x00\x02\x01\x02me\x04word\x05\x01\x00\x03\x07up.test"[..], &port].concat();
        assert_eq!(proxy.asked()[0].said, said, "{scheme}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_socks_proxy_without_users_is_given_an_address_as_one() {
    let upstream = FakeUpstream::start().await;
    let proxy = FakeProxy::socks(Manner::Opens).await;
    let gateway = Gateway::before([through(&proxy.url("socks5", ""), channel("up", &upstream))]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    let port = upstream.address().port().to_be_bytes();
    let said = [&b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01"[..], &port].concat();
    assert_eq!(proxy.asked()[0].said, said);
    gateway.stop().await;
}

#[actix_web::test]
async fn tls_goes_through_the_tunnel() {
    let upstream = FakeUpstream::start().await;
    let authority = Authority::new("ours");
    let front = TlsFront::of(upstream.address(), "up.test", &authority).await;
    let file = authority.file_with([]);
    let (http, socks) = (FakeProxy::http(Manner::Opens).await, FakeProxy::socks(Manner::Opens).await);
    for (proxy, url) in [(&http, http.url("http", "")), (&socks, socks.url("socks5", ""))] {
        let preferences = json!({"proxy": url, "ca_file": file.path()});
        let provider = with(channel_at("up", &front.base_url()), json!({"preferences": preferences}));
        let gateway = Gateway::before([provider]).await;
        let answer = gateway.ask(&hello()).await;
        assert_eq!((answer.status, proxy.destinations().len()), (200, 1), "{}", answer.text());
        gateway.stop().await;
    }
    assert_eq!(upstream.received().len(), 2);
}

#[actix_web::test]
async fn connections_of_different_proxies_are_not_shared() {
    let upstream = FakeUpstream::start().await;
    let (one, other) = (FakeProxy::http(Manner::Opens).await, FakeProxy::socks(Manner::Opens).await);
    let named = |name: &str| with(behind(&upstream), json!({"provider": name}));
    let direct = with(channel("direct", &upstream), json!({"preferences": {"proxy": ""}}));
    let providers = [named("global"), through(&other.url("socks5", ""), named("own")), direct];
    let setup = Setup::new(providers).preferences(json!({"proxy": one.url("http", "")})).workers(1);
    let gateway = setup.start().await;
    for _ in 0..6 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    let to = destination(&upstream);
    assert_eq!((one.destinations(), other.destinations()), (vec![to.clone()], vec![to]));
    assert_eq!((upstream.received().len(), upstream.accepted_connections()), (6, 3));
    gateway.stop().await;
}

#[actix_web::test]
async fn lists_of_models_are_asked_for_through_it() {
    let upstream = FakeUpstream::start().await;
    let proxy = FakeProxy::http(Manner::Opens).await;
    let mut provider = behind(&upstream);
    provider.as_object_mut().unwrap().remove("model");
    let gateway = Setup::new([provider]).preferences(json!({"proxy": proxy.url("http", "")})).start().await;
    eventually("the list", async || !upstream.received().is_empty()).await;
    assert_eq!(proxy.destinations(), [destination(&upstream)]);
    gateway.stop().await;
}

#[actix_web::test]
async fn access_tokens_are_asked_for_through_it() {
    let token = json!({"access_token": "ya29.token", "expires_in": 3599, "token_type": "Bearer"});
    let tokens = FakeUpstream::in_turn([Reply::json(200, token)]).await;
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 7, "output_tokens": 5},
    });
    let api = FakeUpstream::in_turn([Reply::json(200, message)]).await;
    let proxy = FakeProxy::socks(Manner::Opens).await;
    let provider = json!({
        "provider": "vertex", "project_id": "p-1", "client_email": "a@p-1.example", "region": "us-east5",
        "private_key": include_str!("../../fixtures/service-account-key.pem"),
        "token_uri": format!("http://{}/token", destination(&tokens)),
        "base_url": format!("http://{}/v1", destination(&api)),
        "model": [{"claude-3-5-sonnet@20240620": "gpt-4o"}],
        "preferences": {"proxy": proxy.url("socks5", ""), "headers": {"x-team": "blue"}},
    });
    let gateway = Gateway::before([provider]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert_eq!(proxy.destinations(), [destination(&tokens), destination(&api)]);
    assert_eq!(tokens.received()[0].header("x-team"), None, "headers are for the provider itself");
    assert_eq!(api.received()[0].header("x-team"), Some("blue"));
    gateway.stop().await;
}

#[actix_web::test]
async fn pictures_that_clients_name_are_fetched_without_it() {
    let pictures = FakeUpstream::in_turn([Reply::body("image/png", &b"\x89PNG\r\n\x1a\nand so on"[..])]).await;
    let upstream = FakeUpstream::in_turn([Reply::error(400, "enough")]).await;
    let proxy = FakeProxy::http(Manner::Opens).await;
    let base_url = format!("http://{}/v1beta", destination(&upstream));
    let provider = with(behind(&upstream), json!({"engine": "gemini", "base_url": base_url}));
    let setup = Setup::new([provider]);
    let gateway = setup.preferences(json!({"proxy": proxy.url("http", ""), "media_fetch": "any"})).start().await;
    let picture = json!({"type": "image_url", "image_url": {"url": pictures.url("/cat.png")}});
    let request = with(hello(), json!({"messages": [{"role": "user", "content": [picture]}]}));
    assert_eq!(gateway.ask(&request).await.status, 400);
    assert_eq!((pictures.received().len(), upstream.received().len()), (1, 1));
    assert_eq!(proxy.destinations(), [destination(&upstream)]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_proxy_that_opens_no_tunnel_is_named_without_its_user() {
    let upstream = FakeUpstream::start().await;
    let login = format!("user-{CANARY}:password-{CANARY}-0123456789@");
    for (manner, scheme, reason) in [
        (Manner::Forbids, "http", "did not open a connection to the upstream: status 403"),
        (Manner::Forbids, "socks5", "did not open a connection to the upstream: its rules forbid it"),
        (Manner::OpensFor("a", "b"), "http", "refuses the user and the password in preferences.proxy"),
        (Manner::OpensFor("a", "b"), "socks5", "refuses the user and the password in preferences.proxy"),
        (Manner::Babbles, "http", "does not answer like one"),
        (Manner::Babbles, "socks5", "does not answer like one"),
        (Manner::NeverEnds, "http", "does not answer like one"),
        (Manner::NeverEnds, "socks5", "does not answer like one"),
        (Manner::Closes, "http", "broke the connection"),
        (Manner::Closes, "socks5", "broke the connection"),
    ] {
        let proxy = if scheme == "http" { FakeProxy::http(manner).await } else { FakeProxy::socks(manner).await };
        let good = with(channel("good", &upstream), json!({"model": ["gpt-4o", "other"]}));
        let bad = through(&proxy.url(scheme, &login), behind(&upstream));
        let gateway = Setup::new([bad, good]).fixed_priority().start().await;
        let answer = gateway.ask(&hello()).await;
        assert_eq!(answer.status, 200, "{manner:?}: another provider answers");
        gateway.stop().await;

        let gateway = Gateway::before([through(&proxy.url(scheme, &login), behind(&upstream))]).await;
        let answer = gateway.ask(&hello()).await;
        let text = answer.text();
        assert_eq!(answer.status, 502, "{manner:?} {scheme} {text}");
        let protocol = if scheme == "http" { "HTTP" } else { "SOCKS5" };
        assert!(text.contains(&format!("the {protocol} proxy {} {reason}", proxy.address())), "{manner:?} {text}");
        assert!(!text.contains(CANARY), "{text}");
        gateway.stop().await;
    }
    let lines = logs::lines();
    let told: Vec<&String> = lines.iter().filter(|line| line.contains(&login)).collect();
    assert!(told.is_empty(), "{told:#?}");
}

#[actix_web::test]
async fn a_proxy_that_wants_a_user_says_so() {
    let upstream = FakeUpstream::start().await;
    let http = FakeProxy::http(Manner::OpensFor("a", "b")).await;
    let socks = FakeProxy::socks(Manner::OpensFor("a", "b")).await;
    for url in [http.url("http", ""), socks.url("socks5", "")] {
        let gateway = Gateway::before([through(&url, behind(&upstream))]).await;
        let answer = gateway.ask(&hello()).await;
        assert!(answer.text().contains("asks for a user and a password"), "{}", answer.text());
        gateway.stop().await;
    }
    assert_eq!(upstream.received().len(), 0);
}

#[actix_web::test]
async fn a_proxy_that_is_not_there_is_named() {
    let nobody = refusing_address().await;
    for (proxy, reason) in [
        (format!("http://{nobody}"), format!("the HTTP proxy {nobody} cannot be reached: connection refused")),
        (
            "socks5://no-such-host.invalid".to_owned(),
            "the SOCKS5 proxy no-such-host.invalid:1080 has no address".to_owned(),
        ),
    ] {
        let gateway = Gateway::before([through(&proxy, channel_at("up", "http://127.0.0.1:9/v1"))]).await;
        let answer = gateway.ask(&hello()).await;
        assert_eq!(answer.status, 502);
        assert!(answer.text().contains(&reason), "{}", answer.text());
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_silent_proxy_does_not_hold_a_request_for_longer_than_its_limit() {
    let upstream = FakeUpstream::start().await;
    for (proxy, scheme) in
        [(FakeProxy::http(Manner::Stalls).await, "http"), (FakeProxy::socks(Manner::Stalls).await, "socks5")]
    {
        let providers = [through(&proxy.url(scheme, ""), behind(&upstream)), channel("good", &upstream)];
        let setup = Setup::new(providers).fixed_priority().patience(Duration::from_millis(200));
        let gateway = setup.start().await;
        assert_eq!(gateway.ask(&hello()).await.status, 200);
        assert_eq!(proxy.asked().len(), 1);
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn what_breaks_off_in_a_tunnel_is_noticed_and_what_is_given_up_is_closed() {
    let cut = Reply::stream(["Hel", "lo"]).cut_after(2);
    let upstream = FakeUpstream::in_turn([cut, Reply::stream(["Hel", "lo"]).stall_after(2)]).await;
    let proxy = FakeProxy::http(Manner::Opens).await;
    let gateway = Gateway::before([through(&proxy.url("http", ""), behind(&upstream))]).await;
    let answer = gateway.ask(&hello_streamed()).await;
    assert!(answer.text().contains("\"error\"") && !answer.text().contains("[DONE]"), "{}", answer.text());
    let mut stream = gateway.open(&hello_streamed()).await;
    stream.next_event().await.expect("the beginning");
    stream.hang_up();
    upstream.wait_for_disconnect().await;
    gateway.stop().await;
}

#[actix_web::test]
async fn a_changed_proxy_is_used_from_then_on() {
    let upstream = FakeUpstream::start().await;
    let (one, other) = (FakeProxy::http(Manner::Opens).await, FakeProxy::http(Manner::OpensFor("a", "b")).await);
    let setup = |proxy: &str| Setup::new([through(proxy, behind(&upstream))]);
    let gateway = setup(&one.url("http", "")).start().await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.reload(setup(&other.url("http", "a:wrong@"))).await;
    assert_eq!(gateway.ask(&hello()).await.status, 502);
    gateway.reload(setup(&other.url("http", "a:b@"))).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    assert_eq!((one.destinations().len(), other.destinations().len()), (1, 2));
    gateway.stop().await;
}

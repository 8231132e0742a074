//! `ca_file`: certificates that a private authority has signed.

use serde_json::json;

use crate::support::{
    Authority, FakeUpstream, Gateway, Reply, Setup, TlsFront, channel_at, hello, hello_streamed, with,
};

#[actix_web::test]
async fn an_upstream_is_trusted_if_its_authority_is_named() {
    let upstream = FakeUpstream::start().await;
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let front = TlsFront::of(upstream.address(), "localhost", &ours).await;
    let file = ours.file_with([&other]);
    let trusting = json!({"preferences": {"ca_file": file.path()}});
    let gateway = Gateway::before([with(channel_at("up", &front.base_url()), trusting)]).await;
    for request in [hello(), hello_streamed()] {
        assert_eq!(gateway.ask(&request).await.status, 200);
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn an_authority_may_be_named_for_all_providers_and_not_for_one() {
    let upstream = FakeUpstream::start().await;
    let ours = Authority::new("ours");
    let front = TlsFront::of(upstream.address(), "localhost", &ours).await;
    let file = ours.file_with([]);
    let distrusting = json!({"preferences": {"ca_file": null}});
    let providers =
        [with(channel_at("distrusting", &front.base_url()), distrusting), channel_at("up", &front.base_url())];
    let setup = Setup::new(providers).preferences(json!({"ca_file": file.path()})).fixed_priority().with_database();
    let gateway = setup.start().await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    let attempts = gateway.query("SELECT provider || ' ' || success AS line FROM channel_stats ORDER BY id").await;
    assert_eq!(attempts, ["distrusting 0", "up 1"]);
    assert_eq!(upstream.received().len(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn nobody_is_trusted_whose_authority_is_not_named() {
    let upstream = FakeUpstream::start().await;
    let front = TlsFront::of(upstream.address(), "localhost", &Authority::new("theirs")).await;
    let file = Authority::new("ours").file_with([]);
    let trusting_others = json!({"preferences": {"ca_file": file.path()}});
    let gateway = Gateway::before([with(channel_at("up", &front.base_url()), trusting_others)]).await;
    let answer = gateway.ask(&hello()).await;
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("name it in preferences.ca_file"), "{}", answer.text());
    assert_eq!(upstream.received().len(), 0);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_certificate_of_another_name_is_not_taken() {
    let upstream = FakeUpstream::start().await;
    let ours = Authority::new("ours");
    let front = TlsFront::of(upstream.address(), "localhost", &ours).await;
    let file = ours.file_with([]);
    let base_url = front.base_url().replace("localhost", "127.0.0.1");
    let trusting = json!({"preferences": {"ca_file": file.path()}});
    let gateway = Gateway::before([with(channel_at("up", &base_url), trusting)]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 502);
    assert_eq!(upstream.received().len(), 0);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_that_is_cut_is_noticed_through_tls_as_well() {
    let upstream = FakeUpstream::in_turn([Reply::stream(["Hel", "lo"]).cut_after(2)]).await;
    let ours = Authority::new("ours");
    let front = TlsFront::of(upstream.address(), "localhost", &ours).await;
    let file = ours.file_with([]);
    let trusting = json!({"preferences": {"ca_file": file.path()}});
    let gateway = Gateway::before([with(channel_at("up", &front.base_url()), trusting)]).await;
    let answer = gateway.ask(&hello_streamed()).await;
    assert!(answer.text().contains("\"error\"") && !answer.text().contains("[DONE]"), "{}", answer.text());
    gateway.stop().await;
}

//! `POST /v1/moderations`, as a client asks for it.

use serde_json::{Value, json};

use crate::support::{FakeUpstream, Gateway, KEY, Received, Reply, Request, Setup, channel, with};

const MODERATIONS: &str = "/v1/moderations";

fn judging(name: &str, upstream: &FakeUpstream) -> Value {
    with(channel(name, upstream), json!({"model": ["omni-moderation-latest", "text-moderation-latest"]}))
}

fn judgement(_: &Received) -> Reply {
    Reply::json(
        200,
        json!({"id": "modr-1", "model": "m", "results": [{"flagged": true, "category_scores": {"violence": 1.2e-7}}]}),
    )
}

#[actix_web::test]
async fn every_form_of_input_arrives_as_it_is() {
    let upstream = FakeUpstream::answering(judgement).await;
    let gateway = Setup::new([judging("up", &upstream)]).with_database().start().await;
    let picture = json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]);
    for input in [json!("a"), json!(["a", "b"]), picture] {
        let request = json!({"model": "text-moderation-latest", "input": input});
        let answer = gateway.client().post_json(MODERATIONS, KEY, &request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains(r#""violence":1.2e-7"#), "{}", answer.text());
        assert_eq!(upstream.received().last().unwrap().json(), request);
    }
    let rows = gateway.query("SELECT endpoint || ' ' || is_flagged AS line FROM request_stats LIMIT 1").await;
    assert_eq!(rows, ["POST /v1/moderations 0"], "the client asked, and was not refused");
    gateway.stop().await;
}

#[actix_web::test]
async fn without_a_model_the_latest_one_is_asked() {
    let upstream = FakeUpstream::answering(judgement).await;
    let gateway = Gateway::before([judging("up", &upstream)]).await;
    assert_eq!(gateway.client().post_json(MODERATIONS, KEY, &json!({"input": "a"})).await.status, 200);
    let expected = json!({"model": "omni-moderation-latest", "input": "a"});
    assert_eq!(upstream.received()[0].json(), expected);
    gateway.stop().await;
}

#[actix_web::test]
async fn another_channel_judges_when_the_first_one_fails() {
    let second = FakeUpstream::answering(judgement).await;
    for broken in
        [Reply::error(500, "down"), Reply::json(200, json!({"results": []})), Reply::body("text/html", "<html>")]
    {
        let first = FakeUpstream::in_turn([broken]).await;
        let gateway = Setup::new([judging("first", &first), judging("second", &second)]).fixed_priority().start().await;
        let answer = gateway.client().post_json(MODERATIONS, KEY, &json!({"input": "a"})).await;
        assert_eq!((answer.status, first.received().len()), (200, 1));
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_client_that_leaves_takes_its_upstream_along() {
    let upstream = FakeUpstream::in_turn([Reply::never_answer()]).await;
    let gateway = Gateway::before([judging("up", &upstream)]).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(MODERATIONS).key(KEY).json(&json!({"input": "a"}))).await;
    upstream.wait_for_requests(1).await;
    connection.hang_up();
    upstream.wait_for_disconnect().await;
    gateway.stop().await;
}

#[actix_web::test]
async fn bad_input_is_refused() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([judging("up", &upstream)]).await;
    for body in [json!({}), json!({"input": null}), json!({"input": "a", "model": 7})] {
        assert_eq!(gateway.client().post_json(MODERATIONS, KEY, &body).await.status, 400, "{body}");
    }
    let unknown = json!({"input": "a", "model": "gpt-9"});
    assert_eq!(gateway.client().post_json(MODERATIONS, KEY, &unknown).await.status, 404);
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

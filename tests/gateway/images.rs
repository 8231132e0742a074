//! Images of upstreams that speak like OpenAI: they get what the client sent, and it gets what they answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{Answer, FakeUpstream, Gateway, KEY, Received, Reply, Request, Setup, channel, with};

const IMAGES: &str = "/v1/images/generations";
const PARTIAL: &str = "image_generation.partial_image";
const COMPLETED: &str = "image_generation.completed";

/// A channel with an image model and the one that a request without a model gets.
fn images(name: &str, upstream: &FakeUpstream) -> Value {
    with(channel(name, upstream), json!({"model": ["gpt-image-2", "dall-e-3"]}))
}

fn a_cat() -> Value {
    json!({"model": "gpt-image-2", "prompt": "a cat"})
}

fn a_cat_streamed() -> Value {
    with(a_cat(), json!({"stream": true, "partial_images": 2}))
}

fn usage() -> Value {
    json!({
        "input_tokens": 7, "input_tokens_details": {"text_tokens": 7, "image_tokens": 0},
        "output_tokens": 5, "total_tokens": 12,
    })
}

fn painted() -> Value {
    json!({
        "created": 1_700_000_000, "data": [{"b64_json": "QUJD"}], "usage": usage(),
        "background": "opaque", "output_format": "png", "quality": "high", "size": "1024x1024",
    })
}

fn image_event(kind: &str, more: Value) -> String {
    let event = with(json!({"type": kind, "b64_json": "QUJD", "created_at": 1_700_000_000}), more);
    format!("event: {kind}\ndata: {event}\n\n")
}

fn image_events() -> [String; 3] {
    [
        image_event(PARTIAL, json!({"partial_image_index": 0})),
        image_event(PARTIAL, json!({"partial_image_index": 1})),
        image_event(COMPLETED, json!({"usage": usage()})),
    ]
}

async fn painter() -> FakeUpstream {
    FakeUpstream::answering(|request| match request.json()["stream"] == true {
        true => Reply::sse(image_events()),
        false => Reply::json(200, painted()),
    })
    .await
}

async fn ask(gateway: &Gateway, body: &Value) -> Answer {
    gateway.client().post_json(IMAGES, KEY, body).await
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().expect("a code").to_owned())
}

#[actix_web::test]
async fn every_field_reaches_the_upstream_and_its_answer_the_client() {
    let upstream = painter().await;
    let gateway = Gateway::before([images("up", &upstream)]).await;
    let body = r#"{ "prompt":"a \u00e9clair","n":2, "size":"1536x1024","quality":"hd","style":"vivid",
        "response_format":"b64_json","background":"transparent","moderation":"low","output_format":"webp",
        "output_compression":50, "user":"u-1","model":"gpt-image-2","unknown":{"a":[1.0,1e2]} }"#;
    let answer = gateway.client().request(Request::post(IMAGES).key(KEY).body("application/json", body)).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.body, painted().to_string());
    let received = &upstream.received()[0];
    assert_eq!((received.path.as_str(), received.body.as_ref()), (IMAGES, body.as_bytes()));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_renamed_model_is_the_only_thing_that_changes() {
    let upstream = painter().await;
    let renamed = with(images("up", &upstream), json!({"model": [{"gpt-image-2.5-flare": "dall-e-3"}]}));
    let gateway = Gateway::before([renamed]).await;
    let asked = json!({"prompt": "a cat", "model": "dall-e-3", "style": "vivid", "quality": "hd", "size": "1024x1792"});
    assert_eq!(ask(&gateway, &asked).await.status, 200);
    assert_eq!(upstream.received()[0].json(), with(asked, json!({"model": "gpt-image-2.5-flare"})));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_request_without_a_model_gets_the_usual_one() {
    let upstream = painter().await;
    let gateway = Gateway::before([images("up", &upstream)]).await;
    assert_eq!(ask(&gateway, &json!({"prompt": "a cat"})).await.status, 200);
    assert_eq!(upstream.received()[0].json(), json!({"model": "dall-e-3", "prompt": "a cat"}));
    gateway.stop().await;
}

#[actix_web::test]
async fn what_is_wrong_with_a_request_is_said_before_anybody_is_asked() {
    let upstream = painter().await;
    let gateway = Gateway::before([images("up", &upstream)]).await;
    for (body, param) in [
        (json!({"model": "gpt-image-2"}), json!("prompt")),
        (json!({"model": "gpt-image-2", "prompt": null}), json!("prompt")),
        (json!({"model": 7, "prompt": "a cat"}), json!("model")),
        (json!({"model": "gpt-image-2", "prompt": "a cat", "stream": "yes"}), json!("stream")),
    ] {
        let answer = ask(&gateway, &body).await;
        assert_eq!(code(&answer), (400, "invalid_request".to_owned()), "{body}");
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
    }
    let unknown = ask(&gateway, &json!({"model": "gpt-5", "prompt": "a cat"})).await;
    assert_eq!(code(&unknown), (404, "model_not_found".to_owned()));
    let get = gateway.client().get(IMAGES, KEY).await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn another_channel_paints_after_a_failure() {
    for (what, failure) in [
        ("a status", Reply::error(500, "it went wrong")),
        ("an error with success", Reply::json(200, json!({"error": {"message": "overloaded", "code": 503}}))),
        ("nothing in the list", Reply::json(200, json!({"created": 1, "data": []}))),
        ("no list", Reply::json(200, json!({"created": 1}))),
        ("a web page", Reply::body("text/html", "<html>Just a moment</html>")),
        ("a cut answer", Reply::json(200, painted()).cut_at_byte(40)),
        ("a close", Reply::close_without_answer()),
    ] {
        let (bad, good) = (FakeUpstream::in_turn([failure]).await, painter().await);
        let gateway = Setup::new([images("bad", &bad), images("good", &good)]).fixed_priority().start().await;
        let answer = ask(&gateway, &a_cat()).await;
        assert_eq!((answer.status, answer.json()), (200, painted()), "{what}");
        assert_eq!((bad.received().is_empty(), good.received().len()), (false, 1), "{what}");
        gateway.all_settled().await;
        assert_eq!((gateway.health(0).failed(), gateway.health(1).succeeded()), (1, 1), "{what}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_refused_prompt_is_tried_nowhere_else() {
    let refusal = json!({"error": {
        "message": "Your request was rejected by the safety system.", "type": "image_generation_user_error",
        "param": null, "code": "moderation_blocked",
    }});
    let (refusing, other) = (FakeUpstream::in_turn([Reply::json(400, refusal)]).await, painter().await);
    let setup = Setup::new([images("refusing", &refusing), images("other", &other)]).fixed_priority();
    let gateway = setup.start().await;
    let answer = ask(&gateway, &a_cat()).await;
    assert_eq!(code(&answer), (400, "content_filter".to_owned()));
    assert!(other.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn partial_images_arrive_as_they_come() {
    let gate = Arc::new(Semaphore::new(1));
    let upstream = FakeUpstream::in_turn([Reply::sse(image_events()).gate(Arc::clone(&gate))]).await;
    let gateway = Gateway::before([images("up", &upstream)]).await;
    let mut stream = gateway.client().open_stream(IMAGES, KEY, &a_cat_streamed()).await;
    assert_eq!((stream.status, stream.headers.get("content-type")), (200, Some("text/event-stream; charset=utf-8")));
    for event in image_events() {
        assert_eq!(stream.next_block().await.as_deref(), Some(event.trim_end()));
        gate.add_permits(1);
    }
    let rest = stream.rest().await;
    assert!(rest.complete && rest.body.is_empty(), "{rest:?}");
    assert_eq!(upstream.received()[0].json(), a_cat_streamed());
    gateway.stop().await;
}

#[actix_web::test]
async fn an_image_of_many_megabytes_passes_in_one_event() {
    let data = "QUJD".repeat(3 << 20);
    let event = image_event(COMPLETED, json!({"b64_json": data}));
    let upstream = FakeUpstream::in_turn([Reply::sse([event.clone()]).split_every(64 * 1024)]).await;
    let gateway = Gateway::before([images("up", &upstream)]).await;
    let answer = ask(&gateway, &a_cat_streamed()).await;
    assert!(answer.complete && answer.body == event.as_bytes(), "{} bytes of {}", answer.body.len(), event.len());
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_that_breaks_off_ends_with_an_error_and_not_with_an_image() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"overloaded\",\"code\":\"busy\"}}\n\n";
    for (what, reply, expected) in [
        ("cut", Reply::sse(image_events()).cut_after(1), "upstream_cut_answer"),
        ("reset", Reply::sse(image_events()).reset_after(1), "upstream_cut_answer"),
        ("stall", Reply::sse(image_events()).stall_after(1), "upstream_idle_timeout"),
        ("early end", Reply::sse(&image_events()[..1]), "upstream_cut_answer"),
        ("error", Reply::sse([image_events()[0].as_str(), error]), "busy"),
    ] {
        // What comes together with the beginning would still be tried elsewhere.
        let gate = Arc::new(Semaphore::new(1));
        let upstream = FakeUpstream::in_turn([reply.gate(Arc::clone(&gate))]).await;
        let gateway = Setup::new([images("up", &upstream)]).patience(Duration::from_millis(300)).start().await;
        let stream = gateway.client().open_stream(IMAGES, KEY, &a_cat_streamed()).await;
        gate.close();
        let answer = stream.rest().await;
        let events = answer.events();
        assert_eq!(events.len(), 2, "{what}: {}", answer.text());
        let last: Value = serde_json::from_str(&events[1]).unwrap();
        assert_eq!(last["error"]["code"], expected, "{what}");
        assert!(answer.complete && !answer.text().contains(COMPLETED), "{what}: {}", answer.text());
        gateway.all_settled().await;
        assert_eq!((gateway.health(0).failed(), gateway.health(0).succeeded()), (1, 0), "{what}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn another_channel_streams_when_the_first_one_ends_without_an_image() {
    for failure in [Reply::error(500, "it went wrong"), Reply::sse(image_events()).cut_after(0)] {
        let (bad, good) = (FakeUpstream::in_turn([failure]).await, painter().await);
        let gateway = Setup::new([images("bad", &bad), images("good", &good)]).fixed_priority().start().await;
        let answer = ask(&gateway, &a_cat_streamed()).await;
        assert_eq!(answer.text(), image_events().concat());
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    for (reply, body) in [
        (Reply::never_answer(), a_cat()),
        (Reply::never_answer(), a_cat_streamed()),
        (Reply::sse(image_events()).stall_after(1), a_cat_streamed()),
    ] {
        let upstream = FakeUpstream::in_turn([reply]).await;
        let gateway = Gateway::before([images("up", &upstream)]).await;
        let mut connection = gateway.client().connect().await;
        connection.send(&Request::post(IMAGES).key(KEY).json(&body)).await;
        upstream.wait_for_requests(1).await;
        connection.hang_up();
        upstream.wait_for_disconnect().await;
        gateway.all_settled().await;
        assert_eq!((gateway.health(0).cancelled(), gateway.health(0).failed()), (1, 0), "{body}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_prompt_is_moderated() {
    let upstream = FakeUpstream::answering(|request: &Received| match request.path.as_str() {
        "/v1/moderations" => {
            let flagged = request.json()["input"].as_str().expect("a text").contains("bad");
            Reply::json(200, json!({"results": [{"flagged": flagged}]}))
        }
        _ => Reply::json(200, painted()),
    })
    .await;
    let models = json!({"model": ["gpt-image-2", "omni-moderation-latest"]});
    let setup = Setup::new([with(channel("up", &upstream), models)]);
    let gateway = setup.client_preferences(json!({"ENABLE_MODERATION": true})).start().await;
    assert_eq!(ask(&gateway, &a_cat()).await.status, 200);
    let flagged = ask(&gateway, &with(a_cat(), json!({"prompt": "a bad cat"}))).await;
    assert_eq!(code(&flagged), (400, "content_flagged".to_owned()));
    let paths: Vec<String> = upstream.received().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/v1/moderations", IMAGES, "/v1/moderations"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_limit_counts_images_like_anything_else() {
    let upstream = painter().await;
    let limit = json!({"RATE_LIMIT": "2/min"});
    let gateway = Setup::new([images("up", &upstream)]).client_preferences(limit).start().await;
    assert_eq!(ask(&gateway, &a_cat()).await.status, 200);
    assert_eq!(ask(&gateway, &a_cat_streamed()).await.status, 200);
    assert_eq!(code(&ask(&gateway, &a_cat()).await), (429, "rate_limit_exceeded".to_owned()));
    assert_eq!(upstream.received().len(), 2);
    gateway.stop().await;
}

#[actix_web::test]
async fn what_images_cost_is_written_down() {
    let upstream = painter().await;
    let gateway = Setup::new([images("up", &upstream)]).with_database().start().await;
    assert_eq!(ask(&gateway, &a_cat()).await.status, 200);
    assert_eq!(ask(&gateway, &a_cat_streamed()).await.status, 200);
    let line = "endpoint || ' ' || model || ' ' || text || ' ' || prompt_tokens || ' ' || completion_tokens || ' ' || \
                total_tokens";
    let rows = gateway.query(&format!("SELECT {line} AS line FROM request_stats ORDER BY id")).await;
    assert_eq!(rows, ["POST /v1/images/generations gpt-image-2 a cat 7 5 12"; 2]);
    let rows = gateway.query("SELECT model || ' ' || outcome AS line FROM channel_stats ORDER BY id").await;
    assert_eq!(rows, ["gpt-image-2 ok"; 2]);
    gateway.stop().await;
}

//! `POST /v1/images/edits` and `/v1/images/variations`: pictures in forms.

use serde_json::{Value, json};

use crate::support::form::{Form, parts, text_of};
use crate::support::{Answer, FakeUpstream, Gateway, KEY, Received, Reply, Request, Setup, channel, with};

const EDITS: &str = "/v1/images/edits";
const VARIATIONS: &str = "/v1/images/variations";
const PARTIAL: &str = "event: image_edit.partial_image\ndata: {\"type\":\"image_edit.partial_image\",\"b64_json\":\"QUJD\",\"partial_image_index\":0}\n\n";
const COMPLETED: &str = "event: image_edit.completed\ndata: {\"type\":\"image_edit.completed\",\"b64_json\":\"REVG\",\"usage\":{\"total_tokens\":100,\"input_tokens\":50,\"output_tokens\":50}}\n\n";

fn edit() -> Form {
    Form::new().text("model", "gpt-image-1").file("image", "a.png", b"\x89PNG\r\n").text("prompt", "a hat")
}

fn image() -> Reply {
    let usage = json!({"total_tokens": 100, "input_tokens": 50, "output_tokens": 50});
    Reply::json(200, json!({"created": 1_700_000_000, "data": [{"b64_json": "QUJD"}], "usage": usage}))
}

/// A channel with models for images.
fn painting(name: &str, upstream: &FakeUpstream) -> Value {
    with(channel(name, upstream), json!({"model": ["gpt-image-1", "dall-e-2", "omni-moderation-latest"]}))
}

async fn before(reply: Reply) -> (FakeUpstream, Gateway) {
    let upstream = FakeUpstream::in_turn([reply]).await;
    let gateway = Gateway::before([painting("up", &upstream)]).await;
    (upstream, gateway)
}

async fn send(gateway: &Gateway, form: &Form) -> Answer {
    gateway.client().request(form.post(EDITS)).await
}

#[actix_web::test]
async fn several_pictures_and_a_mask_arrive_as_they_were() {
    let upstream = FakeUpstream::in_turn([image()]).await;
    let models = json!({"model": [{"gpt-image-1.5": "gpt-image-1"}]});
    let gateway = Gateway::before([with(channel("up", &upstream), models)]).await;
    let (first, second) = (vec![1; 400_000], vec![2; 300_000]);
    let form = Form::new()
        .file("image[]", "a.png", &first)
        .file("image[]", "b.png", &second)
        .file("mask", "m.png", b"mask")
        .text("prompt", "a hat")
        .text("n", "2")
        .text("input_fidelity", "high")
        .text("model", "gpt-image-1");
    let answer = send(&gateway, &form).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.json()["data"][0]["b64_json"], "QUJD");
    let received = &upstream.received()[0];
    assert_eq!(received.path, EDITS);
    let parts = parts(received);
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["image[]", "image[]", "mask", "prompt", "n", "input_fidelity", "model"]);
    assert!(parts[0].content == first && parts[1].content == second && parts[2].content == "mask");
    assert_eq!(parts[6].text(), "gpt-image-1.5");
    gateway.stop().await;
}

#[actix_web::test]
async fn variations_need_no_prompt_and_have_a_model_by_default() {
    let (upstream, gateway) = before(image()).await;
    let form = Form::new().file("image", "a.png", b"\x89PNG").text("size", "256x256");
    assert_eq!(gateway.client().request(form.post(VARIATIONS)).await.status, 200);
    let received = &upstream.received()[0];
    assert_eq!(received.path, VARIATIONS);
    assert_eq!(text_of(&parts(received), "model"), "dall-e-2");
    assert_eq!(text_of(&parts(received), "size"), "256x256");
    gateway.stop().await;
}

#[actix_web::test]
async fn an_edit_may_be_json_with_pictures_by_their_address() {
    let upstream = FakeUpstream::in_turn([image()]).await;
    let models = json!({"model": [{"gpt-image-1.5": "gpt-image-1"}]});
    let gateway = Gateway::before([with(channel("up", &upstream), models)]).await;
    let body =
        json!({"model": "gpt-image-1", "images": [{"image_url": "https://example.com/a.png"}], "prompt": "a hat"});
    let answer = gateway.client().post_json(EDITS, KEY, &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = &upstream.received()[0];
    assert_eq!(received.headers.all("content-type"), ["application/json"]);
    assert_eq!(received.json(), with(body, json!({"model": "gpt-image-1.5"})));
    gateway.stop().await;
}

#[actix_web::test]
async fn what_an_edit_needs_is_asked_for() {
    let (upstream, gateway) = before(image()).await;
    let picture = || Form::new().file("image", "a.png", b"x");
    for (path, form, field) in [
        (EDITS, Form::new().text("model", "gpt-image-1").text("prompt", "a hat"), "image"),
        (EDITS, picture().text("model", "gpt-image-1"), "prompt"),
        (EDITS, picture().text("prompt", "a hat"), "model"),
        (EDITS, edit().text("prompt", "another"), "prompt"),
        (VARIATIONS, Form::new().text("model", "dall-e-2"), "image"),
        (VARIATIONS, Form::new().text("model", "dall-e-2").file("mask", "a.png", b"x"), "image"),
    ] {
        let answer = gateway.client().request(form.post(path)).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!(field)), "{}", answer.text());
    }
    let answer = gateway.client().post_json(VARIATIONS, KEY, &json!({"image": "x"})).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("multipart/form-data"), "{}", answer.text());
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn pictures_are_streamed_as_they_come() {
    let (_upstream, gateway) = before(Reply::sse([PARTIAL, COMPLETED])).await;
    let answer = send(&gateway, &edit().text("stream", "true").text("partial_images", "1")).await;
    assert_eq!((answer.status, answer.text()), (200, [PARTIAL, COMPLETED].concat().as_str()));
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    gateway.stop().await;

    let (_upstream, gateway) = before(Reply::sse([PARTIAL, COMPLETED]).cut_after(1)).await;
    let answer = send(&gateway, &edit().text("stream", "true")).await;
    let events = answer.events();
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[1].contains("upstream_cut_answer"), "{events:?}");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_failure_sends_the_same_pictures_to_the_next_channel() {
    let picture = vec![7; 1_000_000];
    let form = Form::new().file("image", "a.png", &picture).text("prompt", "a hat").text("model", "gpt-image-1");
    for failure in [Reply::error(500, "oops"), Reply::json(200, json!({"data": []})), Reply::close_without_answer()] {
        let bad = FakeUpstream::in_turn([failure]).await;
        let good = FakeUpstream::in_turn([image()]).await;
        let setup = Setup::new([painting("bad", &bad), painting("good", &good)]);
        let gateway = setup.fixed_priority().start().await;
        assert_eq!(send(&gateway, &form).await.status, 200);
        for upstream in [&bad, &good] {
            assert!(parts(&upstream.received()[0])[0].content == picture);
        }
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_client_that_leaves_takes_its_upstream_request_with_it() {
    let (upstream, gateway) = before(Reply::never_answer()).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&edit().post(EDITS)).await;
    upstream.wait_for_requests(1).await;
    connection.hang_up();
    upstream.wait_for_disconnect().await;
    gateway.all_settled().await;
    assert_eq!(gateway.health(0).cancelled(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn the_prompt_of_an_edit_is_moderated_and_written_into_the_statistics() {
    let is_judgement = |request: &Received| request.path == "/v1/moderations";
    let upstream = FakeUpstream::answering(move |request| match is_judgement(request) {
        true => {
            let flagged = request.json()["input"].as_str().expect("a text").contains("bad");
            Reply::json(200, json!({"results": [{"flagged": flagged}]}))
        }
        false => image(),
    })
    .await;
    let setup = Setup::new([painting("up", &upstream)]).client_preferences(json!({"ENABLE_MODERATION": true}));
    let gateway = setup.with_database().start().await;
    assert_eq!(send(&gateway, &edit()).await.status, 200);
    let bad = Form::new().file("image", "a.png", b"x").text("model", "gpt-image-1").text("prompt", "a bad hat");
    let refused = send(&gateway, &bad).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!("content_flagged")));
    assert_eq!(upstream.received().iter().filter(|request| !is_judgement(request)).count(), 1);
    let columns = "endpoint || ' ' || model || ' ' || is_flagged || ' ' || text || ' ' || coalesce(total_tokens, '-')";
    let rows = gateway.query(&format!("SELECT {columns} AS line FROM request_stats ORDER BY id")).await;
    let row = |rest: &str| format!("POST {EDITS} gpt-image-1 {rest}");
    assert_eq!(rows, [row("0 a hat 100"), row("1 a bad hat -")]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_limit_of_requests_counts_edits() {
    let upstream = FakeUpstream::in_turn([image()]).await;
    let setup = Setup::new([painting("up", &upstream)]).client_preferences(json!({"RATE_LIMIT": "1/min"}));
    let gateway = setup.start().await;
    assert_eq!(send(&gateway, &edit()).await.status, 200);
    assert_eq!(send(&gateway, &edit()).await.status, 429);
    let json = Request::post(EDITS).key(KEY).json(&json!({"model": "gpt-image-1", "images": [], "prompt": "a hat"}));
    assert_eq!(gateway.client().request(json).await.status, 429);
    gateway.stop().await;
}

//! Images of Google's models behind an OpenAI client: what the upstream gets, and what the client sees of it.

use serde_json::{Value, json};

use crate::support::{
    Answer, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, form::Form, upstream_key, with,
};

const IMAGES: &str = "/v1/images/generations";
const PEM: &str = include_str!("../fixtures/service-account-key.pem");

/// A channel of the Gemini API that offers this model as `image`.
fn gemini(name: &str, upstream: &FakeUpstream, model: &str) -> Value {
    with(channel(name, upstream), json!({"base_url": upstream.url("/v1beta"), "model": [{model: "image"}]}))
}

/// The same on Vertex AI.
fn vertex(tokens: &FakeUpstream, api: &FakeUpstream, model: &str) -> Value {
    json!({
        "provider": "vertex", "project_id": "p-1", "client_email": "a@p-1.example", "private_key": PEM,
        "token_uri": tokens.url("/token"), "base_url": api.url("/front/google-vertex-ai"), "model": [{model: "image"}],
    })
}

async fn tokens() -> FakeUpstream {
    FakeUpstream::in_turn([Reply::json(200, json!({"access_token": "ya29.t", "expires_in": 3599}))]).await
}

/// A channel that speaks like OpenAI and offers `image` as well.
fn openai(name: &str, upstream: &FakeUpstream) -> Value {
    with(channel(name, upstream), json!({"model": ["image"]}))
}

fn a_cat() -> Value {
    json!({"model": "image", "prompt": "a cat"})
}

fn usage() -> Value {
    json!({
        "promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 5}],
    })
}

fn generated() -> Reply {
    let parts = json!([{"text": "Here it is."}, {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}]);
    let candidate = json!({"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0});
    Reply::json(200, json!({"candidates": [candidate], "usageMetadata": usage()}))
}

fn unfinished(reason: &str) -> Reply {
    Reply::json(200, json!({"candidates": [{"content": {}, "finishReason": reason}], "usageMetadata": usage()}))
}

fn predicted(images: &[&str]) -> Reply {
    let prediction = |data: &&str| json!({"mimeType": "image/png", "bytesBase64Encoded": data});
    Reply::json(200, json!({"predictions": images.iter().map(prediction).collect::<Vec<_>>()}))
}

fn painted() -> Reply {
    Reply::json(200, json!({"created": 1_700_000_000, "data": [{"b64_json": "T1BFTkFJ"}]}))
}

async fn ask(gateway: &Gateway, body: &Value) -> Answer {
    gateway.client().post_json(IMAGES, KEY, body).await
}

#[actix_web::test]
async fn an_image_model_of_gemini_is_asked_in_its_own_words() {
    let upstream = FakeUpstream::in_turn([generated()]).await;
    let gateway = Gateway::before([gemini("up", &upstream, "gemini-3-pro-image")]).await;
    let answer = ask(&gateway, &with(a_cat(), json!({"size": "2048x2048", "quality": "high", "style": "vivid"}))).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{}", answer.text());

    let received = &upstream.received()[0];
    assert_eq!(received.path, "/v1beta/models/gemini-3-pro-image:generateContent");
    assert_eq!((received.header("x-goog-api-key"), received.query.as_str()), (Some(upstream_key("up").as_str()), ""));
    let body = received.json();
    assert_eq!(body["contents"], json!([{"role": "user", "parts": [{"text": "a cat"}]}]));
    let config = json!({"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": "1:1", "imageSize": "2K"}});
    assert_eq!(body["generationConfig"], config);

    let answer = answer.json();
    assert!(answer["created"].as_u64().unwrap() > 1_700_000_000, "{answer}");
    assert_eq!((&answer["data"], &answer["output_format"]), (&json!([{"b64_json": "QUJD"}]), &json!("png")));
    let counted = json!({
        "input_tokens": 7, "input_tokens_details": {"image_tokens": 0, "text_tokens": 7},
        "output_tokens": 5, "output_tokens_details": {"image_tokens": 5, "text_tokens": 0}, "total_tokens": 12,
    });
    assert_eq!(answer["usage"], counted);
    gateway.stop().await;
}

#[actix_web::test]
async fn an_image_model_of_gemini_is_asked_on_vertex() {
    let (tokens, api) = (tokens().await, FakeUpstream::in_turn([generated()]).await);
    let gateway = Gateway::before([vertex(&tokens, &api, "gemini-2.5-flash-image")]).await;
    let answer = ask(&gateway, &with(a_cat(), json!({"output_format": "jpeg"}))).await;
    assert_eq!(answer.json()["data"], json!([{"b64_json": "QUJD"}]), "{}", answer.text());
    let received = &api.received()[0];
    let path = "/front/google-vertex-ai/v1/projects/p-1/locations/global/publishers/google/models/\
                gemini-2.5-flash-image:generateContent";
    assert_eq!((received.path.as_str(), received.bearer()), (path, Some("ya29.t")));
    let config = &received.json()["generationConfig"]["imageConfig"];
    assert_eq!(*config, json!({"imageOutputOptions": {"mimeType": "image/jpeg"}}));
    gateway.stop().await;
}

#[actix_web::test]
async fn imagen_is_asked_in_its_own_words_at_both_hosts() {
    let model = "imagen-4.0-generate-001";
    let (tokens, api) = (tokens().await, FakeUpstream::in_turn([predicted(&["QUJD", "REVG"])]).await);
    let asked = with(a_cat(), json!({"n": 2, "size": "1792x1024"}));
    for (provider, path) in [
        (gemini("up", &api, model), format!("/v1beta/models/{model}:predict")),
        (
            vertex(&tokens, &api, model),
            format!(
                "/front/google-vertex-ai/v1/projects/p-1/locations/us-central1/publishers/google/models/{model}:predict"
            ),
        ),
    ] {
        let gateway = Gateway::before([provider]).await;
        let answer = ask(&gateway, &asked).await;
        assert_eq!(answer.json()["data"], json!([{"b64_json": "QUJD"}, {"b64_json": "REVG"}]), "{}", answer.text());
        let received = api.received().pop().unwrap();
        assert_eq!(received.path, path);
        let parameters = json!({"sampleCount": 2, "aspectRatio": "16:9", "includeRaiReason": true});
        assert_eq!(received.json(), json!({"instances": [{"prompt": "a cat"}], "parameters": parameters}));
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_stream_is_the_one_event_with_the_image() {
    let upstream = FakeUpstream::in_turn([generated()]).await;
    let gateway = Gateway::before([gemini("up", &upstream, "gemini-2.5-flash-image")]).await;
    let answer = ask(&gateway, &with(a_cat(), json!({"stream": true, "partial_images": 3}))).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"), "{}", answer.text());
    assert!(answer.text().starts_with("event: image_generation.completed\n"), "{}", answer.text());
    let events = answer.events();
    let [event] = events.as_slice() else { panic!("{events:?}") };
    let event: Value = serde_json::from_str(event).unwrap();
    assert_eq!((&event["type"], &event["b64_json"]), (&json!("image_generation.completed"), &json!("QUJD")));
    assert_eq!(event["usage"]["total_tokens"], 12);
    assert!(upstream.received()[0].path.ends_with(":generateContent"));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_client_that_wants_an_address_gets_one_that_holds_the_image() {
    let upstream = FakeUpstream::in_turn([generated()]).await;
    let gateway = Gateway::before([gemini("up", &upstream, "gemini-2.5-flash-image")]).await;
    let answer = ask(&gateway, &with(a_cat(), json!({"response_format": "url"}))).await;
    assert_eq!(answer.json()["data"], json!([{"url": "data:image/png;base64,QUJD"}]));
    gateway.stop().await;
}

#[actix_web::test]
async fn an_image_that_is_withheld_is_the_clients_matter_and_tried_nowhere_else() {
    let filtered = Reply::json(200, json!({"predictions": [{"raiFilteredReason": "support code 58061214"}]}));
    let blocked = Reply::json(200, json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}));
    for (model, reply, reason) in [
        ("gemini-3-pro-image", unfinished("IMAGE_SAFETY"), "IMAGE_SAFETY"),
        ("gemini-3-pro-image", unfinished("NO_IMAGE"), "NO_IMAGE"),
        ("gemini-3-pro-image", blocked, "PROHIBITED_CONTENT"),
        ("imagen-4.0-generate-001", filtered, "support code 58061214"),
    ] {
        let (upstream, other) = (FakeUpstream::in_turn([reply]).await, FakeUpstream::in_turn([painted()]).await);
        let setup = Setup::new([gemini("up", &upstream, model), openai("other", &other)]).fixed_priority();
        let gateway = setup.start().await;
        let answer = ask(&gateway, &a_cat()).await;
        let error = answer.json()["error"].take();
        assert_eq!((answer.status, &error["code"]), (400, &json!("content_filter")), "{error}");
        assert!(error["message"].as_str().unwrap().contains(reason), "{error}");
        assert!(other.received().is_empty());
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn another_channel_paints_what_the_first_one_did_not() {
    let error = json!({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}});
    for failure in [Reply::json(503, error), unfinished("IMAGE_OTHER"), Reply::json(200, json!({}))] {
        let google = FakeUpstream::in_turn([failure]).await;
        let good = FakeUpstream::in_turn([painted()]).await;
        let providers = [gemini("google", &google, "gemini-3-pro-image"), openai("good", &good)];
        let gateway = Setup::new(providers).fixed_priority().start().await;
        assert_eq!(ask(&gateway, &a_cat()).await.json()["data"], json!([{"b64_json": "T1BFTkFJ"}]));
        assert_eq!((google.received().len(), good.received().len()), (1, 1));
        gateway.stop().await;
    }
    let bad = FakeUpstream::in_turn([Reply::error(500, "it went wrong")]).await;
    let google = FakeUpstream::in_turn([generated()]).await;
    let providers = [openai("bad", &bad), gemini("google", &google, "gemini-3-pro-image")];
    let gateway = Setup::new(providers).fixed_priority().start().await;
    assert_eq!(ask(&gateway, &a_cat()).await.json()["data"], json!([{"b64_json": "QUJD"}]));
    gateway.stop().await;
}

#[actix_web::test]
async fn what_google_cannot_paint_is_painted_by_another_channel_or_said() {
    let google = FakeUpstream::in_turn([generated()]).await;
    let other = FakeUpstream::in_turn([painted()]).await;
    for more in [json!({"n": 2}), json!({"background": "transparent"}), json!({"size": "huge"})] {
        let asked = with(a_cat(), more);
        let providers = [gemini("google", &google, "gemini-3-pro-image"), openai("other", &other)];
        let gateway = Setup::new(providers).fixed_priority().start().await;
        assert_eq!(ask(&gateway, &asked).await.json()["data"], json!([{"b64_json": "T1BFTkFJ"}]), "{asked}");
        assert_eq!(other.received().pop().unwrap().json(), asked);
        gateway.stop().await;

        let gateway = Gateway::before([gemini("google", &google, "gemini-3-pro-image")]).await;
        let answer = ask(&gateway, &asked).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (400, &json!("unsupported_by_channel")),
            "{asked}"
        );
        gateway.all_settled().await;
        assert_eq!(gateway.health(0).failed(), 0, "{asked}");
        gateway.stop().await;
    }
    assert!(google.received().is_empty());
}

#[actix_web::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    for reply in [Reply::never_answer(), generated().stall_after(0)] {
        let upstream = FakeUpstream::in_turn([reply]).await;
        let gateway = Gateway::before([gemini("up", &upstream, "gemini-3-pro-image")]).await;
        let mut connection = gateway.client().connect().await;
        connection.send(&Request::post(IMAGES).key(KEY).json(&a_cat())).await;
        upstream.wait_for_requests(1).await;
        connection.hang_up();
        upstream.wait_for_disconnect().await;
        gateway.all_settled().await;
        assert_eq!((gateway.health(0).cancelled(), gateway.health(0).failed()), (1, 0));
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn what_google_counts_is_written_down() {
    let upstream = FakeUpstream::in_turn([generated()]).await;
    let setup = Setup::new([gemini("up", &upstream, "gemini-3-pro-image")]).with_database();
    let gateway = setup.start().await;
    assert_eq!(ask(&gateway, &a_cat()).await.status, 200);
    let line = "endpoint || ' ' || model || ' ' || text || ' ' || prompt_tokens || ' ' || completion_tokens";
    let rows = gateway.query(&format!("SELECT {line} AS line FROM request_stats")).await;
    assert_eq!(rows, ["POST /v1/images/generations image a cat 7 5"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn an_edit_sends_the_images_along() {
    let upstream = FakeUpstream::in_turn([generated()]).await;
    let gateway = Gateway::before([gemini("up", &upstream, "gemini-3-pro-image")]).await;
    let asked = json!({
        "model": "image", "prompt": "a hat on it", "stream": true,
        "images": [{"image_url": "data:image/png;base64,iVBORw0KGgo="}],
    });
    let answer = gateway.client().post_json("/v1/images/edits", KEY, &asked).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().starts_with("event: image_edit.completed\n"), "{}", answer.text());
    let image = json!({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}});
    assert_eq!(upstream.received()[0].json()["contents"][0]["parts"], json!([{"text": "a hat on it"}, image]));
    gateway.stop().await;
}

#[actix_web::test]
async fn the_files_of_a_form_are_sent_along() {
    let (tokens, api) = (tokens().await, FakeUpstream::in_turn([generated()]).await);
    let gateway = Gateway::before([vertex(&tokens, &api, "gemini-3-pro-image")]).await;
    let form = Form::new()
        .file("image[]", "a.png", b"\x89PNG\r\n\x1a\n")
        .file("image[]", "b.jpg", b"\xff\xd8\xff")
        .text("prompt", "both")
        .text("model", "image")
        .text("response_format", "url")
        .text("size", "1024x1536");
    let answer = gateway.client().request(form.post("/v1/images/edits")).await;
    assert_eq!(answer.json()["data"], json!([{"url": "data:image/png;base64,QUJD"}]), "{}", answer.text());
    let body = api.received()[0].json();
    let image = |kind: &str, data: &str| json!({"inlineData": {"mimeType": kind, "data": data}});
    let parts = json!([{"text": "both"}, image("image/png", "iVBORw0KGgo="), image("image/jpeg", "/9j/")]);
    assert_eq!(body["contents"][0]["parts"], parts);
    assert_eq!(body["generationConfig"]["imageConfig"], json!({"aspectRatio": "2:3"}));
    gateway.stop().await;
}

#[actix_web::test]
async fn an_edit_that_google_cannot_make_is_made_by_another_channel() {
    let google = FakeUpstream::in_turn([generated()]).await;
    let other = FakeUpstream::in_turn([painted()]).await;
    let providers = [gemini("google", &google, "gemini-3-pro-image"), openai("other", &other)];
    let gateway = Setup::new(providers).fixed_priority().start().await;
    let form = Form::new().text("model", "image").text("prompt", "a hat").file("image", "a.png", b"a");
    let answer = gateway.client().request(form.file("mask", "m.png", b"m").post("/v1/images/edits")).await;
    assert_eq!(answer.json()["data"], json!([{"b64_json": "T1BFTkFJ"}]), "{}", answer.text());
    assert!(google.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn an_edit_needs_an_image() {
    let upstream = FakeUpstream::in_turn([generated()]).await;
    let gateway = Gateway::before([gemini("up", &upstream, "gemini-3-pro-image")]).await;
    let answer = gateway.client().post_json("/v1/images/edits", KEY, &a_cat()).await;
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("images")), "{}", answer.text());
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

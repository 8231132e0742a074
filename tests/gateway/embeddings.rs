//! `POST /v1/embeddings`: OpenAI's own format as it came, and those of Google and Cohere.

use serde_json::{Value, json};

use crate::support::{Answer, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, upstream_key, with};
use crate::vertex::{tokens, vertex};

const EMBEDDINGS: &str = "/v1/embeddings";
/// 1, -0.5 and 0.25, four bytes each.
const BASE64: &str = "AACAPwAAAL8AAIA+";

fn request(input: Value) -> Value {
    json!({"model": "gpt-4o", "input": input})
}

async fn embed(gateway: &Gateway, body: &Value) -> Answer {
    gateway.client().post_json(EMBEDDINGS, KEY, body).await
}

/// What OpenAI answers: this many vectors.
fn openai(vectors: usize) -> Reply {
    let vector = |index| json!({"object": "embedding", "index": index, "embedding": [1.0, -0.5, 0.25]});
    let usage = json!({"prompt_tokens": 7, "total_tokens": 7});
    let data: Vec<Value> = (0..vectors).map(vector).collect();
    Reply::json(200, json!({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage}))
}

/// What a client gets of them from upstreams that do not speak like OpenAI.
fn translated(embeddings: &[Value], tokens: u32) -> Value {
    let vector = |(index, embedding)| json!({"object": "embedding", "index": index, "embedding": embedding});
    let data: Vec<Value> = embeddings.iter().enumerate().map(vector).collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    json!({"object": "list", "data": data, "model": "gpt-4o", "usage": usage})
}

fn gemini(name: &str, upstream: &FakeUpstream) -> Value {
    let base_url = upstream.url("/v1beta");
    with(channel(name, upstream), json!({"base_url": base_url, "model": [{"gemini-embedding-2": "gpt-4o"}]}))
}

fn gemini_answer(vectors: usize) -> Reply {
    let vectors = vec![json!({"values": [1.0, -0.5, 0.25]}); vectors];
    Reply::json(200, json!({"embeddings": vectors, "usageMetadata": {"promptTokenCount": 7}}))
}

fn cohere(name: &str, upstream: &FakeUpstream, path: &str) -> Value {
    let base_url = upstream.url(path);
    with(
        channel(name, upstream),
        json!({"base_url": base_url, "engine": "cohere", "model": [{"embed-v4.0": "gpt-4o"}]}),
    )
}

fn cohere_answer(vectors: usize) -> Reply {
    let vectors = vec![json!([1.0, -0.5, 0.25]); vectors];
    let meta = json!({"api_version": {"version": "2"}, "billed_units": {"input_tokens": 7}});
    Reply::json(200, json!({"id": "e-1", "embeddings": {"float": vectors}, "meta": meta}))
}

/// A channel on Vertex AI that offers this model.
fn on_vertex(tokens: &FakeUpstream, api: &FakeUpstream, model: &str) -> Value {
    with(vertex(tokens, api, &["us-central1"]), json!({"model": [{model: "gpt-4o"}]}))
}

fn vertex_path(model: &str, verb: &str) -> String {
    format!("/front/google-vertex-ai/v1/projects/p-1/locations/us-central1/publishers/google/models/{model}:{verb}")
}

#[actix_web::test]
async fn every_form_of_input_reaches_openai_as_it_came() {
    let upstream = FakeUpstream::in_turn([openai(1)]).await;
    let provider = with(channel("up", &upstream), json!({"model": [{"text-embedding-3-small": "gpt-4o"}]}));
    let gateway = Gateway::before([provider]).await;
    let rest = r#""encoding_format":"base64" , "dimensions":256,"user":"u", "x": 1e2}"#;
    for input in [r#""a\u00e9""#, r#"["a", "b"]"#, "[1,2]", "[[1],[2, 3]]", r#"[{"image":"https://h/a.png"}]"#] {
        let body = |model: &str| format!(r#"{{"input" : {input}, "model":"{model}", {rest}"#);
        let request = Request::post(EMBEDDINGS).key(KEY).body("application/json", body("gpt-4o"));
        let answer = gateway.client().request(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["model"], "text-embedding-3-small");
        let received = upstream.received().pop().unwrap();
        assert_eq!((received.path.as_str(), received.bearer()), (EMBEDDINGS, Some(upstream_key("up").as_str())));
        assert_eq!(String::from_utf8(received.body.to_vec()).unwrap(), body("text-embedding-3-small"));
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn gemini_is_asked_for_several_texts_at_once() {
    let upstream = FakeUpstream::in_turn([gemini_answer(2), gemini_answer(1)]).await;
    let gateway = Gateway::before([gemini("up", &upstream)]).await;
    let body = with(
        request(json!(["a", "b"])),
        json!({"dimensions": 3, "encoding_format": "base64", "task_type": "CLUSTERING", "user": "u"}),
    );
    let answer = embed(&gateway, &body).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json(), translated(&[json!(BASE64), json!(BASE64)], 7));
    let answer = embed(&gateway, &request(json!("a"))).await;
    assert_eq!(answer.json(), translated(&[json!([1.0, -0.5, 0.25])], 7));

    let received = upstream.received();
    assert_eq!(received[0].path, "/v1beta/models/gemini-embedding-2:batchEmbedContents");
    assert_eq!(received[0].header("x-goog-api-key"), Some(upstream_key("up").as_str()));
    let entry = |text: &str| json!({"model": "models/gemini-embedding-2", "content": {"parts": [{"text": text}]}});
    let wanted = |text| with(entry(text), json!({"taskType": "CLUSTERING", "outputDimensionality": 3}));
    assert_eq!(received[0].json(), json!({"requests": [wanted("a"), wanted("b")]}));
    assert_eq!(received[1].json(), json!({"requests": [entry("a")]}));
    gateway.stop().await;
}

#[actix_web::test]
async fn older_models_on_vertex_predict() {
    let predicted = |tokens| json!({"embeddings": {"values": [1, 2], "statistics": {"token_count": tokens}}});
    let reply = Reply::json(200, json!({"predictions": [predicted(3), predicted(4)]}));
    let (tokens, api) = (tokens().await, FakeUpstream::in_turn([reply]).await);
    for model in ["text-embedding-005", "gemini-embedding-001"] {
        let gateway = Gateway::before([on_vertex(&tokens, &api, model)]).await;
        let body = with(request(json!(["a", "b"])), json!({"dimensions": 2, "task_type": "RETRIEVAL_QUERY"}));
        assert_eq!(embed(&gateway, &body).await.json(), translated(&[json!([1, 2]), json!([1, 2])], 7));
        let received = api.received().pop().unwrap();
        assert_eq!(received.path, vertex_path(model, "predict"));
        assert!(received.bearer().is_some_and(|token| token.starts_with("ya29.")));
        let instance = |text| json!({"content": text, "task_type": "RETRIEVAL_QUERY"});
        assert_eq!(
            received.json(),
            json!({"instances": [instance("a"), instance("b")], "parameters": {"outputDimensionality": 2}})
        );
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn newer_models_on_vertex_take_one_text() {
    let reply = Reply::json(200, json!({"embedding": {"values": [1]}, "usageMetadata": {"promptTokenCount": 7}}));
    let (tokens, api) = (tokens().await, FakeUpstream::in_turn([reply]).await);
    let gateway = Gateway::before([on_vertex(&tokens, &api, "gemini-embedding-2")]).await;
    let body = with(request(json!(["a"])), json!({"dimensions": 1}));
    assert_eq!(embed(&gateway, &body).await.json(), translated(&[json!([1])], 7));
    let received = &api.received()[0];
    assert_eq!(received.path, vertex_path("gemini-embedding-2", "embedContent"));
    let content = json!({"parts": [{"text": "a"}]});
    assert_eq!(received.json(), json!({"content": content, "embedContentConfig": {"outputDimensionality": 1}}));

    let answer = embed(&gateway, &request(json!(["a", "b"]))).await;
    let error = &answer.json()["error"];
    assert_eq!((answer.status, &error["code"]), (400, &json!("unsupported_by_channel")));
    assert_eq!(error["message"], "vertex: this channel takes one text at a time; send them one by one");
    assert_eq!(api.received().len(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn cohere_is_told_what_the_texts_are_for() {
    let upstream = FakeUpstream::in_turn([cohere_answer(2), cohere_answer(1)]).await;
    for base in ["", "/v1", "/v2", "/v1/chat", "/v2/chat", "/v2/embed"] {
        let upstream = FakeUpstream::in_turn([cohere_answer(1)]).await;
        let gateway = Gateway::before([cohere("up", &upstream, base)]).await;
        assert_eq!(embed(&gateway, &request(json!("a"))).await.status, 200, "{base}");
        assert_eq!(upstream.received()[0].path, "/v2/embed", "{base}");
        gateway.stop().await;
    }
    let gateway = Gateway::before([cohere("up", &upstream, "/v2/chat")]).await;
    let body = with(
        request(json!(["a", "b"])),
        json!({"dimensions": 256, "encoding_format": "base64", "input_type": "search_query"}),
    );
    assert_eq!(embed(&gateway, &body).await.json(), translated(&[json!(BASE64), json!(BASE64)], 7));
    let received = &upstream.received()[0];
    assert_eq!(received.bearer(), Some(upstream_key("up").as_str()));
    assert_eq!(
        received.json(),
        json!({
            "model": "embed-v4.0", "texts": ["a", "b"], "input_type": "search_query", "embedding_types": ["float"],
            "output_dimension": 256,
        })
    );
    embed(&gateway, &request(json!("a"))).await;
    assert_eq!(upstream.received()[1].json()["input_type"], "search_document");
    gateway.stop().await;
}

#[actix_web::test]
async fn what_a_channel_cannot_be_told_goes_to_the_next() {
    let (first, second) = (FakeUpstream::start().await, FakeUpstream::in_turn([openai(2)]).await);
    let many: Vec<String> = (0..101).map(|nth| format!("text {nth}")).collect();
    for input in [json!([1, 2]), json!([[1], [2]]), json!(many)] {
        for unable in [gemini("first", &first), cohere("first", &first, "/v2/chat")] {
            let gateway = Setup::new([unable, channel("second", &second)]).fixed_priority().start().await;
            let answer = embed(&gateway, &request(input.clone())).await;
            assert_eq!((answer.status, answer.json()["data"][1]["index"].as_u64()), (200, Some(1)));
            assert_eq!(second.received().pop().unwrap().json()["input"], input);
            gateway.stop().await;
        }
    }
    assert!(first.received().is_empty());
}

/// Answers in which something is wrong, to a request for two vectors.
fn failures() -> Vec<Reply> {
    vec![
        Reply::error(500, "it went wrong"),
        Reply::error(429, "slow down"),
        Reply::json(200, json!({"error": {"message": "overloaded", "code": 503}})),
        Reply::json(200, json!({"embeddings": [], "data": []})),
        Reply::json(200, json!({"hello": "world"})),
        Reply::json(200, json!(null)),
        Reply::body("application/json", ""),
        Reply::body("application/json", r#"{"embeddings": [{"values": [1"#),
        Reply::body("text/html", "<!DOCTYPE html><html><body>Just a moment</body></html>"),
        Reply::close_without_answer(),
    ]
}

async fn moves_on(provider: impl Fn(&FakeUpstream) -> Value, failure: Reply) {
    let bad = FakeUpstream::in_turn([failure.clone()]).await;
    let good = FakeUpstream::in_turn([openai(2)]).await;
    let gateway = Setup::new([provider(&bad), channel("good", &good)]).fixed_priority().start().await;
    let answer = embed(&gateway, &request(json!(["a", "b"]))).await;
    assert_eq!(answer.status, 200, "{failure:?}: {}", answer.text());
    assert_eq!((bad.received().is_empty(), good.received().len()), (false, 1), "{failure:?}");
    gateway.all_settled().await;
    assert_eq!((gateway.health(0).failed(), gateway.health(1).succeeded()), (1, 1), "{failure:?}");
    gateway.stop().await;
}

#[actix_web::test]
async fn another_channel_answers_after_a_failure() {
    for failure in failures() {
        moves_on(|bad| channel("bad", bad), failure.clone()).await;
        moves_on(|bad| gemini("bad", bad), failure.clone()).await;
        moves_on(|bad| cohere("bad", bad, "/v2/chat"), failure).await;
    }
}

#[actix_web::test]
async fn an_answer_with_another_number_of_vectors_than_of_texts_is_a_failure() {
    for vectors in [1, 3] {
        moves_on(|bad| gemini("bad", bad), gemini_answer(vectors)).await;
        moves_on(|bad| cohere("bad", bad, "/v2/chat"), cohere_answer(vectors)).await;
    }
    let upstream = FakeUpstream::in_turn([gemini_answer(1)]).await;
    let gateway = Gateway::before([gemini("up", &upstream)]).await;
    let answer = embed(&gateway, &request(json!(["a", "b"]))).await;
    let error = &answer.json()["error"];
    assert_eq!((answer.status, &error["code"]), (502, &json!("upstream_unreadable_answer")));
    assert_eq!(error["message"], "up: the upstream's answer has 1 vectors for 2 texts");
    gateway.stop().await;
}

#[actix_web::test]
async fn tokens_are_written_down() {
    let (first, second) = (FakeUpstream::in_turn([openai(1)]).await, FakeUpstream::in_turn([gemini_answer(1)]).await);
    let providers =
        [channel("first", &first), with(gemini("second", &second), json!({"model": ["gemini-embedding-2"]}))];
    let gateway = Setup::new(providers).with_database().start().await;
    for model in ["gpt-4o", "gemini-embedding-2"] {
        let answer = embed(&gateway, &with(request(json!("a")), json!({"model": model}))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let columns = "endpoint || ' ' || provider || ' ' || prompt_tokens || ' ' || total_tokens || ' ' || is_streamed";
    let rows = gateway.query(&format!("SELECT {columns} AS line FROM request_stats ORDER BY id")).await;
    assert_eq!(rows, ["POST /v1/embeddings first 7 7 0", "POST /v1/embeddings second 7 7 0"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_client_that_leaves_takes_its_upstream_request_with_it() {
    let upstream = FakeUpstream::in_turn([Reply::never_answer()]).await;
    for provider in [channel("up", &upstream), gemini("up", &upstream)] {
        let before = upstream.received().len();
        let gateway = Gateway::before([provider]).await;
        let mut connection = gateway.client().connect().await;
        connection.send(&Request::post(EMBEDDINGS).key(KEY).json(&request(json!("a")))).await;
        upstream.wait_for_requests(before + 1).await;
        connection.hang_up();
        upstream.wait_for_disconnects(before + 1).await;
        gateway.all_settled().await;
        let health = gateway.health(0);
        assert_eq!((health.cancelled(), health.failed(), health.in_flight()), (1, 0, 0));
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_wrong_request_is_refused_with_the_field_at_fault() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([gemini("up", &upstream)]).await;
    let model = json!({"model": "gpt-4o"});
    for (body, param) in [
        (json!({"input": "a"}), json!("model")),
        (model.clone(), json!("input")),
        (request(json!(null)), json!("input")),
        (request(json!("")), json!("input")),
        (request(json!([])), json!("input")),
        (request(json!(7)), json!("input")),
        (request(json!(["a", 1])), json!("input")),
        (with(request(json!("a")), json!({"dimensions": 0})), json!("dimensions")),
        (with(request(json!("a")), json!({"encoding_format": 7})), json!("encoding_format")),
        (json!([]), json!(null)),
    ] {
        let answer = embed(&gateway, &body).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["code"]), (400, &json!("invalid_request")), "{body}");
        assert_eq!(error["param"], param, "{body}: {error}");
    }
    let cut = Request::post(EMBEDDINGS).key(KEY).body("application/json", r#"{"model":"gpt-4o","input":"#);
    assert_eq!(gateway.client().request(cut).await.status, 400);
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn what_the_upstream_refuses_is_told() {
    let refusals = [
        (Reply::error(400, "no such parameter"), 400, "upstream_rejected"),
        (Reply::error(404, "no such model"), 404, "upstream_not_found"),
        (Reply::error(429, "slow down"), 429, "rate_limit_exceeded"),
        (Reply::error(401, "wrong key"), 502, "upstream_key_refused"),
    ];
    for (refusal, status, code) in refusals {
        let upstream = FakeUpstream::in_turn([refusal]).await;
        for provider in [channel("up", &upstream), gemini("up", &upstream), cohere("up", &upstream, "/v2/chat")] {
            let gateway = Gateway::before([provider]).await;
            let answer = embed(&gateway, &request(json!("a"))).await;
            assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)), "{}", answer.text());
            gateway.stop().await;
        }
    }
}

#[actix_web::test]
async fn rules_and_limits_of_the_client_key_hold() {
    let upstream = FakeUpstream::in_turn([openai(1)]).await;
    let keys = json!([
        {"api": KEY, "model": ["gpt-4o"], "preferences": {"RATE_LIMIT": "1/min"}},
        {"api": "sk-other-0123456789", "model": ["another"]},
    ]);
    let providers = [with(channel("up", &upstream), json!({"model": ["gpt-4o", "another"]}))];
    let gateway = Setup::new(providers).api_keys(keys).start().await;
    let other = gateway.client().post_json(EMBEDDINGS, "sk-other-0123456789", &request(json!("a"))).await;
    assert_eq!((other.status, &other.json()["error"]["code"]), (404, &json!("model_not_found")));
    assert_eq!(gateway.client().post_json(EMBEDDINGS, "sk-wrong", &request(json!("a"))).await.status, 401);
    assert_eq!(embed(&gateway, &request(json!("a"))).await.status, 200);
    let limited = embed(&gateway, &request(json!("a"))).await;
    assert_eq!((limited.status, &limited.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    assert!(limited.header("retry-after").is_some());
    assert_eq!(upstream.received().len(), 1);
    gateway.stop().await;
}

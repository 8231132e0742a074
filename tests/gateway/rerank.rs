//! `POST /v1/rerank`: the format of Cohere's first version and Jina as it came, and Cohere's second.

use serde_json::{Value, json};

use crate::support::{Answer, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, upstream_key, with};

const RERANK: &str = "/v1/rerank";

fn request() -> Value {
    json!({"model": "gpt-4o", "query": "q", "documents": ["a", {"text": "b", "id": 7}, "c"]})
}

async fn rerank(gateway: &Gateway, body: &Value) -> Answer {
    gateway.client().post_json(RERANK, KEY, body).await
}

/// What Jina answers.
fn jina() -> Reply {
    let results = json!([{"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}]);
    Reply::json(200, json!({"model": "jina-reranker-v2", "usage": {"total_tokens": 15}, "results": results}))
}

fn cohere(name: &str, upstream: &FakeUpstream, path: &str) -> Value {
    let base_url = upstream.url(path);
    with(
        channel(name, upstream),
        json!({"base_url": base_url, "engine": "cohere", "model": [{"rerank-v3.5": "gpt-4o"}]}),
    )
}

fn meta() -> Value {
    json!({"api_version": {"version": "2"}, "billed_units": {"search_units": 1}})
}

fn cohere_answer(results: Value) -> Reply {
    Reply::json(200, json!({"id": "r-1", "results": results, "meta": meta()}))
}

fn two() -> Value {
    json!([{"index": 1, "relevance_score": 0.98}, {"index": 0, "relevance_score": 1e-3}])
}

#[actix_web::test]
async fn a_request_reaches_whoever_speaks_like_the_client_as_it_came() {
    let upstream = FakeUpstream::in_turn([jina()]).await;
    for base in ["/v1", "/v1/rerank", "/v1/embeddings", "/v1/chat/completions"] {
        let provider = json!({"base_url": upstream.url(base), "model": [{"jina-reranker-v2": "gpt-4o"}]});
        let gateway = Gateway::before([with(channel("up", &upstream), provider)]).await;
        let body = |model: &str| {
            format!(r#"{{ "model":"{model}", "query":"q" , "documents":["a",{{"image":"https://h/b.png"}}],"x":1e2}}"#)
        };
        let request = Request::post(RERANK).key(KEY).body("application/json", body("gpt-4o"));
        let answer = gateway.client().request(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["results"][0]["document"]["text"], "b");
        let received = upstream.received().pop().unwrap();
        assert_eq!((received.path.as_str(), received.bearer()), (RERANK, Some(upstream_key("up").as_str())));
        assert_eq!(String::from_utf8(received.body.to_vec()).unwrap(), body("jina-reranker-v2"));
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn cohere_ranks_texts_and_the_client_gets_its_documents_back() {
    for base in ["", "/v1", "/v2", "/v1/chat", "/v2/chat", "/v2/rerank"] {
        let upstream = FakeUpstream::in_turn([cohere_answer(two())]).await;
        let gateway = Gateway::before([cohere("up", &upstream, base)]).await;
        let more = json!({"top_n": 2, "return_documents": true, "max_tokens_per_doc": 512, "max_chunks_per_doc": 3});
        let answer = rerank(&gateway, &with(request(), more)).await;
        assert_eq!(
            answer.json(),
            json!({
                "id": "r-1", "model": "gpt-4o", "meta": meta(),
                "results": [
                    {"index": 1, "relevance_score": 0.98, "document": {"text": "b", "id": 7}},
                    {"index": 0, "relevance_score": 1e-3, "document": {"text": "a"}},
                ],
            })
        );
        let received = &upstream.received()[0];
        assert_eq!((received.path.as_str(), received.bearer()), ("/v2/rerank", Some(upstream_key("up").as_str())));
        assert_eq!(
            received.json(),
            json!({
                "model": "rerank-v3.5", "query": "q", "documents": ["a", "b", "c"], "top_n": 2,
                "max_tokens_per_doc": 512,
            })
        );
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn what_cohere_cannot_be_told_goes_to_the_next() {
    let (first, second) = (FakeUpstream::start().await, FakeUpstream::in_turn([jina()]).await);
    let providers = [cohere("first", &first, "/v2/chat"), channel("second", &second)];
    let gateway = Setup::new(providers).fixed_priority().start().await;
    let image = json!({"image": "https://h/a.png"});
    for more in [json!({"query": image}), json!({"documents": [image]}), json!({"rank_fields": ["title"]})] {
        assert_eq!(rerank(&gateway, &with(request(), more.clone())).await.status, 200, "{more}");
    }
    assert_eq!((first.received().len(), second.received().len()), (0, 3));
    gateway.stop().await;
}

async fn moves_on(provider: impl Fn(&FakeUpstream) -> Value, failure: Reply) {
    let bad = FakeUpstream::in_turn([failure.clone()]).await;
    let good = FakeUpstream::in_turn([jina()]).await;
    let gateway = Setup::new([provider(&bad), channel("good", &good)]).fixed_priority().start().await;
    let answer = rerank(&gateway, &request()).await;
    assert_eq!(answer.status, 200, "{failure:?}: {}", answer.text());
    assert_eq!((bad.received().is_empty(), good.received().len()), (false, 1), "{failure:?}");
    gateway.stop().await;
}

#[actix_web::test]
async fn another_channel_answers_after_a_failure() {
    for failure in [
        Reply::error(500, "it went wrong"),
        Reply::json(200, json!({"error": {"message": "overloaded", "code": 503}})),
        Reply::json(200, json!({"results": []})),
        Reply::json(200, json!({"hello": "world"})),
        Reply::body("application/json", ""),
        Reply::body("application/json", r#"{"results": [{"index": 0"#),
        Reply::body("text/html", "<html>"),
        Reply::close_without_answer(),
    ] {
        moves_on(|bad| channel("bad", bad), failure.clone()).await;
        moves_on(|bad| cohere("bad", bad, "/v2/chat"), failure).await;
    }
    for results in [json!([{"index": 3, "relevance_score": 0.5}]), json!([{"index": 0, "relevance_score": "high"}])] {
        moves_on(|bad| cohere("bad", bad, "/v2/chat"), cohere_answer(results)).await;
    }
}

#[actix_web::test]
async fn tokens_are_written_down_where_the_upstream_counts_them() {
    let upstream = FakeUpstream::in_turn([jina(), cohere_answer(two())]).await;
    let second = with(cohere("second", &upstream, "/v2/chat"), json!({"model": ["rerank-v3.5"]}));
    let gateway = Setup::new([channel("first", &upstream), second]).with_database().start().await;
    for model in ["gpt-4o", "rerank-v3.5"] {
        assert_eq!(rerank(&gateway, &with(request(), json!({"model": model}))).await.status, 200);
    }
    let columns = "endpoint || ' ' || provider || ' ' || COALESCE(total_tokens, 'none')";
    let rows = gateway.query(&format!("SELECT {columns} AS line FROM request_stats ORDER BY id")).await;
    assert_eq!(rows, ["POST /v1/rerank first 15", "POST /v1/rerank second none"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_client_that_leaves_takes_its_upstream_request_with_it() {
    let upstream = FakeUpstream::in_turn([Reply::never_answer()]).await;
    let gateway = Gateway::before([cohere("up", &upstream, "/v2/chat")]).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(RERANK).key(KEY).json(&request())).await;
    upstream.wait_for_requests(1).await;
    connection.hang_up();
    upstream.wait_for_disconnect().await;
    gateway.all_settled().await;
    assert_eq!((gateway.health(0).cancelled(), gateway.health(0).failed()), (1, 0));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_wrong_request_is_refused_with_the_field_at_fault() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([cohere("up", &upstream, "/v2/chat")]).await;
    let without = |field: &str| {
        let mut body = request();
        body.as_object_mut().unwrap().remove(field);
        body
    };
    for (body, param) in [
        (without("model"), "model"),
        (without("query"), "query"),
        (without("documents"), "documents"),
        (with(request(), json!({"documents": []})), "documents"),
        (with(request(), json!({"documents": [7]})), "documents"),
        (with(request(), json!({"query": 7})), "query"),
        (with(request(), json!({"top_n": 0})), "top_n"),
    ] {
        let answer = rerank(&gateway, &body).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["code"]), (400, &json!("invalid_request")), "{body}");
        assert_eq!(error["param"], param, "{body}");
    }
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn a_channel_without_rankings_is_passed_over() {
    let (first, second) = (FakeUpstream::start().await, FakeUpstream::in_turn([jina()]).await);
    let gemini = with(channel("first", &first), json!({"base_url": first.url("/v1beta")}));
    let gateway = Setup::new([gemini, channel("second", &second)]).fixed_priority().start().await;
    assert_eq!(rerank(&gateway, &request()).await.status, 200);
    assert_eq!((first.received().len(), second.received().len()), (0, 1));
    gateway.stop().await;
}

//! Google Vertex AI: one access token for all requests, and a region after the other.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uni_api::actors::messages::Crash;
use uni_api::config::ChannelId;

use crate::support::{
    FakeUpstream, Gateway, Received, Reply, Setup, channel,
    gateway::eventually,
    hello, hello_streamed,
    logs::{self, CANARY},
    with,
};

const PEM: &str = include_str!("../fixtures/service-account-key.pem");
const CLAUDE: &str = "claude-3-5-sonnet@20240620";

/// A channel that offers Claude as `gpt-4o` in these regions.
pub(super) fn vertex(tokens: &FakeUpstream, api: &FakeUpstream, regions: &[&str]) -> Value {
    json!({
        "provider": "vertex", "project_id": "p-1", "client_email": "a@p-1.example", "private_key": PEM,
        "token_uri": tokens.url("/token"), "base_url": api.url("/front/google-vertex-ai"), "region": regions,
        "model": [{CLAUDE: "gpt-4o"}],
    })
}

/// Gives out `token-1`, `token-2` and so on.
pub(super) async fn tokens() -> FakeUpstream {
    FakeUpstream::in_turn((1..10).map(token)).await
}

fn token(number: usize) -> Reply {
    let token = format!("ya29.{CANARY}-{number}");
    Reply::json(200, json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}))
}

fn refusal() -> Reply {
    Reply::json(400, json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}))
}

fn message() -> Reply {
    Reply::json(
        200,
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 7, "output_tokens": 5},
        }),
    )
}

fn error(status: u16) -> Reply {
    Reply::json(status, json!({"error": {"code": status, "message": "not here", "status": "SOMETHING"}}))
}

/// What comes after `/locations/` in the path.
fn region(received: &Received) -> &str {
    received.path.split('/').skip_while(|part| *part != "locations").nth(1).expect("a region in the path")
}

fn regions(received: &[Received]) -> Vec<&str> {
    received.iter().map(region).collect()
}

/// An API in which a region answers with this status, and the others with a message.
async fn api_failing_in(bad: &'static str, status: u16) -> FakeUpstream {
    FakeUpstream::answering(move |request| if region(request) == bad { error(status) } else { message() }).await
}

#[actix_web::test]
async fn claude_is_asked_in_the_words_of_vertex() {
    let (tokens, api) = (tokens().await, FakeUpstream::in_turn([message()]).await);
    let gateway = Gateway::before([vertex(&tokens, &api, &["us-east5"])]).await;
    let answer = gateway.ask(&hello()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hello");
    assert_eq!(answer.json()["usage"]["total_tokens"], 12);

    let received = &api.received()[0];
    let path = format!(
        "/front/google-vertex-ai/v1/projects/p-1/locations/us-east5/publishers/anthropic/models/{CLAUDE}:rawPredict"
    );
    assert_eq!((received.path.as_str(), received.query.as_str()), (path.as_str(), ""));
    assert_eq!(received.bearer(), Some(format!("ya29.{CANARY}-1").as_str()));
    assert_eq!((received.header("x-api-key"), received.header("anthropic-version")), (None, None));
    let body = received.json();
    assert_eq!((&body["anthropic_version"], body.get("model")), (&json!("vertex-2023-10-16"), None));
    gateway.stop().await;
}

#[actix_web::test]
async fn claude_streams_from_vertex() {
    let events = [
        r#"{"type":"message_start","message":{"id":"m","role":"assistant","content":[],"usage":{"input_tokens":7}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let events = events.map(|event| format!("data: {event}\n\n"));
    let (tokens, api) = (tokens().await, FakeUpstream::in_turn([Reply::sse(events)]).await);
    let gateway = Gateway::before([vertex(&tokens, &api, &["global"])]).await;
    let answer = gateway.ask(&hello_streamed()).await;
    assert!(answer.text().contains("Hello") && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    let received = &api.received()[0];
    assert!(
        received.path.ends_with(&format!("/locations/global/publishers/anthropic/models/{CLAUDE}:streamRawPredict"))
    );
    assert_eq!(received.json()["stream"], true);
    gateway.stop().await;
}

/// A channel that offers Gemini as `gpt-4o`, in the regions of its family.
fn vertex_with_gemini(tokens: &FakeUpstream, api: &FakeUpstream) -> Value {
    let mut provider = with(vertex(tokens, api, &[]), json!({"model": [{"gemini-2.5-pro": "gpt-4o"}]}));
    provider.as_object_mut().expect("an object").remove("region");
    provider
}

fn generated(text: &str, finish: Option<&str>) -> Value {
    json!({
        "candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": text}]}, "finishReason": finish}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12},
    })
}

#[actix_web::test]
async fn gemini_is_asked_in_the_words_of_vertex() {
    let (tokens, api) =
        (tokens().await, FakeUpstream::in_turn([Reply::json(200, generated("Hello", Some("STOP")))]).await);
    let gateway = Gateway::before([vertex_with_gemini(&tokens, &api)]).await;
    let answer = gateway.ask(&hello()).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hello", "{}", answer.text());
    assert_eq!(answer.json()["usage"]["total_tokens"], 12);

    let received = &api.received()[0];
    let path = "/front/google-vertex-ai/v1/projects/p-1/locations/us-central1/publishers/google/models/gemini-2.5-pro:generateContent";
    assert_eq!((received.path.as_str(), received.query.as_str()), (path, ""));
    assert_eq!(received.bearer(), Some(format!("ya29.{CANARY}-1").as_str()));
    assert_eq!(received.header("x-goog-api-key"), None);
    assert_eq!(received.json()["contents"], json!([{"role": "user", "parts": [{"text": "Hi"}]}]));
    gateway.stop().await;
}

#[actix_web::test]
async fn gemini_streams_from_vertex_from_the_next_region_after_a_failure() {
    let events = [generated("Hel", None), generated("lo", Some("STOP"))].map(|event| format!("data: {event}\r\n\r\n"));
    let tokens = tokens().await;
    let api = FakeUpstream::answering(move |request| match region(request) {
        "us-central1" => error(429),
        _ => Reply::sse(events.clone()),
    })
    .await;
    let gateway = Gateway::before([vertex_with_gemini(&tokens, &api)]).await;
    let answer = gateway.ask(&hello_streamed()).await;
    assert!(answer.text().contains("Hel") && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    let received = api.received();
    assert_eq!(regions(&received), ["us-central1", "us-east1"]);
    assert!(received[1].path.ends_with("/publishers/google/models/gemini-2.5-pro:streamGenerateContent"));
    assert_eq!(received[1].query, "alt=sse");
    gateway.stop().await;
}

#[actix_web::test]
async fn the_token_is_asked_for_as_google_wants_it() {
    let (tokens, api) = (tokens().await, FakeUpstream::in_turn([message()]).await);
    let gateway = Gateway::before([vertex(&tokens, &api, &["global"])]).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    let received = &tokens.received()[0];
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/token"));
    assert_eq!(received.header("content-type"), Some("application/x-www-form-urlencoded"));
    let form = std::str::from_utf8(&received.body).unwrap();
    let assertion = form.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    assert_eq!(assertion.unwrap().split('.').count(), 3, "{form}");
    gateway.stop().await;
}

#[actix_web::test]
async fn many_requests_share_one_token() {
    let gate = Arc::new(Semaphore::new(0));
    let tokens = FakeUpstream::in_turn([token(1).gate_head(Arc::clone(&gate))]).await;
    let api = FakeUpstream::in_turn([message()]).await;
    let gateway = Gateway::before([vertex(&tokens, &api, &["global"])]).await;
    let body = hello();
    let asking = futures::future::join_all((0..30).map(|_| gateway.ask(&body)));
    let opening = async {
        tokens.wait_for_requests(1).await;
        gate.close();
    };
    let (answers, ()) = tokio::join!(asking, opening);
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(gateway.ask(&body).await.status, 200);
    assert_eq!((tokens.received().len(), api.received().len()), (1, 31));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_client_that_leaves_while_it_waits_for_the_token_costs_no_attempt() {
    let gate = Arc::new(Semaphore::new(0));
    let tokens = FakeUpstream::in_turn([token(1).gate_head(Arc::clone(&gate))]).await;
    let api = FakeUpstream::in_turn([message()]).await;
    let gateway = Setup::new([vertex(&tokens, &api, &["global"])]).workers(1).start().await;
    {
        let (asked, leaves) = (hello(), tokens.wait_for_requests(1));
        let asking = std::pin::pin!(gateway.ask(&asked));
        futures::future::select(asking, std::pin::pin!(leaves)).await;
    }
    let asked = hello();
    let opening = async {
        // The one worker has seen that the first client is gone when it has seen this one.
        eventually("the models", async || gateway.models(crate::support::KEY).await == ["gpt-4o"]).await;
        gate.close();
    };
    let (answer, ()) = tokio::join!(gateway.ask(&asked), opening);
    assert_eq!((answer.status, tokens.received().len(), api.received().len()), (200, 1, 1));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_token_is_replaced_before_it_ends() {
    let short = |number: usize| {
        Reply::json(200, json!({"access_token": format!("token-{number}"), "expires_in": 1, "token_type": "Bearer"}))
    };
    let tokens = FakeUpstream::in_turn((1..100).map(short)).await;
    let api = FakeUpstream::in_turn([message()]).await;
    let gateway = Gateway::before([vertex(&tokens, &api, &["global"])]).await;
    eventually("another token", async || {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
        api.received().last().unwrap().bearer() == Some("token-2")
    })
    .await;
    gateway.stop().await;
}

#[actix_web::test]
async fn a_revoked_token_is_replaced_and_the_request_answered() {
    let tokens = tokens().await;
    let api = FakeUpstream::in_turn([message(), error(401), message()]).await;
    let gateway = Gateway::before([vertex(&tokens, &api, &["global"])]).await;
    for _ in 0..2 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
        gateway.all_settled().await;
    }
    let received = api.received();
    let used: Vec<_> = received.iter().map(|request| request.bearer().unwrap().rsplit_once('-').unwrap().1).collect();
    assert_eq!(used, ["1", "1", "2"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn tokens_that_are_refused_from_the_beginning_are_not_fetched_without_end() {
    let (tokens, api) = (tokens().await, FakeUpstream::in_turn([error(401)]).await);
    let gateway = Gateway::before([vertex(&tokens, &api, &["a", "b"])]).await;
    for _ in 0..3 {
        let answer = gateway.ask(&hello()).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (502, &json!("upstream_key_refused")));
    }
    assert_eq!((tokens.received().len(), api.received().len()), (1, 1));
    gateway.stop().await;
}

#[actix_web::test]
async fn another_channel_answers_when_there_is_no_token() {
    for failure in
        [refusal(), Reply::error(500, "oops"), Reply::close_without_answer(), Reply::body("text/html", "<p>")]
    {
        let (tokens, api) = (FakeUpstream::in_turn([failure]).await, FakeUpstream::in_turn([message()]).await);
        let good = FakeUpstream::start().await;
        let channels = [vertex(&tokens, &api, &["global"]), channel("good", &good)];
        let gateway = Setup::new(channels).fixed_priority().start().await;
        assert_eq!(gateway.ask(&hello()).await.status, 200);
        assert_eq!((api.received().len(), good.received().len()), (0, 1));
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn the_client_learns_why_there_is_no_token() {
    let (tokens, api) = (FakeUpstream::in_turn([refusal()]).await, FakeUpstream::in_turn([message()]).await);
    let gateway = Gateway::before([vertex(&tokens, &api, &["global"])]).await;
    for request in [hello(), hello_streamed()] {
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.status, 502);
        let error = &answer.json()["error"];
        assert_eq!(error["code"], "upstream_key_refused");
        let told = error["message"].as_str().unwrap();
        assert!(told.starts_with("vertex: Google refused the service account (invalid_grant: Invalid JWT"), "{told}");
    }
    assert_eq!((tokens.received().len(), api.received().len()), (1, 0), "asked again only after a pause");
    gateway.stop().await;
}

#[actix_web::test]
async fn the_regions_take_turns() {
    let (tokens, api) = (tokens().await, FakeUpstream::in_turn([message()]).await);
    let gateway = Gateway::before([vertex(&tokens, &api, &["a", "b", "c"])]).await;
    for _ in 0..4 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    assert_eq!(regions(&api.received()), ["a", "b", "c", "a"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn the_region_of_each_attempt_is_written() {
    let (tokens, api) = (tokens().await, api_failing_in("a", 429).await);
    let gateway = Setup::new([vertex(&tokens, &api, &["a", "b"])]).with_database().start().await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    let rows = "SELECT region || ' ' || outcome AS line FROM channel_stats ORDER BY id";
    assert_eq!(gateway.query(rows).await, ["a rate_limit_exceeded", "b ok"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_model_without_configured_regions_has_those_of_its_family() {
    let (tokens, api) = (tokens().await, FakeUpstream::in_turn([message()]).await);
    let mut provider = vertex(&tokens, &api, &[]);
    provider.as_object_mut().unwrap().remove("region");
    let gateway = Gateway::before([provider]).await;
    for _ in 0..3 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    assert_eq!(regions(&api.received()), ["us-east5", "europe-west1", "us-east5"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn the_next_region_is_tried_before_the_next_channel() {
    for status in [404, 429, 503] {
        let (tokens, api) = (tokens().await, api_failing_in("a", status).await);
        let other = FakeUpstream::start().await;
        let channels = [vertex(&tokens, &api, &["a", "b"]), channel("other", &other)];
        let gateway = Setup::new(channels).fixed_priority().start().await;
        assert_eq!(gateway.ask(&hello()).await.status, 200);
        assert_eq!(regions(&api.received()), ["a", "b"], "after {status}");
        assert_eq!(other.received().len(), 0, "after {status}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn the_next_channel_is_tried_when_all_regions_have_failed() {
    for status in [404, 429, 503] {
        let (tokens, api) = (tokens().await, FakeUpstream::in_turn([error(status)]).await);
        let other = FakeUpstream::start().await;
        let channels = [vertex(&tokens, &api, &["a", "b", "c"]), channel("other", &other)];
        let gateway = Setup::new(channels).fixed_priority().start().await;
        assert_eq!(gateway.ask(&hello()).await.status, 200);
        assert_eq!(regions(&api.received()), ["a", "b", "c"], "after {status}");
        assert_eq!(other.received().len(), 1, "after {status}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn what_the_account_may_not_do_is_tried_in_one_region() {
    let (tokens, api) = (tokens().await, FakeUpstream::in_turn([error(403)]).await);
    let gateway = Gateway::before([vertex(&tokens, &api, &["a", "b"])]).await;
    let answer = gateway.ask(&hello()).await;
    let told = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(answer.status == 502 && told.contains("the role Vertex AI User"), "{told}");
    assert_eq!((api.received().len(), tokens.received().len()), (1, 1));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_region_without_the_model_is_remembered() {
    let (tokens, api) = (tokens().await, api_failing_in("a", 404).await);
    let gateway = Gateway::before([vertex(&tokens, &api, &["a", "b"])]).await;
    for _ in 0..4 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    assert_eq!(regions(&api.received()), ["a", "b", "b", "b", "b"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_busy_region_rests() {
    let (tokens, api) = (tokens().await, api_failing_in("a", 429).await);
    let gateway = Gateway::before([vertex(&tokens, &api, &["a", "b"])]).await;
    for _ in 0..2 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    assert_eq!(regions(&api.received()), ["a", "b", "b"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn requests_that_wait_for_a_token_survive_a_panic_of_the_actor() {
    for crash in [Crash::InHandler, Crash::Fatal] {
        let gate = Arc::new(Semaphore::new(0));
        let tokens = FakeUpstream::in_turn([token(1).gate_head(Arc::clone(&gate))]).await;
        let api = FakeUpstream::in_turn([message()]).await;
        let gateway = Gateway::before([vertex(&tokens, &api, &["global"])]).await;
        let body = hello();
        let asking = futures::future::join_all((0..10).map(|_| gateway.ask(&body)));
        let crashing = async {
            tokens.wait_for_requests(1).await;
            gateway.control.providers().get(&ChannelId(0)).unwrap().do_send(crash);
            tokens.wait_for_requests(2).await;
            gate.close();
        };
        let (answers, ()) = tokio::join!(asking, crashing);
        assert!(answers.iter().all(|answer| answer.status == 200), "{crash:?}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn neither_key_nor_token_appears_in_a_log_or_an_answer() {
    let echoing = FakeUpstream::answering(|request| {
        let said = format!("you sent {}", request.header("authorization").unwrap_or_default());
        Reply::json(429, json!({"error": {"code": 429, "message": said}}))
    })
    .await;
    let tokens = tokens().await;
    let gateway = Gateway::before([vertex(&tokens, &echoing, &["a"])]).await;
    let answer = gateway.ask(&hello()).await;
    assert!(answer.status == 429 && !answer.text().contains(CANARY), "{}", answer.text());
    gateway.stop().await;
    let private: Vec<&str> = PEM.lines().filter(|line| line.len() == 64).collect();
    for line in logs::lines() {
        assert!(!line.contains("ya29."), "{line}");
        assert!(!private.iter().any(|part| line.contains(part)), "a private key is in the log");
    }
}

//! The line that the log has of each request.

use serde_json::json;

use crate::support::{
    Answer, CHAT, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel,
    gateway::eventually,
    hello, hello_streamed,
    logs::{self, of_request},
    with,
};

/// The line about the request that was answered like this, as far as it does not differ from run to run.
async fn line_of(answer: &Answer) -> String {
    line_of_id(answer.header("x-request-id").expect("a name")).await
}

async fn line_of_id(id: &str) -> String {
    eventually("the line of the request", async || of_request(id).is_some()).await;
    let line = of_request(id).unwrap();
    let mut fields = Vec::new();
    for field in line.strip_prefix("INFO uni_api::request request id=").unwrap().split(' ').skip(1) {
        match field.split_once('=') {
            Some((name @ ("ttft_ms" | "total_ms"), ms)) if ms.parse::<u64>().is_ok() => {
                fields.push(format!("{name}=…"))
            }
            Some(("key", key)) if key.contains("…") && !key.contains("0123456789") => fields.push("key=…".to_owned()),
            _ => fields.push(field.to_owned()),
        }
    }
    fields.join(" ")
}

async fn in_front_of(replies: impl IntoIterator<Item = Reply>) -> (FakeUpstream, Gateway) {
    let upstream = FakeUpstream::in_turn(replies).await;
    let gateway = Setup::new([channel("a", &upstream), channel("b", &upstream)]).fixed_priority().start().await;
    (upstream, gateway)
}

#[actix_web::test]
async fn a_request_is_one_line_with_all_that_matters() {
    let failed = || Reply::error(500, "broken");
    let (_upstream, gateway) =
        in_front_of([failed(), Reply::chat("Hi"), Reply::stream(["Hi"]), failed(), failed()]).await;
    let chat = "endpoint=POST /v1/chat/completions key=… model=gpt-4o";
    assert_eq!(
        line_of(&gateway.ask(&hello()).await).await,
        format!(
            "{chat} channel=b attempts=2 status=200 outcome=ok ttft_ms=… total_ms=… prompt_tokens=7 completion_tokens=5"
        )
    );
    assert_eq!(
        line_of(&gateway.ask(&with(hello_streamed(), json!({"stream_options": {"include_usage": true}}))).await).await,
        format!(
            "{chat} channel=a attempts=1 status=200 outcome=ok ttft_ms=… total_ms=… prompt_tokens=7 completion_tokens=5"
        )
    );
    assert_eq!(
        line_of(&gateway.ask(&hello()).await).await,
        format!(
            "{chat} channel=None attempts=2 status=500 outcome=upstream_error ttft_ms=None total_ms=… \
             prompt_tokens=None completion_tokens=None"
        )
    );
    let list = gateway.client().get("/v1/models", KEY).await;
    assert!(
        line_of(&list).await.starts_with("endpoint=GET /v1/models key=… model=None channel=None attempts=0 status=200")
    );
    let stranger = gateway.client().post_json(CHAT, "sk-nobody", &hello()).await;
    let line = line_of(&stranger).await;
    assert!(line.contains("key=None model=None channel=None attempts=0 status=401 outcome=invalid_api_key"), "{line}");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_that_breaks_is_told_with_the_status_that_was_sent() {
    let (_upstream, gateway) = in_front_of([Reply::stream(["Hel", "lo"]).cut_after(2)]).await;
    let answer = gateway.ask(&hello_streamed()).await;
    let line = line_of(&answer).await;
    assert!(line.contains("channel=a attempts=1 status=200 outcome=upstream_cut_answer ttft_ms=… "), "{line}");
    gateway.stop().await;
}

#[actix_web::test]
async fn who_leaves_before_the_answer_has_the_status_that_nginx_gives_them() {
    let upstream = FakeUpstream::in_turn([Reply::never_answer()]).await;
    let model = "left-before-the-answer";
    let gateway = Gateway::before([with(channel("up", &upstream), json!({"model": [model]}))]).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(CHAT).key(KEY).json(&with(hello(), json!({"model": model})))).await;
    upstream.wait_for_requests(1).await;
    connection.hang_up();
    upstream.wait_for_disconnect().await;
    // No answer has told its name.
    let is_meant = |line: &String| line.starts_with("INFO uni_api::request ") && line.contains(model);
    let line = || logs::lines().into_iter().find(is_meant);
    eventually("its line", async || line().is_some()).await;
    assert!(line().unwrap().contains(" channel=None attempts=1 status=499 outcome=cancelled "), "{:?}", line());
    gateway.stop().await;
}

#[actix_web::test]
async fn a_model_that_nobody_knows_is_told_without_what_could_be_a_secret() {
    let (_upstream, gateway) = in_front_of([Reply::chat("Hi")]).await;
    for (model, told) in [("no-such", "model=no-such "), ("sk-kanarienvogel-0123456789", "model=sk-ka…89 ")] {
        let answer = gateway.ask(&with(hello(), json!({"model": model}))).await;
        let line = line_of(&answer).await;
        assert!(line.contains(told) && line.contains("status=404 outcome=model_not_found"), "{line}");
    }
    let answer = gateway.ask(&with(hello(), json!({"model": "a\nINFO forged"}))).await;
    assert!(line_of(&answer).await.contains("model=a\\nINFO forged "));
    gateway.stop().await;
}

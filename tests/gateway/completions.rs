//! `POST /v1/completions`, as it was before there were chats.

use serde_json::{Value, json};

use crate::support::{FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, with};

const COMPLETIONS: &str = "/v1/completions";

fn once_upon() -> Value {
    json!({"model": "gpt-4o", "prompt": "Once upon", "max_tokens": 7, "suffix": "end", "logprobs": 2, "echo": false, "best_of": 1})
}

fn completion() -> Reply {
    Reply::json(
        200,
        json!({"id": "cmpl-1", "object": "text_completion", "choices": [{"text": " a time", "index": 0, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}}),
    )
}

fn chunk(text: &str, finish: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"text\":\"{text}\",\"finish_reason\":{finish}}}]}}\n\n")
}

#[actix_web::test]
async fn every_field_arrives_and_the_answer_passes_as_it_is() {
    let upstream = FakeUpstream::in_turn([completion()]).await;
    let renamed = with(channel("up", &upstream), json!({"model": [{"gpt-3.5-turbo-instruct": "gpt-4o"}]}));
    let gateway = Setup::new([renamed]).with_database().start().await;
    let answer = gateway.client().post_json(COMPLETIONS, KEY, &once_upon()).await;
    assert_eq!((answer.status, &answer.json()["choices"][0]["text"]), (200, &json!(" a time")));
    let received = &upstream.received()[0];
    let expected = with(once_upon(), json!({"model": "gpt-3.5-turbo-instruct"}));
    assert_eq!((received.path.as_str(), received.json()), (COMPLETIONS, expected));
    let rows = "SELECT endpoint || ' ' || total_tokens || ' ' || text AS line FROM request_stats";
    assert_eq!(gateway.query(rows).await, ["POST /v1/completions 5 Once upon"]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_ends_with_done_or_with_an_error() {
    let events = [chunk(" a", "null"), chunk(" time", "\"stop\""), "data: [DONE]\n\n".into()];
    let whole = Reply::sse(events.clone());
    let upstream = FakeUpstream::in_turn([whole.clone(), whole.cut_after(1)]).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let request = with(once_upon(), json!({"stream": true}));
    let answer = gateway.client().post_json(COMPLETIONS, KEY, &request).await;
    assert_eq!(answer.text(), events.concat());
    let cut = gateway.client().post_json(COMPLETIONS, KEY, &request).await.events();
    assert_eq!(cut.len(), 2);
    assert!(cut[1].contains("upstream_cut_answer"), "{}", cut[1]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_is_whole_when_every_prompt_is_completed() {
    let other = chunk(" b", "\"stop\"").replace("\"index\":0", "\"index\":1");
    let both = Reply::sse([chunk(" a", "\"stop\""), other]);
    let upstream = FakeUpstream::in_turn([both.clone().cut_after(1), both]).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let request = with(once_upon(), json!({"stream": true, "prompt": ["Once", "Twice"]}));
    let cut = gateway.client().post_json(COMPLETIONS, KEY, &request).await.events();
    assert!(cut.len() == 2 && cut[1].contains("upstream_cut_answer"), "{cut:?}");
    let whole = gateway.client().post_json(COMPLETIONS, KEY, &request).await.events();
    assert!(whole.len() == 3 && whole[2] == "[DONE]", "{whole:?}");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_comes_where_one_is_asked_for_and_nowhere_else() {
    let events = [chunk(" a", "null"), chunk(" time", "\"stop\""), "data: [DONE]\n\n".into()];
    let (stream, document) = (Reply::sse(events.clone()), completion());
    let unnamed = stream.clone().content_type("text/plain");
    for (streams, wrong, right) in [(true, document.clone(), unnamed), (false, stream, document)] {
        let (first, second) = (FakeUpstream::in_turn([wrong]).await, FakeUpstream::in_turn([right]).await);
        let gateway = Setup::new([channel("first", &first), channel("second", &second)]).fixed_priority().start().await;
        let request = with(once_upon(), json!({"stream": streams}));
        let answer = gateway.client().post_json(COMPLETIONS, KEY, &request).await;
        assert_eq!((answer.status, first.received().len(), second.received().len()), (200, 1, 1));
        match streams {
            true => assert_eq!(answer.text(), events.concat()),
            false => assert_eq!(answer.json()["choices"][0]["text"], " a time"),
        }
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn another_channel_completes_when_the_first_one_fails() {
    let second = FakeUpstream::in_turn([completion()]).await;
    for broken in
        [Reply::error(503, "down"), Reply::json(200, json!({"choices": []})), Reply::stream(["a"]).cut_after(0)]
    {
        let first = FakeUpstream::in_turn([broken]).await;
        let gateway = Setup::new([channel("first", &first), channel("second", &second)]).fixed_priority().start().await;
        let answer = gateway.client().post_json(COMPLETIONS, KEY, &once_upon()).await;
        assert_eq!((answer.status, first.received().len()), (200, 1));
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_client_that_leaves_takes_its_upstream_along() {
    let upstream = FakeUpstream::in_turn([Reply::never_answer()]).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(COMPLETIONS).key(KEY).json(&once_upon())).await;
    upstream.wait_for_requests(1).await;
    connection.hang_up();
    upstream.wait_for_disconnect().await;
    gateway.stop().await;
}

#[actix_web::test]
async fn bad_input_is_refused() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    for (body, param) in [
        (json!({"model": "gpt-4o"}), json!("prompt")),
        (json!({"prompt": "a"}), json!("model")),
        (json!({"model": "gpt-4o", "prompt": "a", "stream": "yes"}), json!("stream")),
        (json!([]), Value::Null),
    ] {
        let answer = gateway.client().post_json(COMPLETIONS, KEY, &body).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &param), "{body}");
    }
    assert!(upstream.received().is_empty());
    gateway.stop().await;
}

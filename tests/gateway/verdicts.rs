//! What the client is told when no channel could answer.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    Answer, FakeUpstream, Gateway, Reply, Setup, channel, channel_at, hello, hello_streamed, refusing_address,
    upstream_key, with,
};

/// What a client is told when the channels `a`, `b`, … give these replies.
async fn verdict(replies: impl IntoIterator<Item = Reply>) -> Answer {
    let mut upstreams = Vec::new();
    for reply in replies {
        upstreams.push(FakeUpstream::in_turn([reply]).await);
    }
    let channels: Vec<_> = ["a", "b", "c"].iter().zip(&upstreams).map(|(name, up)| channel(name, up)).collect();
    let once_each = json!({"SCHEDULING_ALGORITHM": "fixed_priority", "AUTO_RETRY": channels.len() - 1});
    let setup = Setup::new(channels).client_preferences(once_each).patience(Duration::from_millis(200));
    let gateway = setup.start().await;
    let answer = gateway.ask(&hello()).await;
    for upstream in &upstreams {
        assert!(!upstream.received().is_empty(), "every channel is tried");
    }
    gateway.stop().await;
    let error = answer.json();
    assert_eq!(error["error"]["message"], error["message"]);
    assert!(error["error"]["type"].is_string() && error["error"]["code"].is_string(), "{error}");
    assert!(error["error"].as_object().unwrap().contains_key("param"), "{error}");
    answer
}

async fn told(replies: impl IntoIterator<Item = Reply>) -> (u16, String) {
    let answer = verdict(replies).await;
    (answer.status, answer.json()["message"].as_str().unwrap().to_owned())
}

#[actix_web::test]
async fn what_a_provider_said_beats_what_happened_to_a_connection() {
    let broken = || Reply::error(503, "overloaded, try later");
    let expected = (503, "a: overloaded, try later".to_owned());
    assert_eq!(told([broken(), Reply::close_without_answer()]).await, expected);
    assert_eq!(told([broken(), Reply::error(401, "bad key")]).await, expected);
    assert_eq!(told([broken(), Reply::never_answer(), Reply::error(404, "no such model")]).await, expected);
    assert_eq!(told([Reply::error(401, "x"), Reply::error(500, "y")]).await, (500, "b: y".to_owned()));
    assert_eq!(told([Reply::error(500, "x"), Reply::error(502, "y")]).await, (502, "b: y".to_owned()));
    assert_eq!(told([Reply::error(429, "slow down"), Reply::never_answer()]).await, (429, "a: slow down".to_owned()));
}

#[actix_web::test]
async fn a_refused_upstream_key_is_not_blamed_on_the_client() {
    for status in [401, 402, 403] {
        let answer = verdict([Reply::error(status, "Incorrect API key provided")]).await;
        assert_eq!(answer.status, 502);
        assert_eq!(answer.json()["error"]["code"], "upstream_key_refused");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("a: ") && message.contains(&status.to_string()), "{message}");
    }
}

#[actix_web::test]
async fn a_spent_balance_is_told_as_such_whatever_its_status() {
    for status in [400, 402, 403, 429] {
        let answer = verdict([Reply::error(status, "Your credit balance is too low")]).await;
        assert_eq!(answer.status, if status == 402 { 402 } else { 429 });
        assert_eq!(answer.json()["error"]["code"], "insufficient_quota");
        assert_eq!(answer.json()["message"], "a: Your credit balance is too low");
    }
}

#[actix_web::test]
async fn a_prompt_that_is_too_long_is_told_in_one_way_and_not_tried_elsewhere() {
    let too_long =
        json!({"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long"}});
    let (first, second) = (FakeUpstream::in_turn([Reply::json(400, too_long)]).await, FakeUpstream::start().await);
    let gateway = Setup::new([channel("a", &first), channel("b", &second)]).fixed_priority().start().await;
    let answer = gateway.ask(&hello()).await;
    assert_eq!((answer.status, &answer.json()["message"]), (400, &json!("prompt is too long")));
    assert_eq!(answer.json()["error"]["code"], "context_length_exceeded");
    assert!(second.received().is_empty());
    gateway.stop().await;
}

#[actix_web::test]
async fn an_error_with_a_status_of_success_is_passed_on_as_an_error() {
    let error = json!({"error": {"message": "out of credit", "code": "insufficient_quota"}});
    let answer = verdict([Reply::json(200, error)]).await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["message"], "a: out of credit");
    assert_eq!(answer.json()["error"]["code"], "insufficient_quota");
}

#[actix_web::test]
async fn a_page_of_html_does_not_reach_the_client() {
    for status in [200, 503] {
        let page = Reply::body("text/html", "<html><body>Just a moment</body></html>").status(status);
        let answer = verdict([page]).await;
        assert!(!answer.text().contains("html>"), "{}", answer.text());
        assert_eq!(answer.status, if status == 200 { 502 } else { 503 });
    }
}

#[actix_web::test]
async fn silence_is_a_gateway_timeout() {
    let answer = verdict([Reply::never_answer()]).await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.json()["error"]["code"], "upstream_first_event_timeout");
    let stalled = verdict([Reply::chat("Hello").stall_after(0)]).await;
    assert_eq!(stalled.status, 504);
    assert_eq!(stalled.json()["error"]["code"], "upstream_idle_timeout");
}

#[actix_web::test]
async fn an_unreachable_channel_is_a_bad_gateway() {
    let nobody = format!("http://{}/v1", refusing_address().await);
    let gateway = Gateway::before([channel_at("up", &nobody)]).await;
    let answer = gateway.ask(&hello()).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (502, &json!("upstream_unreachable")));
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_that_never_began_fails_with_a_status() {
    let upstream = FakeUpstream::in_turn([Reply::stream(["Hel"]).cut_after(1)]).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let answer = gateway.ask(&hello_streamed()).await;
    assert_eq!((answer.status, answer.header("content-type")), (502, Some("application/json")));
    assert_eq!(answer.json()["error"]["code"], "upstream_cut_answer");
    gateway.stop().await;
}

#[actix_web::test]
async fn the_time_to_come_back_is_passed_on() {
    for (name, value, seconds) in
        [("retry-after", "7", "7"), ("retry-after-ms", "1500", "2"), ("retry-after", "0.2", "1")]
    {
        let answer = verdict([Reply::error(429, "slow down").header(name, value)]).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some(seconds)), "{name}: {value}");
    }
    let in_words = verdict([Reply::error(429, "Rate limit reached. Please try again in 6.3s.")]).await;
    assert_eq!(in_words.header("retry-after"), Some("7"));
    let long_ago = Reply::error(503, "slow down").header("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(verdict([long_ago]).await.header("retry-after"), Some("0"));
    let nobody_says = verdict([Reply::error(429, "slow down")]).await;
    assert_eq!(nobody_says.header("retry-after"), Some("3"), "as long as the key rests");
    let nonsense = Reply::error(503, "slow down").header("retry-after", "-1e300");
    assert_eq!(verdict([nonsense]).await.header("retry-after"), None);
}

#[actix_web::test]
async fn a_key_that_an_upstream_repeats_is_erased() {
    let echo = || format!("the key {} is {}", upstream_key("a"), upstream_key("a"));
    let event = |json: String| Reply::sse([format!("data: {json}\n\n")]);
    let error = || json!({"error": {"message": echo(), "code": echo(), "type": echo()}});
    for status in [400, 401, 403, 404, 413, 422, 429, 500, 503] {
        let text = verdict([Reply::json(status, error())]).await.text().to_owned();
        assert!(!text.contains(&upstream_key("a")), "status {status}: {text}");
    }
    for reply in [Reply::json(200, error()), Reply::json(200, json!({"error": echo()}))] {
        let text = verdict([reply]).await.text().to_owned();
        assert!(!text.contains(&upstream_key("a")), "{text}");
    }
    let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n".to_owned();
    let replies = [event(error().to_string()), Reply::sse([text, format!("data: {}\n\n", error())])];
    for reply in replies {
        let upstream = FakeUpstream::in_turn([reply]).await;
        let gateway = Gateway::before([channel("a", &upstream)]).await;
        let answer = gateway.ask(&hello_streamed()).await;
        assert!(answer.text().contains("error") && !answer.text().contains(&upstream_key("a")), "{}", answer.text());
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn a_key_is_erased_even_where_a_long_message_is_cut() {
    let key = format!("sk-{}", "k".repeat(60));
    let upstream = FakeUpstream::in_turn([Reply::error(500, &format!("{}{key}", "x".repeat(960)))]).await;
    let gateway = Gateway::before([with(channel("up", &upstream), json!({"api": key}))]).await;
    let answer = gateway.ask(&hello()).await;
    assert!(!answer.text().contains("kkkkkkkkkk"), "{}", answer.text());
    gateway.stop().await;
}

#[actix_web::test]
async fn the_field_that_a_provider_finds_wrong_is_named() {
    let error = json!({"error": {"message": "too hot", "type": "invalid_request_error", "param": "temperature"}});
    let answer = verdict([Reply::json(400, error)]).await;
    assert_eq!(answer.json()["error"]["param"], "temperature");
}

#[actix_web::test]
async fn an_answer_that_only_its_connection_ends_is_explained() {
    let (status, message) = told([Reply::chat("Hello").until_close()]).await;
    assert_eq!(status, 502);
    assert!(message.contains("neither a Content-Length nor chunks"), "{message}");
}

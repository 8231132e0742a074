//! Prompts are judged before they are sent on, for the client keys that want it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Answer, CHAT, FakeUpstream, KEY, Received, Reply, Request, Setup, channel, gateway::eventually, hello,
    hello_streamed, logs, with,
};

const SENTENCE: &str = "Content did not pass the moral check, please modify and try again.";
const MODELS: [&str; 3] = ["gpt-4o", "omni-moderation-latest", "text-moderation-latest"];

/// Flags every text with "bad" in it, and answers everything else.
async fn judging() -> FakeUpstream {
    FakeUpstream::answering(|request| if is_judgement(request) { judgement(request) } else { Reply::healthy(request) })
        .await
}

fn is_judgement(request: &Received) -> bool {
    request.path == "/v1/moderations"
}

fn judgement(request: &Received) -> Reply {
    let flagged = request.json()["input"].as_str().expect("a text").contains("bad");
    Reply::json(200, json!({"id": "modr-1", "model": request.json()["model"], "results": [{"flagged": flagged}]}))
}

fn setup(upstream: &FakeUpstream, preferences: Value) -> Setup {
    let setup = Setup::new([with(channel("up", upstream), json!({"model": MODELS}))]);
    setup.client_preferences(with(json!({"ENABLE_MODERATION": true}), preferences))
}

fn saying(text: &str) -> Value {
    with(hello(), json!({"messages": [{"role": "user", "content": text}]}))
}

fn judged(upstream: &FakeUpstream) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let received = upstream.received();
    let judged = received.iter().filter(|request| is_judgement(request)).map(Received::json);
    judged.map(|body| (text(&body["model"]), text(&body["input"]))).collect()
}

fn chats(upstream: &FakeUpstream) -> usize {
    upstream.received().iter().filter(|request| !is_judgement(request)).count()
}

fn is_flagged(answer: &Answer) -> bool {
    let body = answer.json();
    (answer.status, body["error"]["code"].as_str()) == (400, Some("content_flagged"))
        && body["error"]["message"] == SENTENCE
        && body["message"] == SENTENCE
}

#[actix_web::test]
async fn a_flagged_prompt_is_refused_and_never_sent_on() {
    let upstream = judging().await;
    let gateway = setup(&upstream, json!({})).with_database().start().await;
    assert_eq!(gateway.ask(&saying("something nice")).await.status, 200);
    assert!(is_flagged(&gateway.ask(&saying("something bad")).await));
    assert!(is_flagged(&gateway.ask(&with(saying("bad"), json!({"stream": true}))).await));
    assert_eq!(chats(&upstream), 1);
    let asked = |text: &str| ("omni-moderation-latest".to_owned(), text.to_owned());
    assert_eq!(judged(&upstream), [asked("something nice"), asked("something bad"), asked("bad")]);

    let rows =
        gateway.query("SELECT model || ' ' || is_flagged || ' ' || text AS line FROM request_stats ORDER BY id").await;
    assert_eq!(rows, ["gpt-4o 0 something nice", "gpt-4o 1 something bad", "gpt-4o 1 bad"]);
    let rows = gateway.query("SELECT model || ' ' || outcome AS line FROM channel_stats ORDER BY id").await;
    let judged = "omni-moderation-latest ok";
    assert_eq!(rows, [judged, "gpt-4o ok", judged, judged]);
    gateway.stop().await;
}

#[actix_web::test]
async fn the_last_text_is_judged_whole() {
    let upstream = judging().await;
    let gateway = setup(&upstream, json!({})).start().await;
    let long = format!("{}bad", "x".repeat(100_000));
    let parts = json!([{"type": "text", "text": "first"}, {"type": "text", "text": long}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]);
    let history = json!([{"role": "user", "content": "bad, but past"}, {"role": "user", "content": parts}]);
    assert!(is_flagged(&gateway.ask(&with(hello(), json!({"messages": history}))).await));
    let past = json!([{"role": "user", "content": "bad"}, {"role": "assistant", "content": "no"}, {"role": "user", "content": "sorry"}]);
    assert_eq!(gateway.ask(&with(hello(), json!({"messages": past}))).await.status, 200);
    let nothing = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]);
    assert_eq!(gateway.ask(&with(hello(), json!({"messages": nothing}))).await.status, 200);
    assert_eq!(judged(&upstream).len(), 2, "without a text there is nothing to judge");
    gateway.stop().await;
}

#[actix_web::test]
async fn the_older_model_is_asked_when_the_newer_one_is_not_there() {
    let missing = FakeUpstream::answering(|request| match is_judgement(request) {
        true if request.json()["model"] == "omni-moderation-latest" => Reply::error(404, "no such model"),
        true => judgement(request),
        false => Reply::healthy(request),
    })
    .await;
    for models in [&MODELS[..], &["gpt-4o", "text-moderation-latest"]] {
        let setup = Setup::new([with(channel("up", &missing), json!({"model": models}))]);
        let gateway = setup.client_preferences(json!({"ENABLE_MODERATION": true})).start().await;
        assert!(is_flagged(&gateway.ask(&saying("bad")).await), "{models:?}");
        assert_eq!(gateway.ask(&hello_streamed()).await.status, 200);
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn another_channel_judges_when_the_first_one_fails() {
    let down = FakeUpstream::answering(|_| Reply::error(503, "down")).await;
    let up = judging().await;
    let models = json!({"model": MODELS});
    let setup = Setup::new([with(channel("down", &down), models.clone()), with(channel("up", &up), models)]);
    let fixed = json!({"ENABLE_MODERATION": true, "SCHEDULING_ALGORITHM": "fixed_priority"});
    let gateway = setup.client_preferences(fixed).start().await;
    assert!(is_flagged(&gateway.ask(&saying("bad")).await));
    assert_eq!((down.received().len(), judged(&up).len()), (1, 1));
    gateway.stop().await;
}

#[actix_web::test]
async fn without_a_judgement_nothing_is_sent_on_unless_that_is_wanted() {
    let outages =
        [Reply::error(500, "down"), Reply::json(200, json!({"results": []})), Reply::body("text/html", "<html>")];
    for outage in outages {
        for (on_error, status) in [(Value::Null, 503), (json!("refuse"), 503), (json!("allow"), 200)] {
            let outage = outage.clone();
            let answer =
                move |request: &Received| if is_judgement(request) { outage.clone() } else { Reply::healthy(request) };
            let upstream = FakeUpstream::answering(answer).await;
            let setup = setup(&upstream, json!({"AUTO_RETRY": false}));
            let gateway = setup.preferences(json!({"moderation_on_error": on_error})).start().await;
            let answer = gateway.ask(&saying("something nice")).await;
            assert_eq!(answer.status, status, "{on_error}: {}", answer.text());
            assert_eq!(chats(&upstream), usize::from(status == 200));
            if status == 503 {
                assert_eq!(answer.json()["error"]["code"], "moderation_unavailable");
            }
            gateway.stop().await;
        }
    }
}

#[actix_web::test]
async fn why_a_prompt_cannot_be_moderated_is_logged_without_the_prompt() {
    let upstream = FakeUpstream::answering(|request| {
        let echo = request.json()["input"].as_str().map(|text| format!("invalid input: {text}"));
        Reply::error(400, &echo.expect("a text"))
    })
    .await;
    let gateway = setup(&upstream, json!({})).start().await;
    let prompt = "what nobody else may read";
    let answer = gateway.ask(&saying(prompt)).await;
    assert_eq!(answer.status, 503);
    let id = answer.header("x-request-id").expect("the name of the request");
    let lines: Vec<String> = logs::lines().into_iter().filter(|line| line.contains(id)).collect();
    let why = "omni-moderation-latest: upstream_rejected; text-moderation-latest: upstream_rejected";
    assert!(lines.iter().any(|line| line.ends_with(why)), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains(prompt)), "{lines:#?}");
    gateway.stop().await;
}

#[actix_web::test]
async fn the_deadline_of_a_request_is_that_of_its_judgement_as_well() {
    let upstream = FakeUpstream::answering(|request| match is_judgement(request) {
        true => Reply::never_answer(),
        false => Reply::healthy(request),
    })
    .await;
    for (on_error, code) in [("refuse", "moderation_unavailable"), ("allow", "deadline_passed")] {
        let preferences = json!({"deadline": 1, "moderation_on_error": on_error});
        let gateway = setup(&upstream, json!({})).preferences(preferences).start().await;
        let started = Instant::now();
        let answer = gateway.ask(&saying("nice")).await;
        assert_eq!(answer.json()["error"]["code"], code);
        assert!(started.elapsed() < Duration::from_millis(1900), "{:?}", started.elapsed());
        gateway.stop().await;
    }
    assert_eq!((judged(&upstream).len(), chats(&upstream)), (2, 0));
}

#[actix_web::test]
async fn a_channel_that_no_time_was_left_to_ask_is_not_blamed() {
    let upstream = FakeUpstream::answering(|request| match is_judgement(request) {
        true => Reply::never_answer(),
        false => Reply::healthy(request),
    })
    .await;
    let preferences = json!({"deadline": 0.2, "moderation_on_error": "allow"});
    let chat = channel("chat", &upstream);
    let judge = with(channel("judge", &upstream), json!({"model": &MODELS[1..]}));
    let gateway = Setup::new([chat, judge])
        .client_preferences(json!({"ENABLE_MODERATION": true}))
        .preferences(preferences)
        .start()
        .await;
    let answer = gateway.ask(&saying("nice")).await;
    assert_eq!(answer.status, 504);
    assert!(!answer.header("x-uni-api-attempts").expect("the judge's").contains("chat"));
    gateway.all_settled().await;
    assert_eq!((gateway.health(0).failed(), gateway.health(0).cancelled()), (0, 1));
    gateway.stop().await;
}

#[actix_web::test]
async fn only_keys_that_want_it_are_moderated_and_it_counts_for_no_limit() {
    let upstream = judging().await;
    let keys = json!([
        {"api": KEY, "preferences": {"ENABLE_MODERATION": true, "RATE_LIMIT": "2/min"}},
        {"api": "sk-another-0123456789"},
    ]);
    let setup = Setup::new([with(channel("up", &upstream), json!({"model": MODELS}))]);
    let gateway = setup.api_keys(keys).start().await;
    let other = gateway.client().post_json(CHAT, "sk-another-0123456789", &saying("bad")).await;
    assert_eq!((other.status, judged(&upstream).len()), (200, 0));
    for status in [200, 200, 429] {
        assert_eq!(gateway.ask(&saying("nice")).await.status, status);
    }
    assert_eq!(judged(&upstream).len(), 2, "what is refused is not judged");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_client_that_leaves_while_it_is_judged_leaves_nothing_behind() {
    let upstream = FakeUpstream::answering(|_| Reply::never_answer()).await;
    let gateway = setup(&upstream, json!({})).start().await;
    let mut connection = gateway.client().connect().await;
    connection.send(&Request::post(CHAT).key(KEY).json(&saying("nice"))).await;
    eventually("the judge to be asked", async || upstream.received().len() == 1).await;
    connection.hang_up();
    eventually("the judge to be left", async || upstream.open_connections() == 0).await;
    gateway.stop().await;
}

#[actix_web::test]
async fn the_prompt_of_a_completion_cannot_hide_from_moderation() {
    let upstream = judging().await;
    let gateway = setup(&upstream, json!({})).start().await;
    let ask = async |prompt: &str| {
        let body = format!(r#"{{"model":"gpt-4o","prompt":{prompt}}}"#);
        let request = Request::post("/v1/completions").key(KEY).body("application/json", body);
        gateway.client().request(request).await
    };
    assert_eq!(ask(r#""nice""#).await.status, 200);
    for prompt in [r#""bad \ud800""#, r#"["nice","bad"]"#, r#""b\u0061d""#] {
        assert!(is_flagged(&ask(prompt).await), "{prompt}");
    }
    for prompt in [
        r#"[98,97,100]"#,
        r#"[[98,97,100]]"#,
        r#"["nice",[98]]"#,
        r#""nice","prompt":"bad""#,
        r#""nice","Prompt":"bad""#,
    ] {
        let refused = ask(prompt).await;
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("prompt")), "{prompt}");
    }
    assert_eq!(chats(&upstream), 1);
    gateway.stop().await;
}

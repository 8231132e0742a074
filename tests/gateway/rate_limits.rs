//! How often clients may ask.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Answer, CHAT, FakeUpstream, Gateway, KEY, Reply, Setup, channel, hello, hello_streamed, with};

const OTHER: &str = "sk-other-0123456789";

/// In front of a healthy upstream with three models, for a client key with this limit.
async fn limited_to(upstream: &FakeUpstream, limit: Value) -> Gateway {
    let models = json!({"model": ["gpt-4o", "gpt-4o-mini", "claude"]});
    Setup::new([with(channel("up", upstream), models)]).client_preferences(json!({"RATE_LIMIT": limit})).start().await
}

fn asking_for(model: &str) -> Value {
    with(hello(), json!({"model": model}))
}

fn number(answer: &Answer, header: &str) -> u64 {
    let value = answer.header(header).unwrap_or_else(|| panic!("no {header} in {answer:?}"));
    value.parse().unwrap_or_else(|_| panic!("{header}: {value}"))
}

/// What the headers say of the limit: how many, and how many are left.
fn quota(answer: &Answer) -> (u64, u64) {
    let reset = answer.header("x-ratelimit-reset-requests").expect("when it is as new");
    assert!(reset.ends_with('s') && reset.starts_with(|first: char| first.is_ascii_digit()), "{reset}");
    (number(answer, "x-ratelimit-limit-requests"), number(answer, "x-ratelimit-remaining-requests"))
}

/// Whether the request was refused for a limit. Such an answer says all that a client has to know.
fn is_refused(answer: &Answer) -> bool {
    if answer.status == 200 {
        return false;
    }
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    assert!(number(answer, "retry-after") >= 1 && quota(answer).1 == 0, "{answer:?}");
    true
}

/// How many of so many requests, one after the other, are let in.
async fn let_in(gateway: &Gateway, key: &str, model: &str, requests: usize) -> usize {
    let mut count = 0;
    for _ in 0..requests {
        let answer = gateway.client().post_json(CHAT, key, &asking_for(model)).await;
        count += usize::from(!is_refused(&answer));
    }
    count
}

#[actix_web::test]
async fn requests_at_the_same_time_never_exceed_a_limit() {
    let upstream = FakeUpstream::start().await;
    let gateway = limited_to(&upstream, json!("40/min")).await;
    let (whole, streamed) = (hello(), hello_streamed());
    let requests = (0..100).map(|n| gateway.ask(if n % 2 == 0 { &whole } else { &streamed }));
    let answers = join_all(requests).await;
    let refused: Vec<&Answer> = answers.iter().filter(|answer| is_refused(answer)).collect();
    assert_eq!((refused.len(), upstream.received().len()), (60, 40));
    for answer in refused {
        assert!(number(answer, "retry-after") <= 60 && quota(answer).0 == 40, "{answer:?}");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn an_answer_tells_what_is_left() {
    let upstream = FakeUpstream::start().await;
    let gateway = limited_to(&upstream, json!("4/min")).await;
    let mut left = Vec::new();
    for request in [hello(), hello_streamed(), hello(), hello_streamed(), hello()] {
        left.push(quota(&gateway.ask(&request).await));
    }
    assert_eq!(left, [(4, 3), (4, 2), (4, 1), (4, 0), (4, 0)]);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_request_is_counted_once_however_often_it_is_tried() {
    let (bad, good) = (FakeUpstream::in_turn([Reply::error(500, "oops")]).await, FakeUpstream::start().await);
    let setup = Setup::new([channel("bad", &bad), channel("good", &good)]).fixed_priority();
    let gateway = setup.client_preferences(json!({"RATE_LIMIT": "3/min"})).start().await;
    assert_eq!(let_in(&gateway, KEY, "gpt-4o", 5).await, 3);
    assert_eq!((bad.received().len(), good.received().len()), (3, 3));
    gateway.stop().await;
}

#[actix_web::test]
async fn each_client_key_has_its_own_limit() {
    let upstream = FakeUpstream::start().await;
    let key = |key: &str, limit: &str| json!({"api": key, "preferences": {"rate_limit": limit}});
    let keys = json!([key(KEY, "2/min"), key(OTHER, "3/min")]);
    let gateway = Setup::new([channel("up", &upstream)]).api_keys(keys).start().await;
    assert_eq!(let_in(&gateway, KEY, "gpt-4o", 4).await, 2);
    assert_eq!(let_in(&gateway, OTHER, "gpt-4o", 4).await, 3);
    assert_eq!(let_in(&gateway, KEY, "gpt-4o", 1).await, 0);
    gateway.stop().await;
}

#[actix_web::test]
async fn the_limit_of_the_gateway_holds_for_all_keys_together() {
    let upstream = FakeUpstream::start().await;
    let keys = json!([{"api": KEY, "preferences": {}}, {"api": OTHER, "preferences": {"RATE_LIMIT": "2/min"}}]);
    let setup = Setup::new([channel("up", &upstream)]).api_keys(keys).preferences(json!({"rate_limit": "5/min"}));
    let gateway = setup.start().await;
    assert_eq!(let_in(&gateway, OTHER, "gpt-4o", 4).await, 2, "what its own limit refuses counts nowhere");
    assert_eq!(let_in(&gateway, KEY, "gpt-4o", 5).await, 3);
    let answer = gateway.ask(&hello()).await;
    assert_eq!(quota(&answer), (5, 0));
    assert!(answer.json()["message"].as_str().unwrap().starts_with("this gateway"), "{}", answer.text());
    gateway.stop().await;
}

#[actix_web::test]
async fn a_limit_may_depend_on_the_model() {
    let upstream = FakeUpstream::start().await;
    let gateway = limited_to(&upstream, json!({"gpt-4o": "2/min", "gpt-4o-mini": "3/min", "default": "1/min"})).await;
    assert_eq!(let_in(&gateway, KEY, "gpt-4o", 5).await, 2);
    assert_eq!(let_in(&gateway, KEY, "gpt-4o-mini", 5).await, 3);
    assert_eq!(let_in(&gateway, KEY, "claude", 5).await, 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn all_limits_of_a_list_hold() {
    let upstream = FakeUpstream::start().await;
    for (limit, longest) in [("3/min,5/hour", 60), ("5/min,3/hour", 3600)] {
        let gateway = limited_to(&upstream, json!(limit)).await;
        assert_eq!(let_in(&gateway, KEY, "gpt-4o", 3).await, 3, "{limit}");
        let refused = gateway.ask(&hello()).await;
        assert!(is_refused(&refused) && quota(&refused).0 == 3, "{limit}");
        assert!((longest - 10..=longest).contains(&number(&refused, "retry-after")), "{limit}: {refused:?}");
        gateway.stop().await;
    }
    let gateway = limited_to(&upstream, json!("2/s,3/hour")).await;
    assert_eq!(let_in(&gateway, KEY, "gpt-4o", 2).await, 2);
    let refused = gateway.ask(&hello()).await;
    assert!(is_refused(&refused) && number(&refused, "retry-after") == 1, "{refused:?}");
    sleep(Duration::from_millis(1050)).await;
    assert_eq!(let_in(&gateway, KEY, "gpt-4o", 5).await, 1, "a refused request was not counted");
    gateway.stop().await;
}

#[actix_web::test]
async fn a_prompt_of_too_many_tokens_is_refused_and_not_counted() {
    let upstream = FakeUpstream::start().await;
    let gateway = limited_to(&upstream, json!("3/min,20/tpr")).await;
    let long = with(hello(), json!({"messages": [{"role": "user", "content": "word ".repeat(40)}]}));
    for _ in 0..3 {
        let answer = gateway.ask(&long).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (413, &json!("request_too_large")));
    }
    assert_eq!(let_in(&gateway, KEY, "gpt-4o", 5).await, 3);
    assert_eq!(upstream.received().len(), 3);
    gateway.stop().await;
}

#[actix_web::test]
async fn what_asks_no_model_is_not_counted() {
    let upstream = FakeUpstream::start().await;
    let gateway = limited_to(&upstream, json!("2/min")).await;
    for _ in 0..5 {
        let unknown = gateway.ask(&asking_for("no-such-model")).await;
        let stranger = gateway.client().post_json(CHAT, "sk-wrong", &hello()).await;
        let (broken, list) = (gateway.post("{").await, gateway.client().get("/v1/models", KEY).await);
        let statuses = [unknown, stranger, broken, list].map(|answer| answer.status);
        assert_eq!(statuses, [404, 401, 400, 200]);
    }
    assert_eq!(let_in(&gateway, KEY, "gpt-4o", 3).await, 2);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_request_that_failed_is_counted_and_told_what_is_left() {
    let upstream = FakeUpstream::in_turn([Reply::error(400, "no")]).await;
    let gateway = limited_to(&upstream, json!("2/min")).await;
    for left in [1, 0] {
        let answer = gateway.ask(&hello()).await;
        assert_eq!((answer.status, quota(&answer)), (400, (2, left)));
    }
    assert!(is_refused(&gateway.ask(&hello()).await));
    gateway.stop().await;
}

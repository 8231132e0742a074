//! Every attempt is told to who runs the gateway: on the answer, in the log, and in the statistics.

use serde_json::json;

use crate::support::{Answer, CHAT, FakeUpstream, Gateway, KEY, Reply, Setup, channel, hello, hello_streamed, logs};

use super::shared;

const ADMIN: &str = "sk-admin-0123456789";

/// Channel `a` has an error, `b` is silent, and `c` answers if it is there.
async fn failing() -> FakeUpstream {
    shared(|channel, request| match channel {
        "a" => Reply::error(500, "oops"),
        "b" => Reply::error(429, "slow down").header("retry-after", "60"),
        _ => Reply::healthy(request),
    })
    .await
}

async fn in_front_of(upstream: &FakeUpstream, channels: &[&str]) -> Gateway {
    let fixed = json!({"SCHEDULING_ALGORITHM": "fixed_priority"});
    let keys = json!([{"api": ADMIN, "role": "admin", "preferences": fixed}, {"api": KEY, "preferences": fixed}]);
    let channels = channels.iter().map(|name| channel(name, upstream));
    Setup::new(channels).api_keys(keys).preferences(json!({"breaker": "off"})).with_database().start().await
}

/// The attempts that an answer lists, without what differs from run to run.
fn trail(answer: &Answer) -> Option<Vec<String>> {
    let trail = answer.header("x-uni-api-attempts")?;
    assert!(!trail.contains("0123456789"), "{trail}");
    let attempt = |attempt: &str| {
        let (rest, ms) = attempt.split_once(";ms=").expect("milliseconds");
        assert!(ms.parse::<u64>().is_ok(), "{trail}");
        let (channel, rest) = rest.split_once(";key=sk-").expect("a masked key");
        let (_, outcome) = rest.split_once(';').expect("an outcome");
        format!("{channel} {outcome}")
    };
    Some(trail.split(", ").map(attempt).collect())
}

#[actix_web::test]
async fn an_admin_sees_the_attempts_on_the_answer_and_nobody_else_does() {
    let upstream = failing().await;
    for request in [hello(), hello_streamed()] {
        let limited = "b outcome=rate_limit_exceeded;status=429";
        for (channels, status, expected) in [
            (vec!["a", "b", "c"], 200, vec!["a outcome=upstream_error;status=500", limited, "c outcome=ok"]),
            (vec!["a", "b"], 500, vec!["a outcome=upstream_error;status=500", limited]),
            (vec!["c"], 200, vec!["c outcome=ok"]),
        ] {
            let gateway = in_front_of(&upstream, &channels).await;
            let other = gateway.client().post_json(CHAT, KEY, &request).await;
            assert_eq!((other.status, trail(&other)), (status, None));
            gateway.stop().await;
            let gateway = in_front_of(&upstream, &channels).await;
            let answer = gateway.client().post_json(CHAT, ADMIN, &request).await;
            assert_eq!(answer.status, status);
            assert_eq!(trail(&answer).expect("the attempts"), expected);
            gateway.stop().await;
        }
    }
}

#[actix_web::test]
async fn a_request_that_was_not_tried_has_no_attempts_to_show() {
    let upstream = failing().await;
    let gateway = in_front_of(&upstream, &["c"]).await;
    let answer = gateway.client().post_json(CHAT, ADMIN, &json!({"model": "x", "messages": []})).await;
    assert_eq!((answer.status, answer.header("x-uni-api-attempts")), (404, None));
    gateway.stop().await;
}

#[actix_web::test]
async fn each_attempt_is_a_line_of_the_log_and_a_row() {
    let upstream = failing().await;
    for request in [hello(), hello_streamed()] {
        let gateway = in_front_of(&upstream, &["a", "b", "c"]).await;
        let answer = gateway.ask(&request).await;
        let id = answer.header("x-request-id").unwrap().to_owned();

        let rows = "SELECT request_id || ' ' || provider || ' ' || outcome || ' ' || success || ' ' || \
                    (duration_ms >= 0) || ' ' || coalesce(region, '-') AS line FROM channel_stats ORDER BY id";
        let expected = ["a upstream_error 0", "b rate_limit_exceeded 0", "c ok 1"];
        assert_eq!(gateway.query(rows).await, expected.map(|row| format!("{id} {row} 1 -")));

        let lines = logs::lines();
        let lines: Vec<&String> =
            lines.iter().filter(|line| line.contains(&id) && line.contains(" attempt ")).collect();
        let expected = [
            ("WARN", "attempt 1: a key sk-", "\"gpt-4o\": upstream_error (status 500), "),
            ("WARN", "attempt 2: b key sk-", "\"gpt-4o\": rate_limit_exceeded (status 429), "),
            ("DEBUG", "attempt 3: c key sk-", "\"gpt-4o\": ok, "),
        ];
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (line, (level, beginning, end)) in lines.iter().zip(expected) {
            assert!(line.starts_with(level) && line.contains(beginning), "{line}");
            assert!(line.contains(end) && line.ends_with(" ms") && !line.contains("0123456789"), "{line}");
        }
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn an_answer_after_very_many_attempts_fits_through_a_proxy() {
    let upstream = shared(|channel, request| match channel {
        "good" => Reply::healthy(request),
        _ => Reply::error(500, "oops"),
    })
    .await;
    let names: Vec<String> = (0..80).map(|number| format!("bad-{number}")).chain(["good".to_owned()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let gateway = in_front_of(&upstream, &names).await;
    let answer = gateway.client().post_json(CHAT, ADMIN, &hello()).await;
    assert_eq!((answer.status, upstream.received().len()), (200, 81));
    let trail = answer.header("x-uni-api-attempts").expect("the attempts");
    assert!(trail.len() < 2500 && trail.starts_with("bad-0;") && trail.contains(", bad-1;"), "{trail}");
    let (_, last) = trail.rsplit_once(", ").expect("several");
    assert!(last.starts_with("good;") && last.ends_with(";after=80"), "{last}");
    gateway.stop().await;
}

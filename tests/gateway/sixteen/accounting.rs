//! Who is named and what is counted when not the first channel has answered.

use serde_json::json;

use crate::support::{FakeUpstream, Reply, Setup, channel, with};

use super::{text_of, whole_and_streamed};

const REQUESTS: &str = "SELECT provider || ' ' || model || ' ' || prompt_tokens || '+' || completion_tokens || '=' || \
                        total_tokens AS line FROM request_stats";
const ATTEMPTS: &str = "SELECT provider || ' ' || model || ' ' || success || ' ' || outcome AS line FROM channel_stats \
                        ORDER BY id";

#[actix_web::test]
async fn s16_accounting_after_fallback() {
    let spent = json!({"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000});
    for request in whole_and_streamed() {
        // It claims tokens for an answer that it does not give.
        let usage = json!({"choices": [], "usage": spent});
        let failing = match request["stream"] == true {
            true => {
                Reply::sse([format!("data: {usage}\n\n"), "data: {\"error\":{\"message\":\"oops\"}}\n\n".to_owned()])
            }
            false => Reply::json(500, with(usage, json!({"error": {"message": "oops", "type": "server_error"}}))),
        };
        let primary = FakeUpstream::in_turn([failing]).await;
        let second = FakeUpstream::in_turn([Reply::error(429, "slow down")]).await;
        let fallback = FakeUpstream::start().await;
        let renamed = json!({"model": [{"gpt-4o-of-fallback": "gpt-4o"}]});
        let channels =
            [channel("primary", &primary), channel("second", &second), with(channel("fallback", &fallback), renamed)];
        let gateway = Setup::new(channels).fixed_priority().with_database().start().await;
        let answer = gateway.ask(&request).await;
        assert_eq!(text_of(&answer), "Hello");
        assert!(answer.text().contains("\"model\":\"gpt-4o-of-fallback\""), "{}", answer.text());
        assert_eq!(fallback.received()[0].json()["model"], "gpt-4o-of-fallback");

        assert_eq!(gateway.query(REQUESTS).await, ["fallback gpt-4o 7+5=12"]);
        let attempts =
            ["primary gpt-4o 0 upstream_error", "second gpt-4o 0 rate_limit_exceeded", "fallback gpt-4o 1 ok"];
        assert_eq!(gateway.query(ATTEMPTS).await, attempts);
        gateway.stop().await;
    }
}

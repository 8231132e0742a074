//! The provider refuses the request itself: more of the same does not help.

use serde_json::{Value, json};

use crate::support::{FakeUpstream, Reply, Setup, channel, with};

use super::{backed, text_of, whole_and_streamed};

fn refusal(code: &str, message: &str) -> Reply {
    let error = json!({"message": message, "type": "invalid_request_error", "param": "messages", "code": code});
    Reply::json(400, json!({"error": error}))
}

/// A provider that has `gpt-4o` under this name of its own.
fn calling_it(name: &str, upstream_model: &str, upstream: &FakeUpstream) -> Value {
    with(channel(name, upstream), json!({"model": [{upstream_model: "gpt-4o"}]}))
}

#[actix_web::test]
async fn s12_context_length_exceeded() {
    let too_long = || refusal("context_length_exceeded", "This model's maximum context length is 8192 tokens.");
    for request in whole_and_streamed() {
        let (primary, same, longer) =
            (FakeUpstream::in_turn([too_long()]).await, FakeUpstream::start().await, FakeUpstream::start().await);
        let keys = json!({"api": ["sk-one-0123456789", "sk-two-0123456789"]});
        let channels = [
            with(calling_it("primary", "gpt-4o-8k", &primary), keys),
            calling_it("same", "gpt-4o-8k", &same),
            calling_it("longer", "gpt-4o-128k", &longer),
        ];
        let gateway = Setup::new(channels.clone()).fixed_priority().start().await;
        assert_eq!(text_of(&gateway.ask(&request).await), "Hello");
        assert_eq!([&primary, &same, &longer].map(|upstream| upstream.received().len()), [1, 0, 1]);
        gateway.stop().await;

        let gateway = Setup::new(channels.into_iter().take(2)).fixed_priority().start().await;
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.status, 400);
        let error = &answer.json()["error"];
        assert_eq!(error["code"], "context_length_exceeded");
        assert_eq!(error["message"], "This model's maximum context length is 8192 tokens.");
        assert_eq!([&primary, &same].map(|upstream| upstream.received().len()), [2, 0]);
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn s13_content_policy_violation() {
    for request in whole_and_streamed() {
        let refused = refusal("content_policy_violation", "Your prompt was rejected by our safety system.");
        let (primary, fallback) = (FakeUpstream::in_turn([refused]).await, FakeUpstream::start().await);
        let gateway = backed(&primary, &fallback).start().await;
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.status, 400);
        let error = &answer.json()["error"];
        assert_eq!(
            (&error["message"], &error["code"]),
            (&json!("Your prompt was rejected by our safety system."), &json!("content_filter"))
        );
        assert_eq!((primary.received().len(), fallback.received().len()), (1, 0));
        gateway.stop().await;
    }
}

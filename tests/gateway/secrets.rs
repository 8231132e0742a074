//! Keys are nowhere but on the wire to where they belong, and prompts nowhere but in the statistics.

use serde_json::{Value, json};

use crate::support::{
    CHAT, FakeUpstream, Gateway, Reply, Request, Setup, channel,
    gateway::eventually,
    hello, hello_streamed,
    logs::{self, CANARY},
    with,
};

fn client_key() -> String {
    format!("sk-client-{CANARY}-client-0123456789")
}

fn upstream_keys() -> [String; 2] {
    ["one", "two"].map(|name| format!("sk-upstream-{CANARY}-{name}-0123456789"))
}

fn wrong_key() -> String {
    format!("sk-wrong-{CANARY}-wrong-0123456789")
}

fn prompt() -> String {
    format!("prompt-{CANARY}-prompt")
}

/// Everything that goes wrong upstream, each time with the key and the prompt in what it says.
fn indiscreet_replies(key: &str, prompt: &str) -> Vec<Reply> {
    let echo = format!("you sent {key} and {prompt}");
    let error = json!({"error": {"message": echo, "type": echo, "code": echo, "param": echo}});
    let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n".to_owned();
    let mut replies: Vec<Reply> =
        [400, 401, 403, 404, 422, 429, 500, 503].into_iter().map(|status| Reply::json(status, error.clone())).collect();
    replies.extend([
        Reply::json(200, error.clone()),
        Reply::body("text/html", format!("<html>{echo}</html>")),
        Reply::body("text/plain", echo.clone()).status(500),
        Reply::raw(format!("HTTP/1.1 {echo}\r\n\r\n")),
        Reply::sse([format!("data: {error}\n\n")]),
        Reply::sse([text.clone(), format!("data: {error}\n\n")]),
        Reply::sse([text.clone(), format!("data: {echo}\n\n")]),
        Reply::sse([text]).header("x-echo", &echo),
        Reply::json(429, error).header("retry-after", key),
        Reply::close_without_answer(),
        Reply::chat("Hello"),
        Reply::stream(["Hel", "lo"]),
    ]);
    replies
}

async fn in_front_of(replies: Vec<Reply>, key: &str) -> (FakeUpstream, Gateway) {
    let upstream = FakeUpstream::in_turn(replies).await;
    let keyed = with(channel("up", &upstream), json!({"api": key}));
    let mut discovered = with(keyed.clone(), json!({"provider": "discovered"}));
    discovered.as_object_mut().unwrap().remove("model");
    let setup = Setup::new([keyed, discovered]).api_keys(json!([{"api": client_key()}])).with_database();
    (upstream, setup.start().await)
}

fn must_not_have(place: &str, text: &str, secrets: &[String]) {
    for secret in secrets {
        // Also not the middle of it, which is in no masked form.
        let inner = &secret[10..secret.len() - 6];
        assert!(!text.contains(inner), "{inner} is in {place}: {text}");
    }
}

#[actix_web::test]
async fn secrets_are_nowhere_but_where_they_belong() {
    let keys: Vec<String> = upstream_keys().into_iter().chain([client_key(), wrong_key()]).collect();
    let chat = |body: Value| with(body, json!({"messages": [{"role": "user", "content": prompt()}]}));
    let mut seen = String::new();
    for upstream_key in upstream_keys() {
        let replies = indiscreet_replies(&upstream_key, &prompt());
        let rounds = replies.len();
        let (_upstream, gateway) = in_front_of(replies, &upstream_key).await;
        let client = gateway.client();
        eventually("the models", async || client.get("/v1/models", &client_key()).await.status == 200).await;
        for round in 0..rounds {
            for body in [chat(hello()), chat(hello_streamed())] {
                let answer = client.post_json(CHAT, &client_key(), &body).await;
                must_not_have(&format!("answer {round}"), &format!("{answer:?}"), &keys);
                seen.push_str(answer.text());
            }
        }
        for request in [
            Request::post(CHAT).key(&wrong_key()).json(&chat(hello())),
            Request::post(CHAT).key(&client_key()).json(&chat(json!({"model": "no-such-model"}))),
            Request::post(CHAT).key(&client_key()).body("application/json", format!("{{\"model\": {}", prompt())),
            Request::get("/v1/models").header("x-api-key", &wrong_key()),
        ] {
            let answer = client.request(request).await;
            assert!(answer.status >= 400);
            must_not_have("a refusal", &format!("{answer:?}"), &keys);
            assert!(!answer.text().contains(&prompt()), "{}", answer.text());
        }
        let file = gateway.database().await;
        let folder = file.parent().unwrap().to_owned();
        let mut has_prompt = false;
        for entry in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(keys.iter().all(|key| !text.contains(&key[10..key.len() - 6])), "a key is in the database");
            has_prompt |= text.contains(&prompt());
        }
        assert!(has_prompt, "the database is the right one");
        gateway.stop().await;
    }
    assert!(seen.contains("you sent"), "what the upstreams said arrived");

    let lines = logs::lines();
    assert!(lines.iter().any(|line| line.contains("uni_api")), "nothing was logged");
    for line in lines {
        must_not_have("the log", &line, &keys);
        assert!(!line.contains(&prompt()), "{line}");
    }
}

//! Secrets of every kind go through the program as a user runs it, and are looked for in everything that it says or
//! keeps: log, metrics, statistics, errors, database, and what its commands print.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::form::{BOUNDARY, Form};
use crate::support::{
    Answer, CHAT, FakeProxy, FakeUpstream, Manner, Program, Received, Reply, Request, gateway::eventually,
    logs::CANARY, query, with,
};

const PEM: &str = include_str!("../fixtures/service-account-key.pem");
const PROXY_LOGIN: (&str, &str) = ("kanarienvogel-proxy-user", "kanarienvogel-proxy-password");
/// What clients ask for; each goes to a channel of its own kind.
const CHATS: [&str; 6] = ["gpt-4o", "claude-1", "gemini-1", "cohere-1", "cf-1", "vertex-1"];

/// A secret. Its middle is in no masked form.
fn secret(name: &str) -> String {
    format!("sk-{CANARY}-{name}-{CANARY}-0123456789")
}

fn prompt(of: &str) -> String {
    format!("{CANARY}-prompt-of-{of}")
}

/// The configuration, each secret with this at its end.
fn configuration(upstream: &FakeUpstream, proxy: &FakeProxy, version: &str, stats: &Value) -> String {
    let secret = |name: &str| secret(&format!("{name}-{version}"));
    let provider = |name: &str, path: &str, models: &[&str]| {
        json!({
            "provider": name, "base_url": upstream.url(path), "api": [secret(name), secret(&format!("{name}-second"))],
            "model": models,
        })
    };
    let openai = [
        "gpt-4o",
        "gpt-3.5-turbo-instruct",
        "text-embedding-3-small",
        "rerank-1",
        "omni-moderation-latest",
        "dall-e-2",
        "dall-e-3",
        "whisper-1",
        "tts-1",
    ];
    let login = format!("{}:{}@", PROXY_LOGIN.0, PROXY_LOGIN.1);
    let preferences = json!({
        "headers": {"X-Team-Token": secret("own-header"), "Cookie": format!("session={}", secret("cookie"))},
        "post_body_parameter_overrides": {"metadata": {"note": secret("override")}},
        "proxy": proxy.url("http", &login),
    });
    let vertex = json!({
        "provider": "vertex", "project_id": "p-1", "client_email": "a@p-1.example", "private_key": PEM,
        "token_uri": upstream.url("/token"), "base_url": upstream.url("/google-vertex-ai"), "region": "us-east5",
        "model": [{"claude-3-5-sonnet@20240620": "vertex-1"}],
    });
    let bedrock = json!({
        "provider": "bedrock", "base_url": "https://bedrock-runtime.us-east-1.amazonaws.com", "model": ["aws-1"],
        "aws_access_key": secret("aws-access"), "aws_secret_key": secret("aws-secret"),
        "aws_session_token": secret("aws-session"),
    });
    json!({
        "providers": [
            with(provider("openai", "/v1", &openai), json!({"preferences": preferences})),
            with(provider("claude", "/v1/messages", &["claude-1"]), json!({"engine": "claude"})),
            with(provider("gemini", "/v1beta", &["gemini-1"]), json!({"engine": "gemini"})),
            with(provider("cohere", "/v2/chat", &["cohere-1"]), json!({"engine": "cohere"})),
            with(provider("cf", "/", &["cf-1"]), json!({"cf_account_id": "0123456789abcdef"})),
            vertex,
            bedrock,
        ],
        "api_keys": [
            {"api": secret("admin"), "role": "admin", "preferences": {"RATE_LIMIT": "10000/min"}},
            {"api": secret("client"), "preferences": {"ENABLE_MODERATION": true, "RATE_LIMIT": "10000/min"}},
        ],
        "preferences": {"stats": stats},
    })
    .to_string()
}

/// Answers well, then with an error that repeats all it was told, then with such a page; and so on.
fn indiscreet(request: &Received, turn: usize) -> Reply {
    let body = String::from_utf8_lossy(&request.body);
    let echo = format!("you sent {} {} {:?} {body}", request.path, request.query, request.headers);
    let error = json!({"error": {"message": echo, "type": echo, "code": echo, "status": echo}, "message": echo});
    if request.path == "/token" {
        let token = format!("ya29.{}", secret("access-token"));
        return Reply::json(200, json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}));
    }
    let status = [400, 401, 403, 404, 422, 429, 500, 503][turn / 3 % 8];
    match turn % 3 {
        1 => Reply::json(status, error),
        2 => Reply::body("text/html", format!("<html>{echo}</html>")).header("x-echo", CANARY),
        _ => well(request),
    }
}

fn well(request: &Received) -> Reply {
    let text = format!("{CANARY}-answer");
    if request.path.ends_with("/speech") {
        return Reply::body("audio/mpeg", text);
    }
    if serde_json::from_slice(&request.body).is_ok_and(|body: Value| body["stream"] == true) {
        return Reply::stream([text.as_str(), "."]);
    }
    Reply::json(
        200,
        json!({
            "id": "1", "model": "m", "object": "list", "type": "message", "role": "assistant", "stop_reason": "end_turn",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}],
            "content": [{"type": "text", "text": text}], "text": text, "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": text}]},
            "data": [{"index": 0, "embedding": [0.5], "b64_json": "aGk=", "revised_prompt": text}],
            "results": [{"index": 0, "relevance_score": 0.5, "flagged": false, "document": {"text": text}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, "input_tokens": 7, "output_tokens": 5},
        }),
    )
}

/// One request of every kind, with something to hide in every place that a client has.
fn requests() -> Vec<(&'static str, Request)> {
    let post = |path: &str, body: Value| Request::post(&format!("{path}?token={CANARY}")).json(&body);
    let chat = |model: &str, more: Value| {
        let messages = json!([{"role": "system", "content": CANARY}, {"role": "user", "content": prompt("chat")}]);
        post(CHAT, with(json!({"model": model, "messages": messages, "user": CANARY}), more))
    };
    let form = |of: &str, path: &str| {
        let name = if of == "whisper-1" { "file" } else { "image" };
        let form = Form::new().text("model", of).text("prompt", &prompt(of)).text("user", CANARY);
        let form = form.file(name, &format!("{CANARY}-file.png"), CANARY.as_bytes());
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        Request::post(&format!("{path}?token={CANARY}")).body(&content_type, form.body())
    };
    let mut all: Vec<(&str, Request)> = CHATS.map(|model| ("chat", chat(model, json!({})))).to_vec();
    all.extend(CHATS.map(|model| ("chat", chat(model, json!({"stream": true})))));
    let instruct = json!({"model": "gpt-3.5-turbo-instruct", "prompt": prompt("completions")});
    all.extend([
        ("completions", post("/v1/completions", instruct)),
        (
            "embeddings",
            post("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": prompt("embeddings")})),
        ),
        ("rerank", post("/v1/rerank", json!({"model": "rerank-1", "query": prompt("rerank"), "documents": [CANARY]}))),
        ("moderations", post("/v1/moderations", json!({"input": prompt("moderations")}))),
        ("images", post("/v1/images/generations", json!({"model": "dall-e-3", "prompt": prompt("images")}))),
        ("speech", post("/v1/audio/speech", json!({"model": "tts-1", "voice": "a", "input": prompt("speech")}))),
        ("dall-e-2", form("dall-e-2", "/v1/images/edits")),
        ("dall-e-2", form("dall-e-2", "/v1/images/variations")),
        ("whisper-1", form("whisper-1", "/v1/audio/transcriptions")),
        ("whisper-1", form("whisper-1", "/v1/audio/translations")),
    ]);
    // What is wrong with them is told, and not what they are.
    let wrong = json!({"model": "gpt-4o", "messages": CANARY, "stream": CANARY});
    all.extend([
        ("", post(CHAT, wrong)),
        ("", Request::post(CHAT).body("application/json", format!("{{\"{CANARY}\": {CANARY}"))),
        (
            "",
            Request::post("/v1/audio/transcriptions").body(&format!("multipart/form-data; boundary={CANARY}"), CANARY),
        ),
    ]);
    all
}

fn with_headers(request: Request) -> Request {
    let names = ["cookie", "x-own-header", "anthropic-beta", "user-agent", "referer", "openai-organization", "origin"];
    names.into_iter().fold(request, |request, name| request.header(name, &format!("{CANARY}-{name}")))
}

/// What must not be told even to the client that asks.
fn has_secret_of_gateway(answer: &Answer) -> Option<String> {
    let said = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
    let names =
        ["openai", "claude", "gemini", "cohere", "cf", "own-header", "cookie", "access-token", "admin", "client"];
    let secrets = names.into_iter().map(|name| format!("{CANARY}-{name}-")).chain([PROXY_LOGIN.1.to_owned()]);
    secrets
        .into_iter()
        .find(|secret| said.contains(secret) && !secret.ends_with("-cookie-"))
        .map(|secret| format!("{secret}: {said}"))
}

/// Every way in which a secret could be written.
fn needles(upstream: &FakeUpstream, config_login: &str) -> Vec<String> {
    let (user, password) = PROXY_LOGIN;
    let mut needles = vec![CANARY.to_owned(), CANARY.to_uppercase()];
    needles.extend([format!("{user}:{password}"), config_login.to_owned()].map(|login| STANDARD.encode(login)));
    needles.extend(PEM.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned));
    let received = upstream.received();
    let grants = received.iter().filter(|request| request.path == "/token");
    for grant in grants {
        let body = String::from_utf8_lossy(&grant.body).into_owned();
        let assertion = body.split("assertion=").nth(1).expect("a signed assertion").to_owned();
        needles.extend(assertion.split('.').nth(2).map(str::to_owned));
    }
    needles
}

fn must_not_have(place: &str, text: &str, needles: &[String]) {
    for needle in needles {
        if let Some(at) = text.find(needle.as_str()) {
            let context: String = text[..at].chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
            panic!("{place} has {needle} behind {context:?}");
        }
    }
}

/// What a command prints, on both outputs.
async fn printed(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uni-api"));
    command.args(arguments).current_dir(folder).env_clear().env("RUST_LOG", "trace");
    let output = command.output().await.unwrap();
    assert!(output.status.code().is_some_and(|code| code < 2), "{arguments:?}: {output:?}");
    assert!(output.stdout.len() > 20, "{arguments:?} says nothing");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every column of every table but `request_stats.text` that has a canary in it.
fn columns_with_canaries(database: &Path) -> Vec<String> {
    let columns = query(
        database,
        "SELECT m.name || '.' || p.name AS line FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table'",
    );
    assert!(columns.contains(&"request_stats.text".to_owned()) && columns.len() > 20, "{columns:?}");
    let has_canary = |column: &&String| {
        let (table, name) = column.split_once('.').unwrap();
        let count =
            format!("SELECT count(*) || '' AS line FROM {table} WHERE instr(CAST(\"{name}\" AS TEXT), '{CANARY}')");
        query(database, &count) != ["0"]
    };
    columns.iter().filter(has_canary).cloned().collect()
}

/// Everything, with one format of the log and one way to keep texts.
async fn nothing_leaks(format: &str, stats: Value) -> tempfile::TempDir {
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let upstream = FakeUpstream::answering(move |request| {
        indiscreet(request, turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    })
    .await;
    let proxy = FakeProxy::http(Manner::OpensFor(PROXY_LOGIN.0, PROXY_LOGIN.1)).await;
    let [first, second] = ["1", "2"].map(|version| configuration(&upstream, &proxy, version, &stats));
    let store =
        FakeUpstream::in_turn([&first, &first, &second].map(|text| Reply::body("text/yaml", text.clone()))).await;
    let config_login = format!("{CANARY}-user:{CANARY}-password");
    let address = store.url(&format!("/{}/api.yaml?token={CANARY}", secret("path")));
    let address = address.replace("http://", &format!("http://{config_login}@"));

    let folder = tempfile::tempdir().unwrap();
    let environment = [("RUST_LOG", "trace"), ("LOG_FORMAT", format), ("CONFIG_URL", &address), ("TIMEOUT", "5")];
    let mut program = Program::start(folder.path(), &environment);
    let client = program.client().await;
    let mut answered = Vec::new();
    for version in ["1", "2"] {
        let keys = ["admin", "client"].map(|name| secret(&format!("{name}-{version}")));
        for (name, request) in requests() {
            for round in 0..3 {
                let key = &keys[usize::from(round == 2)];
                let request = with_headers(request.clone());
                let answer = client.request(request.clone().header("x-api-key", key)).await;
                assert_eq!(has_secret_of_gateway(&answer), None, "{name}");
                answered.extend((answer.status == 200).then_some(name));
                let refused = client.request(request.header("x-api-key", &secret("unknown"))).await;
                assert!(refused.status == 401 && !refused.text().contains(CANARY), "{name}: {}", refused.text());
            }
        }
        let needles = needles(&upstream, &config_login);
        for path in ["/metrics", "/stats", "/v1/stats?hours=720", "/healthz", "/v1/models", "/v1/models/gpt-4o"] {
            for accept in ["application/json", "text/html"] {
                let request = Request::get(path).key(&keys[0]).header("accept", accept).header("cookie", CANARY);
                let answer = client.request(request).await;
                assert_eq!(answer.status, 200, "{path}");
                must_not_have(path, &format!("{:?} {}", answer.headers, answer.text()), &needles);
            }
        }
        if version == "1" {
            // The second version is in force when its key is known.
            let new_key = secret("admin-2");
            eventually("the second configuration", async || {
                program.signal("HUP").await;
                client.get("/v1/models", &new_key).await.status == 200
            })
            .await;
        }
    }
    for name in
        ["chat", "completions", "embeddings", "rerank", "moderations", "images", "speech", "dall-e-2", "whisper-1"]
    {
        assert!(answered.contains(&name), "no {name} was answered");
    }
    let received = upstream.received();
    for path in ["/token", "/v1/messages", "/v1beta", "/v2/chat", "/client/v4", "/google-vertex-ai", "/v1/audio"] {
        assert!(received.iter().any(|request| request.path.starts_with(path)), "nothing came to {path}");
    }
    let said = received.iter().fold(String::new(), |all, one| all + &String::from_utf8_lossy(&one.body));
    for name in
        ["chat", "completions", "embeddings", "rerank", "moderations", "images", "speech", "dall-e-2", "whisper-1"]
    {
        assert!(said.contains(&prompt(name)), "no {name} came to the upstream");
    }

    assert_eq!(program.terminate().await.code(), Some(0));
    let needles = needles(&upstream, &config_login);
    assert!(needles.len() > 10, "{needles:?}");
    let log = program.rest_of_log().await;
    for level in ["TRACE", "DEBUG", "INFO", "WARN"] {
        assert!(log.iter().any(|line| line.contains(level)), "{level} is missing");
    }
    log.iter().for_each(|line| must_not_have("the log", line, &needles));

    for (name, text) in [("old.yaml", &first), ("new.yaml", &second)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    for arguments in [
        &["check", "old.yaml"][..],
        &["explain", "--key", "1", "--model", "gpt-4o", "old.yaml"],
        &["explain", "--key", "admin", "--model", "no-such-model", "old.yaml"],
        &["diff", "old.yaml", "new.yaml"],
        &["stats"],
        &["stats", "--json"],
    ] {
        must_not_have(&arguments.join(" "), &printed(folder.path(), arguments).await, &needles);
    }
    folder
}

#[actix_web::test]
async fn no_secret_of_any_kind_is_told_and_prompts_are_kept_as_texts_alone() {
    let folder = nothing_leaks("text", Value::Null).await;
    let database = folder.path().join("data/stats.db");
    assert_eq!(columns_with_canaries(&database), ["request_stats.text"]);
    let mut texts =
        query(&database, "SELECT DISTINCT text AS line FROM request_stats WHERE text IS NOT NULL ORDER BY 1");
    texts.retain(|text| text.contains(CANARY));
    let expected = ["chat", "completions", "dall-e-2", "images", "speech"].map(prompt);
    assert_eq!(texts, expected, "the last words of the user, and of those operations that have words");
}

#[actix_web::test]
async fn with_texts_off_the_database_has_no_prompt_either() {
    let folder = nothing_leaks("json", json!({"text": "off"})).await;
    let mut files = 0;
    for entry in std::fs::read_dir(folder.path().join("data")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(memchr::memmem::find(&bytes, CANARY.as_bytes()).is_none());
        files += 1;
    }
    assert!(files > 0);
    assert!(columns_with_canaries(&folder.path().join("data/stats.db")).is_empty());
}

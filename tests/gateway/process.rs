//! The program as a user starts it: where its configuration comes from, how it ends.

use diesel::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use uni_api::cli::logging;

use crate::support::{CHAT, FakeUpstream, KEY, Program, Reply, channel, hello, logs::CANARY};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn configuration(upstream: &FakeUpstream) -> String {
    json!({"providers": [channel("up", upstream)], "api_keys": [{"api": KEY}]}).to_string()
}

#[actix_web::test]
async fn sigterm_ends_it_with_0_and_everything_on_disk() {
    let (folder, upstream) = (folder(), FakeUpstream::start().await);
    std::fs::write(folder.path().join("api.yaml"), configuration(&upstream)).unwrap();
    let mut program = Program::start(folder.path(), &[]);
    let client = program.client().await;
    for _ in 0..3 {
        assert_eq!(client.post_json(CHAT, KEY, &hello()).await.status, 200);
    }
    assert_eq!(program.terminate().await.code(), Some(0));

    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        rows: i64,
    }
    let database = folder.path().join("data/stats.db");
    let mut database = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    let count: Count =
        diesel::sql_query("SELECT count(*) AS rows FROM request_stats").get_result(&mut database).unwrap();
    assert_eq!(count.rows, 3);
}

#[actix_web::test]
async fn every_line_of_a_json_log_is_an_object() {
    let (folder, upstream) = (folder(), FakeUpstream::in_turn([Reply::error(500, "no"), Reply::chat("Hi")]).await);
    std::fs::write(folder.path().join("api.yaml"), configuration(&upstream)).unwrap();
    let mut program = Program::start(folder.path(), &[("LOG_FORMAT", "json"), ("DISABLE_DATABASE", "true")]);
    let client = program.client().await;
    let answer = client.post_json(CHAT, KEY, &hello()).await;
    assert_eq!(answer.status, 200);

    let lines = [program.says("upstream_error").await, program.says("uni_api::request").await];
    let [attempt, request] = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    assert_eq!(
        (&attempt["level"], &attempt["target"], attempt.get("fields")),
        (&json!("WARN"), &json!("uni_api::relay::trail"), None)
    );
    assert!(attempt["message"].as_str().unwrap().contains(" attempt 1: up key sk-"), "{attempt}");

    assert_eq!(
        request.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["timestamp", "level", "target", "message", "fields"]
    );
    assert_eq!((&request["level"], &request["message"]), (&json!("INFO"), &json!("request")));
    let timestamp = request["timestamp"].as_str().unwrap();
    let time = chrono::NaiveDateTime::parse_from_str(timestamp, "%Y-%m-%dT%H:%M:%S%.3fZ").unwrap();
    assert!((chrono::Utc::now().naive_utc() - time).num_seconds().abs() < 60 && timestamp.len() == 24, "{timestamp}");
    let mut fields = request["fields"].clone();
    for time in ["ttft_ms", "total_ms"] {
        assert!(fields[time].take().is_u64(), "{request}");
    }
    let key = fields["key"].take();
    assert!(key.as_str().is_some_and(|key| key.starts_with("sk-cl…89")), "{key}");
    let expected = json!({
        "id": answer.header("x-request-id"), "endpoint": "POST /v1/chat/completions", "key": null, "model": "gpt-4o",
        "channel": "up", "attempts": 2, "status": 200, "outcome": "ok", "ttft_ms": null, "total_ms": null,
        "prompt_tokens": 7, "completion_tokens": 5,
    });
    assert_eq!(fields, expected);
    assert_eq!(program.terminate().await.code(), Some(0));
    for line in program.rest_of_log().await {
        assert!(serde_json::from_str::<Value>(&line).is_ok_and(|line| line.is_object()), "{line}");
    }
}

/// Not a test of its own: the next one runs it as a program that panics.
#[test]
#[ignore = "panics as a program of its own, which the next test runs"]
fn a_program_that_panics() {
    logging::start(|name| std::env::var(name).ok()).unwrap();
    let worker = std::thread::spawn(|| panic!("with a {CANARY} in it"));
    assert!(worker.join().is_err());
    logging::finish();
}

#[actix_web::test]
async fn a_panic_is_an_object_too_and_is_told_by_its_place_alone() {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", "process::a_program_that_panics", "--ignored", "--nocapture"]).env("LOG_FORMAT", "json");
    let output = program.output().await.unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let line = log.lines().find(|line| line.contains("panic at")).unwrap_or_else(|| panic!("no panic in {log}"));
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(line["message"].as_str().unwrap().starts_with("panic at tests/gateway/process.rs:"), "{line}");
    assert!(!log.contains(CANARY), "{log}");
}

#[actix_web::test]
async fn without_any_configuration_it_does_not_start() {
    let folder = folder();
    let mut program = Program::start(folder.path(), &[]);
    program.says("CONFIG_URL").await;
    assert_eq!(program.ends().await.code(), Some(2));
}

#[actix_web::test]
async fn with_no_usable_provider_it_does_not_start() {
    let folder = folder();
    std::fs::write(folder.path().join("api.yaml"), "providers: []\napi_keys: [{api: sk-0123456789}]\n").unwrap();
    let mut program = Program::start(folder.path(), &[]);
    program.says("cannot be used").await;
    assert_eq!(program.ends().await.code(), Some(2));
}

#[actix_web::test]
async fn a_wrong_variable_is_told_by_name() {
    let folder = folder();
    let mut program = Program::start(folder.path(), &[("TIMEOUT", "soon")]);
    program.says("TIMEOUT: expected a number of seconds").await;
    assert_eq!(program.ends().await.code(), Some(2));
    let mut program = Program::start(folder.path(), &[("LOG_FORMAT", "xml")]);
    program.says("LOG_FORMAT: expected text or json").await;
    assert_eq!(program.ends().await.code(), Some(2));
}

#[actix_web::test]
async fn a_folder_named_api_yaml_counts_as_absent_and_the_url_is_fetched() {
    let (folder, upstream) = (folder(), FakeUpstream::start().await);
    std::fs::create_dir(folder.path().join("api.yaml")).unwrap();
    let store = FakeUpstream::in_turn([Reply::body("text/yaml", configuration(&upstream))]).await;
    let address = store.url("/private/api.yaml?token=CANARY");
    let mut program = Program::start(folder.path(), &[("CONFIG_URL", &address), ("DISABLE_DATABASE", "true")]);
    let client = program.client().await;
    assert_eq!(client.post_json(CHAT, KEY, &hello()).await.status, 200);
    assert_eq!(store.received().len(), 1);
    assert_eq!(store.received()[0].path, "/private/api.yaml");
    assert_eq!(program.terminate().await.code(), Some(0));
    assert!(!folder.path().join("data").exists(), "no database is made");
}

#[actix_web::test]
async fn a_url_that_cannot_be_fetched_is_told_without_its_credentials() {
    let store = FakeUpstream::in_turn([Reply::error(403, "no")]).await;
    let address = store.url("/api.yaml?token=CANARY");
    let folder = folder();
    let mut program = Program::start(folder.path(), &[("CONFIG_URL", &address)]);
    let line = program.says("status 403").await;
    assert!(!line.contains("CANARY"), "{line}");
    assert_eq!(program.ends().await.code(), Some(2));
}

#[actix_web::test]
async fn a_port_that_is_taken_is_told() {
    let (folder, upstream) = (folder(), FakeUpstream::start().await);
    std::fs::write(folder.path().join("api.yaml"), configuration(&upstream)).unwrap();
    let taken = upstream.address().port().to_string();
    let mut program = Program::start(folder.path(), &[("PORT", &taken)]);
    program.says("is another program listening there?").await;
    assert_eq!(program.ends().await.code(), Some(1));
}

#[actix_web::test]
async fn a_configuration_that_was_cut_on_its_way_is_not_used() {
    let (folder, upstream) = (folder(), FakeUpstream::start().await);
    let cut = configuration(&upstream);
    let announced = cut.len() + 20;
    let store = FakeUpstream::in_turn([Reply::body("text/yaml", cut).content_length_lie(announced)]).await;
    let address = store.url("/api.yaml");
    let mut program = Program::start(folder.path(), &[("CONFIG_URL", &address)]);
    program.says("ended before it was whole").await;
    assert_eq!(program.ends().await.code(), Some(2));
}

#[actix_web::test]
async fn check_needs_no_address_to_listen_on() {
    let (folder, upstream) = (folder(), FakeUpstream::start().await);
    std::fs::write(folder.path().join("api.yaml"), configuration(&upstream)).unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_uni-api"));
    let output = check.arg("check").current_dir(folder.path()).env("PORT", "http").output().await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("1 channel, 1 client key"));
}

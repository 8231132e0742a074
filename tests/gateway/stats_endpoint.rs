//! `GET /stats`, its page, and `uni-api stats`.

use std::path::Path;
use std::process::Stdio;

use base64::Engine;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{
    Answer, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, gateway::eventually, hello, hello_streamed,
    with,
};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
const LISTS: [&str; 5] = [
    "channel_model_success_rates",
    "channel_success_rates",
    "model_request_counts",
    "endpoint_request_counts",
    "ip_request_counts",
];

/// What `/stats` tells when everything that was reported is in the file.
async fn stats(gateway: &Gateway, path: &str) -> Value {
    gateway.database().await;
    let answer = gateway.client().get(path, KEY).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// A list with nothing but these fields.
fn narrow(list: &Value, fields: &[&str]) -> Value {
    let narrowed = list.as_array().unwrap().iter().map(|entry| {
        let fields = fields.iter().map(|field| ((*field).to_owned(), entry[*field].clone()));
        Value::Object(fields.collect())
    });
    narrowed.collect()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (status, Some(code)), "{}", answer.text());
    assert_eq!(answer.json()["message"], answer.json()["error"]["message"]);
}

/// A gateway that has failed over once, answered three times and refused twice.
async fn with_traffic() -> (Gateway, [FakeUpstream; 2]) {
    let first = FakeUpstream::in_turn([Reply::error(500, "broken"), Reply::chat("Hi"), Reply::chat("Hi")]).await;
    let upstreams = [first, FakeUpstream::start().await];
    let channels = ["a", "b"].iter().zip(&upstreams).map(|(name, upstream)| channel(name, upstream));
    let gateway = Setup::new(channels).fixed_priority().with_database().start().await;
    for _ in 0..3 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    assert_eq!(gateway.ask(&with(hello(), json!({"model": "no-such-model"}))).await.status, 404);
    assert_eq!(gateway.post("{").await.status, 400);
    (gateway, upstreams)
}

#[actix_web::test]
async fn the_five_lists_tell_how_requests_went() {
    let (gateway, _upstreams) = with_traffic().await;
    for path in ["/stats", "/v1/stats?hours=720"] {
        let told = stats(&gateway, path).await;
        let list = |at: usize, fields: &[&str]| narrow(&told[LISTS[at]], fields);
        assert_eq!(
            list(0, &["provider", "model", "success_rate", "total_requests"]),
            json!([
                {"provider": "b", "model": "gpt-4o", "success_rate": 1.0, "total_requests": 1},
                {"provider": "a", "model": "gpt-4o", "success_rate": 2.0 / 3.0, "total_requests": 3},
            ])
        );
        assert_eq!(
            list(1, &["provider", "success_rate", "total_requests"]),
            json!([
                {"provider": "b", "success_rate": 1.0, "total_requests": 1},
                {"provider": "a", "success_rate": 2.0 / 3.0, "total_requests": 3},
            ])
        );
        assert_eq!(
            list(2, &["model", "count"]),
            json!([{"model": "gpt-4o", "count": 3}, {"model": null, "count": 1}, {"model": "no-such-model", "count": 1}])
        );
        assert_eq!(told[LISTS[3]], json!([{"endpoint": "POST /v1/chat/completions", "count": 5}]));
        assert_eq!(told[LISTS[4]], json!([{"ip": "127.0.0.1", "count": 5}]));
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn what_is_told_beside_the_lists_adds_up() {
    let (gateway, _upstreams) = with_traffic().await;
    let told = stats(&gateway, "/stats?hours=2").await;
    let keys: Vec<&str> = told.as_object().unwrap().keys().map(String::as_str).collect();
    let others = ["hours", "from", "to", "requests", "requests_over_time", "live"];
    assert_eq!(keys, [&["time_range"], &LISTS[..], &others[..]].concat());
    assert_eq!((&told["time_range"], &told["hours"]), (&json!("Last 2 hours"), &json!(2)));
    let requests = &told["requests"];
    assert_eq!(
        narrow(&json!([requests]), &["total", "succeeded", "failed", "cancelled", "flagged"])[0],
        json!({"total": 5, "succeeded": 3, "failed": 2, "cancelled": 0, "flagged": 0})
    );
    assert!(requests["total_tokens"].as_i64().unwrap() > 0);
    let failing = &told[LISTS[0]][1];
    assert_eq!(failing["outcomes"], json!([{"outcome": "upstream_error", "count": 1}]));
    assert_eq!((&failing["failed"], &failing["cancelled"], &failing["requests"]), (&json!(1), &json!(0), &json!(2)));
    assert!(failing["first_token_ms"]["p50"].as_u64() <= failing["total_ms"]["p95"].as_u64(), "{failing}");
    let moments = told["requests_over_time"].as_array().unwrap();
    assert_eq!(moments.len(), 3, "two hours touch three of the clock");
    assert_eq!(moments.iter().map(|moment| moment["requests"].as_u64().unwrap()).sum::<u64>(), 5);
    let live = &told["live"];
    assert_eq!((&live["queued_rows"], &live["dropped_rows"]), (&json!(0), &json!(0)));
    assert_eq!(live["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        live["channels"],
        json!([
            {"provider": "a", "in_flight": 0, "succeeded": 2, "failed": 1, "cancelled": 0, "resting": []},
            {"provider": "b", "in_flight": 0, "succeeded": 1, "failed": 0, "cancelled": 0, "resting": []},
        ])
    );
    gateway.stop().await;
}

#[actix_web::test]
async fn rows_are_told_soon_after_they_came() {
    let upstream = FakeUpstream::start().await;
    let gateway = Setup::new([channel("up", &upstream)]).with_database().start().await;
    gateway.ask(&hello_streamed()).await;
    eventually("the request in /stats", async || {
        let answer = gateway.client().get("/stats?hours=1", KEY).await;
        // At first there may be no file yet.
        answer.status == 200 && answer.json()["requests"]["succeeded"] == 1
    })
    .await;
    gateway.stop().await;
}

#[actix_web::test]
async fn figures_are_for_admins_only() {
    let upstream = FakeUpstream::start().await;
    let keys = json!([{"api": KEY, "role": "admin"}, {"api": "sk-user-0123456789"}]);
    let gateway = Setup::new([channel("up", &upstream)]).api_keys(keys).with_database().start().await;
    gateway.database().await;
    let client = gateway.client();
    for path in ["/stats", "/v1/stats"] {
        refused(&client.request(Request::get(path)).await, 401, "invalid_api_key");
        refused(&client.get(path, "sk-wrong").await, 401, "invalid_api_key");
        let answer = client.get(path, "sk-user-0123456789").await;
        refused(&answer, 403, "permission_denied");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let answer = client.get(path, KEY).await;
        assert_eq!(answer.status, 200);
        assert_eq!((answer.header("cache-control"), answer.header("vary")), (Some("no-store"), Some("Accept")));
        assert_eq!(client.request(Request::get(path).header("x-api-key", KEY)).await.status, 200);
    }
    assert_eq!(client.post_json("/stats", KEY, &json!({})).await.status, 405);
    gateway.stop().await;
}

#[actix_web::test]
async fn hours_are_one_to_a_month() {
    let upstream = FakeUpstream::start().await;
    let gateway = Setup::new([channel("up", &upstream)]).with_database().start().await;
    gateway.database().await;
    for (hours, status) in [("1", 200), ("720", 200), ("0", 400), ("721", 400), ("-1", 400), ("x", 400), ("", 400)] {
        let answer = gateway.client().get(&format!("/v1/stats?hours={hours}"), KEY).await;
        assert_eq!(answer.status, status, "{hours}");
        if status == 400 {
            refused(&answer, 400, "invalid_request");
            assert_eq!(answer.json()["error"]["param"], "hours");
        }
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn without_a_database_there_is_still_what_is_known_now() {
    let upstream = FakeUpstream::start().await;
    let gateway = Setup::new([channel("up", &upstream)]).start().await;
    gateway.ask(&hello()).await;
    gateway.all_settled().await;
    let told = gateway.client().get("/stats", KEY).await.json();
    assert_eq!((&told["stats"], &told["database"]), (&json!({}), &json!("disabled")));
    assert!(told["message"].as_str().unwrap().contains("DISABLE_DATABASE"), "{told}");
    assert_eq!(told["live"]["channels"][0]["succeeded"], 1);
    assert_eq!(gateway.client().get("/stats?hours=0", KEY).await.status, 400);
    gateway.stop().await;
}

#[actix_web::test]
async fn a_database_that_cannot_be_read_answers_503_while_requests_go_on() {
    let upstream = FakeUpstream::start().await;
    let gateway = Setup::new([channel("up", &upstream)]).with_broken_database().start().await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    let answer = gateway.client().get("/stats", KEY).await;
    refused(&answer, 503, "statistics_unavailable");
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.stop_with_losses().await;
}

#[actix_web::test]
async fn a_model_whose_breaker_is_open_is_told_to_rest() {
    let upstream = FakeUpstream::in_turn([Reply::error(500, "broken")]).await;
    let setup = Setup::new([channel("up", &upstream)]).preferences(json!({"breaker": {"failures": 2, "open": 60}}));
    let gateway = setup.with_database().start().await;
    // However often one request is tried there, it counts once.
    gateway.ask(&hello()).await;
    gateway.ask(&hello()).await;
    let told = stats(&gateway, "/stats").await;
    let [resting] = told["live"]["channels"][0]["resting"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!(resting["model"], "gpt-4o");
    assert!((1..=60_000).contains(&resting["for_ms"].as_u64().unwrap()), "{resting}");
    gateway.stop().await;
}

/// The hash of what is in the one element of this name, as the page's policy has to have it.
fn source(page: &str, element: &str) -> String {
    let inner = page.split(&format!("<{element}>")).nth(1).unwrap().split(&format!("</{element}>")).next().unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, inner.as_bytes());
    format!("{element}-src 'sha256-{}';", base64::engine::general_purpose::STANDARD.encode(digest))
}

#[actix_web::test]
async fn browsers_get_the_page_without_a_key_and_under_a_strict_policy() {
    let upstream = FakeUpstream::start().await;
    let gateway = Setup::new([channel("up", &upstream)]).start().await;
    for path in ["/stats", "/v1/stats?hours=5"] {
        let answer = gateway.client().request(Request::get(path).header("accept", BROWSER)).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
        assert!(answer.text().starts_with("<!doctype html>"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        for element in ["script", "style"] {
            assert!(policy.contains(&source(answer.text(), element)), "{policy}");
        }
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("vary", "Accept"),
            ("access-control-allow-origin", "*"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        let program = gateway.client().request(Request::get(path).header("accept", "application/json").key(KEY)).await;
        assert_eq!(program.header("content-type"), Some("application/json"));
    }
    gateway.stop().await;
}

/// `uni-api stats` in a folder: its exit code and what it prints.
async fn print(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uni-api"));
    command.arg("stats").args(arguments).current_dir(folder).env_clear().envs(environment.iter().copied());
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[actix_web::test]
async fn the_terminal_shows_the_same_numbers() {
    let (gateway, _upstreams) = with_traffic().await;
    let told = stats(&gateway, "/stats").await;
    let path = gateway.database_path();
    let (folder, url) = (path.parent().unwrap(), [("DATABASE_URL", path.to_str().unwrap())]);
    let (code, tables) = print(folder, &[], &url).await;
    assert_eq!(code, 0);
    assert!(tables.contains("5 requests: 3 succeeded, 2 failed"), "{tables}");
    let line = |start: &str| tables.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{tables}"));
    let words: Vec<&str> = line("a  ").split_whitespace().collect();
    assert_eq!(words[..6], ["a", "66.7", "%", "3", "1", "0"], "{tables}");
    assert!(line("a  ").ends_with("1 upstream_error"), "{tables}");
    assert!(line("127.0.0.1").ends_with(" 5"), "{tables}");

    let (code, document) = print(folder, &["--json", "--hours", "24"], &url).await;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(code, 0);
    for list in LISTS {
        assert_eq!(document[list], told[list], "{list}");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn the_terminal_tells_when_there_is_nothing_to_show() {
    let folder = tempfile::tempdir().unwrap();
    let (code, told) = print(folder.path(), &[], &[]).await;
    assert_eq!(code, 1);
    assert!(told.starts_with("error: there is no database at data/stats.db"), "{told}");
    assert_eq!(print(folder.path(), &[], &[("DISABLE_DATABASE", "true")]).await.0, 1);
    assert_eq!(print(folder.path(), &["--hours", "721"], &[]).await.0, 2);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");
}

#[actix_web::test]
async fn the_queries_of_the_readme_run() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let queries = readme.split("sqlite3 -box data/stats.db \"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let queries: Vec<&str> = queries.collect();
    assert_eq!(queries.len(), 5);
    let again = readme.split("by\n`").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    assert!(again.starts_with("DELETE FROM stats_sums;"), "{again}");

    let (gateway, _upstreams) = with_traffic().await;
    let mut connection = SqliteConnection::establish(gateway.database().await.to_str().unwrap()).unwrap();
    for query in queries {
        let rows = diesel::sql_query(query).execute(&mut connection);
        assert!(rows.is_ok(), "{query}: {rows:?}");
        let found = format!("SELECT CAST(count(*) AS TEXT) AS line FROM ({query})");
        assert_ne!(gateway.query(&found).await, ["0"], "{query}");
    }
    connection.batch_execute(again).unwrap();
    assert_eq!(stats(&gateway, "/stats").await["requests"]["total"], 5);
    gateway.stop().await;
}

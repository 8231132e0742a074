//! `GET /metrics`.

mod exposition;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uni_api::actors::Trouble;

use crate::support::{
    CHAT, FakeUpstream, Gateway, KEY, Reply, Request, Setup, channel, gateway::eventually, hello, hello_streamed, with,
};
use exposition::Exposition;

const CHATS: (&str, &str) = ("endpoint", "POST /v1/chat/completions");
const GUEST: &str = "sk-guest-0123456789";

/// What an admin reads when every request is over.
async fn metrics(gateway: &Gateway) -> Exposition {
    gateway.all_settled().await;
    eventually("every request to be over", async || {
        let now = read(gateway).await;
        now.all("uni_api_requests_in_flight").iter().all(|(_, count)| *count == 0.0)
    })
    .await;
    read(gateway).await
}

async fn read(gateway: &Gateway) -> Exposition {
    let answer = gateway.client().get("/metrics", KEY).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    Exposition::parse(answer.text())
}

/// Labels of a model of a provider.
fn of<'a>(provider: &'a str, model: &'a str) -> [(&'a str, &'a str); 2] {
    [("provider", provider), ("model", model)]
}

#[actix_web::test]
async fn known_traffic_gives_known_figures_without_a_database() {
    let first = FakeUpstream::in_turn([Reply::error(500, "broken"), Reply::chat("Hi")]).await;
    let second = FakeUpstream::start().await;
    let gateway = Setup::new([channel("a", &first), channel("b", &second)]).fixed_priority().start().await;
    for _ in 0..3 {
        assert_eq!(gateway.ask(&hello()).await.status, 200);
    }
    assert_eq!(gateway.ask(&with(hello(), json!({"model": "no-such-model"}))).await.status, 404);
    assert_eq!(gateway.post("{").await.status, 400);
    assert_eq!(gateway.models(KEY).await.len(), 1);
    assert_eq!(gateway.client().get("/v1/models", "sk-nobody").await.status, 401);

    let told = metrics(&gateway).await;
    let requests = |endpoint, status, outcome| {
        told.value("uni_api_requests_total", &[endpoint, ("status", status), ("outcome", outcome)])
    };
    assert_eq!(requests(CHATS, "2xx", "ok"), 3.0);
    assert_eq!(requests(CHATS, "4xx", "model_not_found"), 1.0);
    assert_eq!(requests(CHATS, "4xx", "invalid_request"), 1.0);
    assert_eq!(requests(("endpoint", "other"), "2xx", "ok"), 1.0);
    assert_eq!(requests(("endpoint", "other"), "4xx", "invalid_api_key"), 1.0);
    assert_eq!(told.all("uni_api_requests_total").len(), 5);
    assert_eq!(told.value("uni_api_request_duration_seconds_count", &[CHATS]), 5.0);

    let attempts = told.all("uni_api_attempts_total");
    let attempt = |provider, outcome| {
        let [provider, model] = of(provider, "gpt-4o");
        told.value("uni_api_attempts_total", &[provider, model, ("outcome", outcome)])
    };
    assert_eq!([attempt("a", "upstream_error"), attempt("a", "ok"), attempt("b", "ok")], [1.0, 2.0, 1.0]);
    assert_eq!(attempts.len(), 3);

    for (provider, answers) in [("a", 2.0), ("b", 1.0)] {
        let [provider, model] = of(provider, "gpt-4o");
        for (kind, tokens) in [("prompt", 7.0), ("completion", 5.0), ("cached", 0.0), ("reasoning", 0.0)] {
            let told = told.value("uni_api_tokens_total", &[provider, model, ("kind", kind)]);
            assert_eq!(told, tokens * answers, "{provider:?} {kind}");
        }
        assert_eq!(told.value("uni_api_answer_seconds_count", &[provider, model]), answers);
    }
    assert!(told.all("uni_api_first_token_seconds_count").is_empty(), "nothing came in pieces");
    for quiet in
        ["uni_api_statistics_queued_rows", "uni_api_statistics_dropped_rows_total", "uni_api_config_reloads_total"]
    {
        assert_eq!(told.value(quiet, &[]), 0.0, "{quiet}");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn a_stream_is_in_flight_until_it_ends_and_one_that_is_left_is_cancelled() {
    let gate = Arc::new(Semaphore::new(2));
    let held = || Reply::stream(["Hel", "lo"]).gate(Arc::clone(&gate));
    let upstream = FakeUpstream::in_turn([held(), Reply::stream(["Hi"])]).await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let mut stream = gateway.open(&hello_streamed()).await;
    assert!(stream.next_event().await.is_some());
    let now = read(&gateway).await;
    assert_eq!(now.value("uni_api_requests_in_flight", &[CHATS]), 1.0);
    assert_eq!(now.value("uni_api_attempts_in_flight", &[("provider", "up")]), 1.0);
    assert!(now.all("uni_api_requests_total").is_empty());
    drop(stream);
    assert!(gateway.ask(&hello_streamed()).await.text().contains("[DONE]"));

    let told = metrics(&gateway).await;
    let [provider, model] = of("up", "gpt-4o");
    for outcome in ["ok", "cancelled"] {
        assert_eq!(told.value("uni_api_requests_total", &[CHATS, ("status", "2xx"), ("outcome", outcome)]), 1.0);
        assert_eq!(told.value("uni_api_attempts_total", &[provider, model, ("outcome", outcome)]), 1.0);
    }
    assert_eq!(told.value("uni_api_attempts_in_flight", &[provider]), 0.0);
    let first = told.value("uni_api_first_token_seconds_sum", &[provider, model]);
    let whole = told.value("uni_api_answer_seconds_sum", &[provider, model]);
    assert!(0.0 < first && first <= whole && whole < 10.0, "{first} {whole}");
    assert_eq!(told.value("uni_api_first_token_seconds_count", &[provider, model]), 2.0);
    gateway.stop().await;
}

#[actix_web::test]
async fn admins_may_read_them_and_others_only_what_is_public() {
    let upstream = FakeUpstream::start().await;
    let setup = || {
        let keys = json!([{"api": KEY, "role": "admin", "preferences": {}}, {"api": GUEST, "preferences": {}}]);
        Setup::new([channel("up", &upstream)]).api_keys(keys)
    };
    for (preference, [stranger, guest, admin]) in [("admin", [401, 403, 200]), ("public", [200, 200, 200])] {
        let gateway = setup().preferences(json!({"metrics": preference})).start().await;
        let client = gateway.client();
        assert_eq!(client.request(Request::get("/metrics")).await.status, stranger);
        assert_eq!(client.get("/metrics", GUEST).await.status, guest);
        assert_eq!(client.get("/metrics", KEY).await.status, admin);
        let posted = client.request(Request::post("/metrics").key(KEY)).await;
        assert_eq!((posted.status, posted.header("allow")), (405, Some("GET")));
        gateway.stop().await;
    }
    let gateway = setup().start().await;
    assert_eq!(gateway.client().request(Request::get("/metrics")).await.status, 401);
    gateway.stop().await;
}

#[actix_web::test]
async fn nothing_that_a_client_sends_becomes_a_label() {
    let upstream = FakeUpstream::start().await;
    let mut discovering = channel("discovering", &upstream);
    discovering.as_object_mut().unwrap().remove("model");
    let renamed = with(channel("listing", &upstream), json!({"model": [{"upstream-name": "alias"}]}));
    let gateway = Gateway::before([discovering, renamed]).await;
    eventually("the models", async || gateway.models(KEY).await.len() > 1).await;
    let discovered = gateway.models(KEY).await.into_iter().find(|model| model != "alias").unwrap();
    let client = gateway.client();
    for number in 0..20 {
        let word = format!("kuckuck-{number}");
        assert_eq!(gateway.ask(&with(hello(), json!({"model": word}))).await.status, 404);
        assert_eq!(client.post_json(CHAT, &word, &hello()).await.status, 401);
        assert_eq!(client.get(&format!("/v1/models/{word}"), KEY).await.status, 404);
        assert_eq!(client.get(&format!("/v1/{word}?{word}"), KEY).await.status, 404);
        let request = Request::new(&format!("X-{word}").to_uppercase(), CHAT).header("x-request-id", &word);
        assert!(client.request(request).await.status >= 400);
    }
    for model in [discovered.as_str(), "alias"] {
        assert_eq!(gateway.ask(&with(hello(), json!({"model": model}))).await.status, 200);
    }
    let told = metrics(&gateway).await;
    let values = |label: &str| -> BTreeSet<&str> { told.values_of(label).collect() };
    assert_eq!(values("endpoint"), BTreeSet::from([CHATS.1, "other"]));
    assert_eq!(values("provider"), BTreeSet::from(["discovering", "listing"]));
    assert_eq!(values("model"), BTreeSet::from(["(unlisted)", "alias"]));
    assert_eq!(values("outcome"), BTreeSet::from(["ok", "model_not_found", "invalid_api_key"]));
    assert_eq!(values("status"), BTreeSet::from(["2xx", "4xx"]));
    assert_eq!(values("version").len(), 1);
    let names = BTreeSet::from(["endpoint", "provider", "model", "outcome", "status", "version", "kind", "le"]);
    assert_eq!(told.label_names(), names);
    gateway.stop().await;
}

#[actix_web::test]
async fn counts_go_on_over_a_reload() {
    let upstream = FakeUpstream::start().await;
    let setup = |models: Value, names: &[&str]| {
        Setup::new(
            names.iter().map(|name| with(channel(name, &upstream), json!({"model": models}))).collect::<Vec<_>>(),
        )
    };
    let gateway = setup(json!(["gpt-4o"]), &["up"]).start().await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    gateway.reload(setup(json!(["gpt-4o", "other"]), &["up"])).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    let counts = |told: &Exposition, provider: &str| {
        let [provider, model] = of(provider, "gpt-4o");
        let attempts = told.value("uni_api_attempts_total", &[provider, model, ("outcome", "ok")]);
        (told.value("uni_api_config_reloads_total", &[]), attempts)
    };
    let told = metrics(&gateway).await;
    assert_eq!(counts(&told, "up"), (1.0, 2.0));
    assert_eq!(told.value("uni_api_config_is_current", &[]), 1.0);
    let started = told.value("process_start_time_seconds", &[]);
    assert!(told.value("uni_api_config_loaded_timestamp_seconds", &[]) > started);
    gateway.control.note_trouble(Some(Trouble::Refused("no".to_owned())));
    assert_eq!(read(&gateway).await.value("uni_api_config_is_current", &[]), 0.0);
    gateway.reload(setup(json!(["gpt-4o"]), &["new"])).await;
    assert_eq!(gateway.ask(&hello()).await.status, 200);
    let told = metrics(&gateway).await;
    assert_eq!((counts(&told, "up"), counts(&told, "new")), ((2.0, 2.0), (2.0, 1.0)), "what is gone is still counted");
    assert_eq!(told.value("uni_api_requests_total", &[CHATS, ("status", "2xx"), ("outcome", "ok")]), 3.0);
    gateway.stop().await;
}

#[actix_web::test]
async fn models_that_rest_are_told_by_the_name_that_clients_know() {
    let upstream = FakeUpstream::in_turn([Reply::error(503, "busy")]).await;
    let models = json!({"model": [{"upstream-name": "gpt-4o"}, "other"]});
    let preferences = json!({"breaker": {"failures": 1, "open": 60}});
    let setup = Setup::new([with(channel("up", &upstream), models)]).preferences(preferences);
    let gateway = setup.client_preferences(json!({"AUTO_RETRY": false})).start().await;
    assert_eq!(read(&gateway).await.value("uni_api_resting_models", &[("provider", "up")]), 0.0);
    assert_eq!(gateway.ask(&hello()).await.status, 503);
    let told = metrics(&gateway).await;
    assert_eq!(told.value("uni_api_resting_models", &[("provider", "up")]), 1.0);
    let seconds = told.value("uni_api_model_rest_seconds", &of("up", "gpt-4o"));
    assert!(0.0 < seconds && seconds <= 60.0, "{seconds}");
    assert_eq!(told.all("uni_api_model_rest_seconds").len(), 1);
    gateway.stop().await;
}

#[actix_web::test]
async fn the_process_is_told_where_the_system_tells_of_it() {
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    let told = read(&gateway).await;
    let started = told.value("process_start_time_seconds", &[]);
    assert!(1.7e9 < started && started == read(&gateway).await.value("process_start_time_seconds", &[]), "{started}");
    if Path::new("/proc/self/stat").exists() {
        assert!(told.value("process_resident_memory_bytes", &[]) > 1e6);
        assert!(told.value("process_cpu_seconds_total", &[]) >= 0.0);
        let files = told.value("process_open_fds", &[]);
        assert!(2.0 < files && files <= told.value("process_max_fds", &[]), "{files}");
        assert!(told.value("process_threads", &[]) >= 3.0);
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn the_dashboard_asks_for_what_there_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana-dashboard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let upstream = FakeUpstream::start().await;
    let gateway = Gateway::before([channel("up", &upstream)]).await;
    assert_eq!(gateway.ask(&hello_streamed()).await.status, 200);
    let told = metrics(&gateway).await;
    let datasource = &dashboard["templating"]["list"][0];
    assert_eq!((&datasource["type"], &datasource["query"]), (&json!("datasource"), &json!("prometheus")));
    let source = format!("${{{}}}", datasource["name"].as_str().unwrap());
    let mut expressions = 0;
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "each panel has an id of its own");
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], json!(source), "{panel}");
            let expression = target["expr"].as_str().unwrap();
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let names: Vec<&str> =
                words.filter(|word| word.starts_with("uni_api_") || word.starts_with("process_")).collect();
            assert!(!names.is_empty(), "{expression}");
            for name in names {
                assert!(told.has_family_of(name), "there is no {name}");
            }
            expressions += 1;
        }
    }
    assert!(expressions >= 10, "{expressions}");
    gateway.stop().await;
}

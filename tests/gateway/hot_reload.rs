//! The program takes over what its configuration says now, and cuts nothing for it.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::support::{
    CHAT, Client, FakeUpstream, KEY, Program, Reply, channel, gateway::eventually, hello, hello_streamed, query, with,
};

const CANARY: &str = "sk-CANARY-0123456789";

fn document(upstream: &FakeUpstream, models: &[&str]) -> Value {
    let up = with(channel("up", upstream), json!({"model": models}));
    json!({"providers": [up], "api_keys": [{"api": KEY}]})
}

fn write(folder: &Path, document: &Value) {
    fs::write(folder.join("api.yaml"), document.to_string()).unwrap();
}

async fn models(client: &Client) -> Vec<String> {
    let list = client.get("/v1/models", KEY).await.json();
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

async fn offers(client: &Client, expected: &[&str]) {
    eventually("the models of the new configuration", async || models(client).await == expected).await;
}

async fn health(client: &Client) -> Value {
    client.get("/healthz", KEY).await.json()
}

/// A program whose `api.yaml` is in its folder.
async fn start(document: &Value) -> (TempDir, Program, Client) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), document);
    let mut program = Program::start(folder.path(), &[("DISABLE_DATABASE", "true")]);
    let client = program.client().await;
    (folder, program, client)
}

#[actix_web::test]
async fn a_file_that_is_edited_or_replaced_counts() {
    let upstream = FakeUpstream::start().await;
    let (folder, mut program, client) = start(&document(&upstream, &["a"])).await;
    write(folder.path(), &document(&upstream, &["b"]));
    offers(&client, &["b"]).await;
    let said = program.says("is reloaded").await;
    assert!(said.contains("api.yaml is reloaded; channel up: model: added b, model: removed a"), "{said}");
    fs::write(folder.path().join("api.yaml~"), document(&upstream, &["c"]).to_string()).unwrap();
    fs::rename(folder.path().join("api.yaml~"), folder.path().join("api.yaml")).unwrap();
    offers(&client, &["c"]).await;
    assert_eq!(program.terminate().await.code(), Some(0));
}

/// As Kubernetes does it with a mounted ConfigMap.
#[actix_web::test]
async fn a_link_that_leads_elsewhere_counts() {
    let upstream = FakeUpstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let version = |name: &str, model: &str| {
        fs::create_dir(folder.path().join(name)).unwrap();
        write(&folder.path().join(name), &document(&upstream, &[model]));
    };
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
    version("..1", "a");
    link("..1", "..data");
    link("..data/api.yaml", "api.yaml");
    let mut program = Program::start(folder.path(), &[("DISABLE_DATABASE", "true")]);
    let client = program.client().await;
    version("..2", "b");
    link("..2", "..data_tmp");
    fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    offers(&client, &["b"]).await;
    assert_eq!(program.terminate().await.code(), Some(0));
}

/// As with a mount: nothing happens in the folder that is watched.
#[actix_web::test]
async fn what_nothing_tells_of_is_found_by_looking() {
    let upstream = FakeUpstream::start().await;
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(elsewhere.path(), &document(&upstream, &["a"]));
    std::os::unix::fs::symlink(elsewhere.path().join("api.yaml"), folder.path().join("api.yaml")).unwrap();
    let mut program = Program::start(folder.path(), &[("DISABLE_DATABASE", "true")]);
    let client = program.client().await;
    write(elsewhere.path(), &document(&upstream, &["b"]));
    offers(&client, &["b"]).await;
    assert_eq!(program.terminate().await.code(), Some(0));
}

#[actix_web::test]
async fn a_bad_version_is_refused_and_the_old_one_goes_on() {
    let upstream = FakeUpstream::start().await;
    let (folder, mut program, client) = start(&document(&upstream, &["a"])).await;
    let good = health(&client).await;
    assert_eq!((&good["status"], &good["config"]["status"]), (&json!("ok"), &json!("ok")));
    assert!(good["config"]["loaded_at"].as_str().unwrap().ends_with('Z') && good["config"].get("error").is_none());

    let mut worse = document(&upstream, &["b"]);
    worse["providers"].as_array_mut().unwrap().push(json!({"provider": CANARY, "base_url": CANARY, "api": CANARY}));
    write(folder.path(), &worse);
    program.says("api.yaml:1:").await;
    program.says("api.yaml is refused; the configuration stays as it is").await;
    let answer = client.get("/healthz", KEY).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.text().contains("CANARY"), "{}", answer.text());
    let config = answer.json()["config"].take();
    assert_eq!((&config["status"], &config["loaded_at"]), (&json!("refused"), &good["config"]["loaded_at"]));
    assert!(config["error"].as_str().unwrap().starts_with("1 mistake, first: line 1, column "), "{config}");
    assert_eq!(models(&client).await, ["a"]);

    fs::remove_file(folder.path().join("api.yaml")).unwrap();
    program.says("api.yaml cannot be read").await;
    assert_eq!(health(&client).await["config"]["status"], "unreadable");
    write(folder.path(), &document(&upstream, &["a"]));
    program.says("api.yaml is again as it was").await;
    assert_eq!(health(&client).await["config"]["status"], "ok");
    assert_eq!(program.terminate().await.code(), Some(0));
}

#[actix_web::test]
async fn an_address_is_asked_whether_there_is_another_version() {
    let upstream = FakeUpstream::start().await;
    let version = |model: &str, etag: &str| {
        Reply::body("text/yaml", document(&upstream, &[model]).to_string())
            .header("etag", etag)
            .header("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")
    };
    let is_new = Arc::new(AtomicBool::new(false));
    let (old, new, fails) = (version("a", "\"1\""), version("b", "\"2\""), Reply::error(500, "no"));
    let (is_newer, turn) = (Arc::clone(&is_new), Arc::new(Semaphore::new(0)));
    let failing = Arc::clone(&turn);
    let store = FakeUpstream::answering(move |request| {
        let (reply, etag) = if is_newer.load(Ordering::Relaxed) { (&new, "\"2\"") } else { (&old, "\"1\"") };
        match request.header("if-none-match") {
            _ if failing.available_permits() > 0 => fails.clone(),
            Some(known) if known == etag => Reply::raw("HTTP/1.1 304 Not Modified\r\n\r\n"),
            _ => reply.clone(),
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let address = store.url("/api.yaml?token=CANARY");
    let environment = [("CONFIG_URL", &*address), ("CONFIG_REFRESH", "0.02"), ("DISABLE_DATABASE", "true")];
    let mut program = Program::start(folder.path(), &environment);
    let client = program.client().await;
    store.wait_for_requests(3).await;
    let asked = &store.received()[1];
    assert_eq!(asked.header("if-none-match"), Some("\"1\""));
    assert_eq!(asked.header("if-modified-since"), Some("Mon, 01 Jan 2024 00:00:00 GMT"));
    turn.add_permits(1);
    let said = program.says("the configuration stays as it is").await;
    assert!(said.contains("status 500") && !said.contains("CANARY"), "{said}");
    let failed = store.received().len();
    store.wait_for_requests(failed + 3).await;
    assert_eq!(health(&client).await["config"]["status"], "unreadable");
    turn.forget_permits(1);
    program.says("is again as it was").await;
    assert_eq!(program.unheard("the configuration stays as it is"), 0, "said once");
    is_new.store(true, Ordering::Relaxed);
    offers(&client, &["b"]).await;
    assert_eq!(program.terminate().await.code(), Some(0));
}

#[actix_web::test]
async fn a_hangup_reads_an_address_at_once() {
    let upstream = FakeUpstream::start().await;
    let version = |model: &str| Reply::body("text/yaml", document(&upstream, &[model]).to_string());
    let store = FakeUpstream::in_turn([version("a"), version("a"), version("b")]).await;
    let folder = tempfile::tempdir().unwrap();
    let address = store.url("/api.yaml");
    let environment = [("CONFIG_URL", &*address), ("CONFIG_REFRESH", "0"), ("DISABLE_DATABASE", "true")];
    let mut program = Program::start(folder.path(), &environment);
    let client = program.client().await;
    program.signal("HUP").await;
    program.says("says what it said before").await;
    program.signal("HUP").await;
    offers(&client, &["b"]).await;
    assert_eq!(store.received().len(), 3);
    assert_eq!(program.terminate().await.code(), Some(0));
}

/// 200 streams, half of them at a channel that every reload changes.
#[actix_web::test]
async fn a_thousand_reloads_cut_no_stream_lose_no_count_and_keep_no_memory() {
    const RELOADS: usize = 1000;
    const STREAMS: usize = 200;
    const LIMIT: usize = 100_000;
    let gates = Arc::<Mutex<Vec<Arc<Semaphore>>>>::default();
    let made = Arc::clone(&gates);
    let upstream = FakeUpstream::answering(move |request| {
        if request.json()["stream"] != true {
            return Reply::chat("Hello");
        }
        // Up to the first words.
        let gate = Arc::new(Semaphore::new(2));
        made.lock().unwrap().push(Arc::clone(&gate));
        Reply::stream(["Hel", "lo"]).gate(gate)
    })
    .await;
    let version = |number: usize| {
        let changing = json!({"model": ["changing"], "api": format!("sk-version-{number:04}-0123456789")});
        let channels = [channel("one", &upstream), channel("two", &upstream), with(channel("x", &upstream), changing)];
        let preferences = json!({"RATE_LIMIT": format!("{LIMIT}/day")});
        json!({"providers": channels, "api_keys": [{"api": KEY, "role": "admin", "preferences": preferences}]})
    };
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &version(0));
    let mut program = Program::start(folder.path(), &[("RUST_LOG", "info,uni_api::relay=off")]);
    let client = program.client().await;

    let mut streams = Vec::new();
    for number in 0..STREAMS {
        let model = if number % 2 == 0 { "gpt-4o" } else { "changing" };
        let mut stream = client.open_stream(CHAT, KEY, &with(hello_streamed(), json!({"model": model}))).await;
        while !stream.next_event().await.expect("the first words").contains("Hel") {}
        streams.push(stream);
    }
    let mut asked = STREAMS;
    let mut memory = Vec::new();
    for number in 1..=RELOADS {
        write(folder.path(), &version(number));
        program.signal("HUP").await;
        program.says("api.yaml is reloaded; channel x: api: added").await;
        if number % (RELOADS / 10) == 0 {
            let answer = client.post_json(CHAT, KEY, &hello()).await;
            asked += 1;
            assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(&*(LIMIT - asked).to_string()));
            memory.push(program.resident_kib());
        }
    }
    let (early, late) = (memory[1], memory[memory.len() - 1]);
    println!("resident after each tenth of {RELOADS} reloads, KiB: {memory:?}");
    assert!(late < early + early / 20, "{memory:?} KiB");

    // Turns went on: the channels of equal right were asked equally often.
    let received = upstream.received();
    let count = |name: &str| {
        let key = crate::support::upstream_key(name);
        received.iter().filter(|request| request.bearer() == Some(&key)).count()
    };
    assert_eq!(count("one"), count("two"));
    eventually("the streams alone to be in flight", async || {
        let live = client.get("/v1/stats", KEY).await.json()["live"].take();
        let channels = live["channels"].as_array().expect("channels").iter();
        channels.map(|channel| channel["in_flight"].clone()).eq([50, 50, 0])
    })
    .await;

    gates.lock().unwrap().iter().for_each(|gate| gate.close());
    for stream in streams {
        let rest = stream.rest().await;
        assert!(rest.complete && rest.text().ends_with("data: [DONE]\n\n"), "{}", rest.text());
    }
    assert_eq!(program.terminate().await.code(), Some(0));
    let database = folder.path().join("data/stats.db");
    let succeeded = "SELECT CAST(count(*) AS TEXT) AS line FROM request_stats WHERE success AND endpoint LIKE '%chat%'";
    assert_eq!(query(&database, succeeded), [asked.to_string()]);
}

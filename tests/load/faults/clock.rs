//! A clock that is set while the gateway runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{
    CHAT, Client, FakeUpstream, KEY, Program, Reply, channel, gateway::eventually, hello, hello_streamed, query, with,
};

const LIMITED: &str = "sk-limited-0123456789";
/// As many requests an hour may be made with [`LIMITED`].
const LIMIT: usize = 6;
/// Offsets from the true time, as libfaketime writes them.
const JUMPS: [&str; 5] = ["+3600", "-3600", "+315360000", "-315360000", "+0"];

/// <https://github.com/wolfcw/libfaketime>, for programs with threads.
fn faketime() -> Option<PathBuf> {
    let named = std::env::var_os("LIBFAKETIME").map(PathBuf::from);
    let folders = ["/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    let usual = folders.map(|folder| Path::new(folder).join("faketime/libfaketimeMT.so.1"));
    named.into_iter().chain(usual).find(|path| path.exists())
}

async fn status(client: &Client, key: &str, model: &str) -> u16 {
    client.post_json(CHAT, key, &with(hello(), json!({"model": model}))).await.status
}

#[actix_web::test]
async fn a_clock_that_is_set_changes_no_limit_no_rest_and_no_stream() {
    let Some(faketime) = faketime() else {
        return println!("skipped: there is no libfaketime here; LIBFAKETIME=… may lead to it");
    };
    let gate = Arc::new(Semaphore::new(2));
    let held = Arc::clone(&gate);
    let up = FakeUpstream::answering(move |request| match request.json()["stream"] == true {
        true => Reply::stream(["Hel", "lo"]).gate(Arc::clone(&held)),
        false => Reply::chat("Hello"),
    })
    .await;
    let busy = FakeUpstream::in_turn([Reply::error(429, "slow down").header("retry-after", "3000")]).await;
    let folder = tempfile::tempdir().unwrap();
    let document = json!({
        "providers": [
            with(channel("busy", &busy), json!({"model": ["either"]})),
            with(channel("up", &up), json!({"model": ["gpt-4o", "either"]})),
        ],
        "api_keys": [
            {"api": KEY, "role": "admin", "preferences": {
                "RATE_LIMIT": "1000000/min", "SCHEDULING_ALGORITHM": "fixed_priority"
            }},
            {"api": LIMITED, "preferences": {"RATE_LIMIT": format!("{LIMIT}/h")}},
        ],
    });
    std::fs::write(folder.path().join("api.yaml"), document.to_string()).unwrap();
    let clock = folder.path().join("clock");
    // Put in its place whole: the program looks at it all the time.
    let set = |offset: &str| {
        let next = folder.path().join("next");
        std::fs::write(&next, format!("{offset}\n")).unwrap();
        std::fs::rename(next, &clock).unwrap();
    };
    set("+0");
    let environment = [
        ("LD_PRELOAD", faketime.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
        ("TIMEOUT", "60"),
    ];
    let mut program = Program::start(folder.path(), &environment);
    let client = program.client().await;

    let mut stream = client.open_stream(CHAT, KEY, &hello_streamed()).await;
    stream.next_event().await.unwrap();
    assert_eq!(status(&client, LIMITED, "gpt-4o").await, 200);
    assert_eq!(status(&client, KEY, "either").await, 200);
    assert_eq!(busy.received().len(), 1);
    for jump in JUMPS {
        set(jump);
        assert_eq!(status(&client, KEY, "gpt-4o").await, 200, "{jump}");
        assert_eq!(status(&client, LIMITED, "gpt-4o").await, 200, "{jump}");
        assert_eq!(status(&client, KEY, "either").await, 200, "{jump}");
        assert_eq!(client.get("/stats?hours=24", KEY).await.status, 200, "{jump}");
    }
    assert_eq!(status(&client, LIMITED, "gpt-4o").await, 429, "the clock has made room under a limit");
    assert_eq!(busy.received().len(), 1, "the clock has ended a rest");
    gate.close();
    assert!(stream.rest().await.text().ends_with("data: [DONE]\n\n"));

    let requests = 1 + 2 + JUMPS.len() * 3 + 1;
    let sql = "SELECT CAST(count(DISTINCT request_id) AS TEXT) AS line FROM request_stats";
    let path = folder.path().join("data/stats.db");
    eventually("every row", async || query(&path, sql) == [requests.to_string()]).await;
    let years = query(&path, "SELECT DISTINCT substr(timestamp, 1, 4) AS line FROM request_stats ORDER BY line");
    assert_eq!(years.len(), 3, "the clock was never set: {years:?}");
    assert_eq!(program.terminate().await.code(), Some(0));
}

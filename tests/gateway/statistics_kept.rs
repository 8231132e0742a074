//! What the statistics keep, and for how long, as the configuration says.

use diesel::{connection::SimpleConnection, prelude::*};
use serde_json::{Value, json};

use crate::support::{
    CHAT, FakeUpstream, Gateway, Reply, Setup, channel,
    gateway::eventually,
    hello, hello_streamed,
    logs::{self, CANARY},
    with,
};

async fn keeping(upstream: &FakeUpstream, stats: Value) -> Gateway {
    Setup::new([channel("up", upstream)]).preferences(json!({"stats": stats})).with_database().start().await
}

#[actix_web::test]
async fn keys_are_kept_whole_when_told_so_and_are_in_no_log() {
    let upstream = FakeUpstream::in_turn([Reply::chat("Hello"), Reply::error(500, "broken")]).await;
    let [client, key] = ["client", "upstream"].map(|whose| format!("sk-{CANARY}-whole-key-of-{whose}-0123456789"));
    let gateway = Setup::new([with(channel("up", &upstream), json!({"api": key}))])
        .api_keys(json!([{"api": client}]))
        .preferences(json!({"stats": {"store_api_keys": "full"}}))
        .with_database()
        .start()
        .await;
    for _ in 0..2 {
        gateway.client().post_json(CHAT, &client, &hello()).await;
    }
    let keys = "SELECT DISTINCT api_key || ' ' || coalesce(provider_api_key, '') AS line FROM channel_stats";
    assert_eq!(gateway.query(keys).await, [format!("{client} {key}")]);
    assert_eq!(gateway.query("SELECT DISTINCT api_key AS line FROM request_stats").await, [client.as_str()]);
    for line in logs::lines() {
        assert!(!line.contains(&format!("{CANARY}-whole-key")), "{line}");
    }
    gateway.stop().await;
}

#[actix_web::test]
async fn as_much_text_is_kept_as_is_wanted() {
    let long = "x".repeat(5000);
    for (setting, chars) in [(json!("full"), 5000), (json!(10), 10), (json!("off"), 0), (Value::Null, 2000)] {
        let upstream = FakeUpstream::start().await;
        let gateway = keeping(&upstream, json!({"text": setting})).await;
        gateway.ask(&with(hello(), json!({"messages": [{"role": "user", "content": long}]}))).await;
        let length = "SELECT CAST(ifnull(length(text), 0) AS TEXT) AS line FROM request_stats";
        assert_eq!(gateway.query(length).await, [chars.to_string()], "{setting}");
        gateway.stop().await;
    }
}

#[actix_web::test]
async fn what_became_of_a_request_has_columns_of_its_own() {
    let replies = [Reply::error(500, "broken"), Reply::stream(["Hel", "lo"]), Reply::error(400, "no")];
    let upstream = FakeUpstream::in_turn(replies).await;
    let gateway = Setup::new([channel("up", &upstream)]).with_database().start().await;
    for body in [hello_streamed(), hello(), with(hello(), json!({"model": "no-such-model"}))] {
        gateway.ask(&body).await;
    }
    let line = "SELECT concat_ws(' ', success, status, attempts, is_streamed, ifnull(prompt_tokens, 'null')) AS line
        FROM request_stats ORDER BY id";
    assert_eq!(gateway.query(line).await, ["1 200 2 1 7", "0 400 1 0 null", "0 404 0 0 null"]);
    gateway.stop().await;
}

/// As the first program of the name made it.
const OLD_FILE: &str = include_str!("../fixtures/stats-of-2024.sql");

/// A row of long ago, and one that is younger.
const OLD_ROWS: &str = "
    INSERT INTO request_stats (request_id, timestamp) VALUES ('old', datetime('now', '-31 days')),
        ('young', datetime('now', '-29 days'));
    INSERT INTO channel_stats (request_id, timestamp) VALUES ('old', datetime('now', '-31 days')),
        ('young', datetime('now', '-29 days'));";

#[actix_web::test]
async fn what_is_too_old_goes_while_the_gateway_runs() {
    for (days, left) in [(json!(30), "young"), (json!("off"), "old,young")] {
        let upstream = FakeUpstream::start().await;
        let gateway = Setup::new([channel("up", &upstream)])
            .preferences(json!({"stats": {"retention_days": days}}))
            .with_database_made_by(|path| {
                let mut file = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
                file.batch_execute(OLD_FILE).unwrap();
                file.batch_execute(OLD_ROWS).unwrap();
            })
            .start()
            .await;
        gateway.ask(&hello()).await;
        // Sums are made before anything is deleted, and with them the upkeep has begun.
        let sum = "SELECT period AS line FROM stats_sums";
        eventually("the upkeep", async || !gateway.query(sum).await.is_empty()).await;
        for table in ["request_stats", "channel_stats"] {
            let old = format!(
                "SELECT group_concat(request_id) AS line FROM
                 (SELECT request_id FROM {table} WHERE request_id IN ('old', 'young') ORDER BY id)"
            );
            eventually("what is left", async || gateway.query(&old).await == [left]).await;
        }
        gateway.stop().await;
    }
}

//! Statistics when the file, the disk or the process misbehaves: no request notices, and as much is kept as can be.

mod crash;
mod file;
mod process;

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::json;

use crate::support::{FakeUpstream, Gateway, KEY, Setup, channel, hello};

/// Opens the file as another program would.
fn open(path: &Path) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
    connection
}

fn count(path: &Path) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }
    let count = diesel::sql_query("SELECT count(DISTINCT request_id) AS rows FROM request_stats");
    count.get_result::<Count>(&mut open(path)).unwrap().rows
}

/// The same, of a file that may not be there yet.
fn count_if_there(path: &Path) -> i64 {
    #[derive(QueryableByName)]
    struct Table {
        #[diesel(sql_type = BigInt)]
        tables: i64,
    }
    if !path.exists() {
        return 0;
    }
    let tables = diesel::sql_query("SELECT count(*) AS tables FROM sqlite_master WHERE name = 'request_stats'");
    let is_there = tables.get_result::<Table>(&mut open(path)).is_ok_and(|found| found.tables == 1);
    if is_there { count(path) } else { 0 }
}

fn texts(path: &Path, sql: &str) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }
    let lines: Vec<Line> = diesel::sql_query(sql).load(&mut open(path)).unwrap();
    lines.into_iter().map(|row| row.line).collect()
}

/// Asks so often, and is answered each time.
async fn ask(gateway: &Gateway, times: usize) {
    let body = hello();
    for answer in futures::future::join_all((0..times).map(|_| gateway.ask(&body))).await {
        assert_eq!(answer.status, 200);
    }
}

async fn with_database(upstream: &FakeUpstream) -> Gateway {
    Setup::new([channel("up", upstream)]).with_database().start().await
}

fn configuration(upstream: &FakeUpstream) -> String {
    let client = json!({"api": KEY, "preferences": {"RATE_LIMIT": "1000000/min"}});
    json!({"providers": [channel("up", upstream)], "api_keys": [client]}).to_string()
}

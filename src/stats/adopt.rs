//! Files of other generations of uni-api: the same two tables with fewer columns.
//!
//! SQLite has no `ADD COLUMN IF NOT EXISTS`, so this cannot be a migration. What is missing is told
//! by a database in memory that has seen the first migration only; later ones find every file alike.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use diesel_migrations::MigrationHarness;

use super::store::MIGRATIONS;
use super::trouble::StoreError;

const TABLES: [&str; 2] = ["request_stats", "channel_stats"];

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text, column_name = "type")]
    sql_type: String,
    #[diesel(sql_type = Nullable<Text>, column_name = "dflt_value")]
    default: Option<String>,
}

/// Adds the columns that tables of the file lack. Rows that are there stay as they are; a table that
/// is not there is left to the migrations.
///
/// # Errors
///
/// The file is locked, is no database, and the like.
pub(super) fn adopt(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut fresh = SqliteConnection::establish(":memory:")?;
    fresh.run_next_migration(MIGRATIONS).map_err(|error| StoreError::Migrate(error.to_string()))?;
    let mut additions = String::new();
    for table in TABLES {
        let there = columns(connection, table)?;
        if there.is_empty() {
            continue;
        }
        for Column { name, sql_type, default } in columns(&mut fresh, table)? {
            if there.iter().any(|column| column.name.eq_ignore_ascii_case(&name)) {
                continue;
            }
            let default = default.map(|value| format!(" DEFAULT {value}")).unwrap_or_default();
            additions.push_str(&format!("ALTER TABLE {table} ADD COLUMN {name} {sql_type}{default};"));
        }
    }
    if additions.is_empty() {
        return Ok(());
    }
    Ok(connection.immediate_transaction(|connection| connection.batch_execute(&additions))?)
}

fn columns(connection: &mut SqliteConnection, table: &str) -> QueryResult<Vec<Column>> {
    let columns = diesel::sql_query("SELECT name, type, dflt_value FROM pragma_table_info(?)");
    columns.bind::<Text, _>(table).load(connection)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use diesel::sql_types::BigInt;
    use tempfile::TempDir;

    use super::super::rows::tests::row;
    use super::super::store::Store;
    use super::*;

    /// As the Python program of October 2024 makes them.
    const SEED: &str = include_str!("../../tests/fixtures/stats-of-2024.sql");

    /// As the programs of 2026 make them, with their indexes.
    const TODAY: &str = "
        CREATE TABLE request_stats (
            id INTEGER NOT NULL, request_id VARCHAR, trace_id VARCHAR, endpoint VARCHAR, client_ip VARCHAR,
            process_time FLOAT, first_response_time FLOAT, provider VARCHAR, model VARCHAR, api_key VARCHAR,
            is_flagged BOOLEAN, text TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, total_tokens INTEGER,
            prompt_price FLOAT, completion_price FLOAT, timing_spans TEXT,
            timestamp DATETIME DEFAULT (CURRENT_TIMESTAMP), PRIMARY KEY (id));
        CREATE INDEX ix_request_stats_trace_id ON request_stats (trace_id);
        CREATE INDEX ix_request_stats_provider ON request_stats (provider);
        CREATE INDEX ix_request_stats_model ON request_stats (model);
        CREATE INDEX ix_request_stats_api_key ON request_stats (api_key);
        CREATE INDEX ix_request_stats_timestamp ON request_stats (timestamp);
        CREATE TABLE channel_stats (
            id INTEGER NOT NULL, request_id VARCHAR, provider VARCHAR, model VARCHAR, api_key VARCHAR,
            provider_api_key VARCHAR, success BOOLEAN, timestamp DATETIME DEFAULT (CURRENT_TIMESTAMP),
            PRIMARY KEY (id));
        CREATE INDEX ix_channel_stats_timestamp ON channel_stats (timestamp);";

    const ROWS: &str = "
        INSERT INTO request_stats (request_id, endpoint, client_ip, process_time, first_response_time, provider, model,
            api_key, is_flagged, text, prompt_tokens, completion_tokens, total_tokens)
        VALUES ('old', 'POST /v1/chat/completions', '10.0.0.1', 1.5, 0.5, 'openai', 'gpt-4o', 'sk-whole', 0, 'Hi', 1, 2, 3);
        INSERT INTO channel_stats (request_id, provider, model, api_key, success)
        VALUES ('old', 'openai', 'gpt-4o', 'sk-whole', 1);";

    fn file(tables: &str) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.db");
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        connection.batch_execute(&format!("{tables}{ROWS}")).unwrap();
        (folder, path)
    }

    /// The rows as texts, in order.
    fn lines(store: &mut Store, sql: &str) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Line {
            #[diesel(sql_type = Text)]
            line: String,
        }
        let lines: Vec<Line> = diesel::sql_query(sql).load(store.connection()).unwrap();
        lines.into_iter().map(|row| row.line).collect()
    }

    #[test]
    fn files_of_older_programs_are_written_to_and_keep_their_rows() {
        for tables in [SEED, TODAY] {
            let (_folder, path) = file(tables);
            for _ in 0..2 {
                Store::open(&path).unwrap();
            }
            let mut store = Store::open(&path).unwrap();
            let id = row().request_id;
            store.write(&[row()]).unwrap();
            let requests = "SELECT concat_ws('|', request_id, api_key, text, total_tokens, ifnull(success, 'null'),
                ifnull(status, 'null'), ifnull(attempts, 'null')) AS line FROM request_stats ORDER BY id";
            assert_eq!(
                lines(&mut store, requests),
                ["old|sk-whole|Hi|3|null|null|null".to_owned(), format!("{id}|sk-ab…yz#00000000|hello|7|1|200|1")]
            );
            let attempts = "SELECT concat_ws('|', request_id, provider, success, ifnull(outcome, 'null'),
                timestamp IS NULL) AS line FROM channel_stats ORDER BY id";
            let expected = ["old|openai|1|null|0".to_owned(), format!("{id}|openai|1|ok|0")];
            assert_eq!(lines(&mut store, attempts), expected);
        }
    }

    #[test]
    fn the_older_program_can_still_write_to_the_file() {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = BigInt)]
            rows: i64,
        }
        let (_folder, path) = file(SEED);
        let mut store = Store::open(&path).unwrap();
        store.connection().batch_execute(ROWS).unwrap();
        let count = diesel::sql_query("SELECT count(*) AS rows FROM request_stats WHERE request_id = 'old'");
        assert_eq!(count.get_result::<Count>(store.connection()).unwrap().rows, 2);
    }
}

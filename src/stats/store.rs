//! The database file.

use std::path::Path;

use chrono::{DateTime, NaiveDateTime, SubsecRound, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use thiserror::Error;

use super::rows::{AttemptRow, RequestRow};
use super::schema::{channel_stats, request_stats};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// `busy_timeout` comes first: without it the next statement fails at once when the diesel CLI
/// holds the file. A checkpoint every 16 MiB writes each page once instead of many times.
const PRAGMAS: [&str; 4] = [
    "PRAGMA busy_timeout = 5000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 4000",
];

/// An open database with the current schema.
pub struct Store {
    connection: SqliteConnection,
}

/// Why statistics cannot be kept.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder of the file cannot be made.
    #[error("cannot create the folder of the database: {0}")]
    Folder(#[from] std::io::Error),
    /// The file cannot be opened.
    #[error("cannot open the database: {0}")]
    Open(#[from] ConnectionError),
    /// The schema cannot be brought up to date.
    #[error("cannot migrate the database: {0}")]
    Migrate(String),
    /// Rows cannot be written.
    #[error("cannot write to the database: {0}")]
    Write(#[from] diesel::result::Error),
}

impl Store {
    /// Opens the file, which is made if need be, and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or is no database.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut connection = SqliteConnection::establish(&path.to_string_lossy())?;
        for pragma in PRAGMAS {
            connection.batch_execute(pragma)?;
        }
        connection.run_pending_migrations(MIGRATIONS).map_err(|error| StoreError::Migrate(error.to_string()))?;
        Ok(Self { connection })
    }

    /// Writes all rows in one transaction, or none.
    ///
    /// # Errors
    ///
    /// The file is locked for longer than five seconds, the disk is full, and the like.
    pub fn write(&mut self, rows: &[RequestRow]) -> Result<(), StoreError> {
        self.connection.immediate_transaction(|connection| {
            for row in rows {
                let timestamp = DateTime::<Utc>::from(row.timestamp).naive_utc().trunc_subsecs(0);
                let new = NewRequest::of(row, timestamp);
                diesel::insert_into(request_stats::table).values(new).execute(connection)?;
                for attempt in &row.attempts {
                    let new = NewAttempt::of(row, attempt, timestamp);
                    diesel::insert_into(channel_stats::table).values(new).execute(connection)?;
                }
            }
            Ok(())
        })
    }
}

#[derive(Insertable)]
#[diesel(table_name = request_stats, treat_none_as_default_value = false)]
struct NewRequest<'a> {
    request_id: &'a str,
    endpoint: &'a str,
    client_ip: Option<&'a str>,
    process_time: f32,
    first_response_time: f32,
    provider: Option<&'a str>,
    model: Option<&'a str>,
    api_key: Option<&'a str>,
    text: Option<&'a str>,
    prompt_tokens: Option<i32>,
    completion_tokens: Option<i32>,
    total_tokens: Option<i32>,
    timestamp: NaiveDateTime,
}

impl<'a> NewRequest<'a> {
    fn of(row: &'a RequestRow, timestamp: NaiveDateTime) -> Self {
        let usage = row.usage.unwrap_or_default();
        let tokens = |count: Option<i64>| count.map(|count| i32::try_from(count).unwrap_or(i32::MAX));
        Self {
            request_id: &row.request_id,
            endpoint: row.endpoint,
            client_ip: row.client_ip.as_deref(),
            process_time: row.process_time.as_secs_f32(),
            // As every generation of uni-api has it: -1 where there was no answer.
            first_response_time: row.first_response_time.map_or(-1.0, |time| time.as_secs_f32()),
            provider: row.provider.as_deref(),
            model: row.model.as_deref(),
            api_key: row.api_key.as_deref(),
            text: row.text.as_deref(),
            prompt_tokens: tokens(usage.prompt_tokens),
            completion_tokens: tokens(usage.completion_tokens),
            total_tokens: tokens(usage.total_tokens),
            timestamp,
        }
    }
}

#[derive(Insertable)]
#[diesel(table_name = channel_stats, treat_none_as_default_value = false)]
struct NewAttempt<'a> {
    request_id: &'a str,
    provider: &'a str,
    model: Option<&'a str>,
    api_key: Option<&'a str>,
    provider_api_key: Option<&'a str>,
    success: bool,
    timestamp: NaiveDateTime,
}

impl<'a> NewAttempt<'a> {
    fn of(row: &'a RequestRow, attempt: &'a AttemptRow, timestamp: NaiveDateTime) -> Self {
        Self {
            request_id: &row.request_id,
            provider: &attempt.provider,
            model: row.model.as_deref(),
            api_key: row.api_key.as_deref(),
            provider_api_key: attempt.provider_api_key.as_deref(),
            success: attempt.success,
            timestamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::canon::Usage;

    fn row() -> RequestRow {
        RequestRow {
            request_id: "id-1".into(),
            endpoint: "POST /v1/chat/completions",
            client_ip: Some("127.0.0.1".to_owned()),
            process_time: Duration::from_millis(1500),
            first_response_time: None,
            provider: Some("openai".into()),
            model: Some("gpt-4o".into()),
            api_key: Some("sk-ab…yz#00000000".into()),
            text: Some("hello".to_owned()),
            usage: Some(Usage { prompt_tokens: Some(3), ..Usage::default() }),
            timestamp: SystemTime::UNIX_EPOCH + Duration::from_secs(86_400),
            attempts: vec![AttemptRow { provider: "openai".into(), provider_api_key: None, success: true }],
        }
    }

    #[test]
    fn rows_are_written_and_found_again_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/stats.db");
        Store::open(&path).unwrap().write(&[row(), row()]).unwrap();

        let mut store = Store::open(&path).unwrap();
        let tokens: Vec<(Option<i32>, Option<i32>)> = request_stats::table
            .select((request_stats::prompt_tokens, request_stats::total_tokens))
            .load(&mut store.connection)
            .unwrap();
        assert_eq!(tokens, [(Some(3), None); 2]);
        let attempts: i64 = channel_stats::table.count().get_result(&mut store.connection).unwrap();
        assert_eq!(attempts, 2);
    }

    #[test]
    fn timestamps_have_the_form_of_sqlite() {
        #[derive(QueryableByName)]
        struct Text {
            #[diesel(sql_type = diesel::sql_types::Text)]
            timestamp: String,
        }
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("stats.db")).unwrap();
        store.write(&[row()]).unwrap();
        let text: Text =
            diesel::sql_query("SELECT timestamp FROM request_stats").get_result(&mut store.connection).unwrap();
        assert_eq!(text.timestamp, "1970-01-02 00:00:00");
    }
}

//! The database file.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Text, Timestamp};
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use thiserror::Error;

use super::rows::{AttemptRow, RequestRow};
use super::schema::{channel_stats, request_stats};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// `busy_timeout` comes first: without it the next statement fails at once when the diesel CLI
/// holds the file. Pages of 16 KiB (in a new file; before it is a WAL) take a quarter of the
/// writes, and a checkpoint every 16 MiB writes each page once instead of many times.
const PRAGMAS: [&str; 5] = [
    "PRAGMA busy_timeout = 5000",
    "PRAGMA page_size = 16384",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 1000",
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
        let seconds: Vec<Arc<str>> = utc_seconds(rows).collect();
        let rows = || rows.iter().zip(&seconds);
        let requests: Vec<_> = rows().map(|(row, second)| NewRequest::of(row, second)).collect();
        let attempts =
            rows().flat_map(|(row, second)| row.attempts.iter().map(|attempt| NewAttempt::of(row, attempt, second)));
        let attempts: Vec<_> = attempts.collect();
        self.connection.immediate_transaction(|connection| {
            let (chunks, rest) = requests.as_chunks::<CHUNK>();
            for chunk in chunks {
                diesel::insert_into(request_stats::table).values(chunk).execute(connection)?;
            }
            for row in rest {
                diesel::insert_into(request_stats::table).values(row).execute(connection)?;
            }
            let (chunks, rest) = attempts.as_chunks::<CHUNK>();
            for chunk in chunks {
                diesel::insert_into(channel_stats::table).values(chunk).execute(connection)?;
            }
            for row in rest {
                diesel::insert_into(channel_stats::table).values(row).execute(connection)?;
            }
            Ok(())
        })
    }
}

/// As many rows go into one statement. A number known to the compiler, so that diesel keeps the
/// statement prepared; with a slice it would be parsed anew each time.
const CHUNK: usize = 32;

/// The time of each row to the second, written as SQLite writes it; worked out once per second.
fn utc_seconds(rows: &[RequestRow]) -> impl Iterator<Item = Arc<str>> {
    let mut last: Option<(u64, Arc<str>)> = None;
    rows.iter().map(move |row| {
        let second = row.timestamp.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if let Some((_, text)) = last.as_ref().filter(|(same, _)| *same == second) {
            return Arc::clone(text);
        }
        let text: Arc<str> = DateTime::<Utc>::from(row.timestamp).format("%Y-%m-%d %H:%M:%S").to_string().into();
        last = Some((second, Arc::clone(&text)));
        text
    })
}

/// Text that rows share, and a time that is text already.
#[derive(Clone, Debug, AsExpression)]
#[diesel(sql_type = Text)]
#[diesel(sql_type = Timestamp)]
struct SharedText(Arc<str>);

impl SharedText {
    fn of(text: &Arc<str>) -> Self {
        Self(Arc::clone(text))
    }

    fn maybe(text: &Option<Arc<str>>) -> Option<Self> {
        text.as_ref().map(Self::of)
    }
}

impl ToSql<Text, Sqlite> for SharedText {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(&*self.0);
        Ok(IsNull::No)
    }
}

impl ToSql<Timestamp, Sqlite> for SharedText {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        <Self as ToSql<Text, Sqlite>>::to_sql(self, out)
    }
}

#[derive(Insertable)]
#[diesel(table_name = request_stats, treat_none_as_default_value = false)]
struct NewRequest {
    request_id: SharedText,
    endpoint: &'static str,
    client_ip: Option<SharedText>,
    process_time: f32,
    first_response_time: f32,
    provider: Option<SharedText>,
    model: Option<SharedText>,
    api_key: Option<SharedText>,
    is_flagged: bool,
    text: Option<SharedText>,
    prompt_tokens: Option<i32>,
    completion_tokens: Option<i32>,
    total_tokens: Option<i32>,
    timestamp: SharedText,
}

impl NewRequest {
    fn of(row: &RequestRow, second: &Arc<str>) -> Self {
        let usage = row.usage.unwrap_or_default();
        let tokens = |count: Option<i64>| count.map(|count| i32::try_from(count).unwrap_or(i32::MAX));
        Self {
            request_id: SharedText::of(&row.request_id),
            endpoint: row.endpoint,
            client_ip: SharedText::maybe(&row.client_ip),
            process_time: row.process_time.as_secs_f32(),
            // As every generation of uni-api has it: -1 where there was no answer.
            first_response_time: row.first_response_time.map_or(-1.0, |time| time.as_secs_f32()),
            provider: SharedText::maybe(&row.provider),
            model: SharedText::maybe(&row.model),
            api_key: SharedText::maybe(&row.api_key),
            is_flagged: row.is_flagged,
            text: SharedText::maybe(&row.text),
            prompt_tokens: tokens(usage.prompt_tokens),
            completion_tokens: tokens(usage.completion_tokens),
            total_tokens: tokens(usage.total_tokens),
            timestamp: SharedText::of(second),
        }
    }
}

#[derive(Insertable)]
#[diesel(table_name = channel_stats, treat_none_as_default_value = false)]
struct NewAttempt {
    request_id: SharedText,
    provider: SharedText,
    model: SharedText,
    api_key: Option<SharedText>,
    provider_api_key: Option<SharedText>,
    region: Option<SharedText>,
    success: Option<bool>,
    outcome: &'static str,
    duration_ms: i32,
    timestamp: SharedText,
}

impl NewAttempt {
    fn of(row: &RequestRow, attempt: &AttemptRow, second: &Arc<str>) -> Self {
        Self {
            request_id: SharedText::of(&row.request_id),
            provider: SharedText::of(&attempt.provider),
            model: SharedText::of(&attempt.model),
            api_key: SharedText::maybe(&row.api_key),
            provider_api_key: SharedText::maybe(&attempt.provider_api_key),
            region: SharedText::maybe(&attempt.region),
            success: attempt.success,
            outcome: attempt.outcome,
            duration_ms: i32::try_from(attempt.duration.as_millis()).unwrap_or(i32::MAX),
            timestamp: SharedText::of(second),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::canon::Usage;

    fn row() -> RequestRow {
        RequestRow {
            request_id: "id-1".into(),
            endpoint: "POST /v1/chat/completions",
            client_ip: Some("127.0.0.1".into()),
            process_time: Duration::from_millis(1500),
            first_response_time: None,
            provider: Some("openai".into()),
            model: Some("gpt-4o".into()),
            api_key: Some("sk-ab…yz#00000000".into()),
            success: Some(true),
            status: Some(200),
            is_streamed: false,
            is_flagged: false,
            text: Some("hello".into()),
            usage: Some(Usage { prompt_tokens: Some(3), ..Usage::default() }),
            timestamp: SystemTime::UNIX_EPOCH + Duration::from_secs(86_400),
            attempts: vec![AttemptRow {
                provider: "openai".into(),
                provider_api_key: None,
                region: None,
                model: "gpt-4o".into(),
                success: Some(true),
                outcome: "ok",
                duration: Duration::from_millis(20),
            }],
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
        struct Written {
            #[diesel(sql_type = Text)]
            timestamp: String,
        }
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("stats.db")).unwrap();
        store.write(&[row()]).unwrap();
        let text: Written =
            diesel::sql_query("SELECT timestamp FROM request_stats").get_result(&mut store.connection).unwrap();
        assert_eq!(text.timestamp, "1970-01-02 00:00:00");
    }
}

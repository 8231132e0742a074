//! The database file.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::Error::RollbackTransaction;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::adopt::adopt;
use super::inserts::{NewAttempt, NewRequest};
use super::rows::RequestRow;
use super::schema::{channel_stats, request_stats};
use super::trouble::StoreError;

pub(super) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// `busy_timeout` comes first: without it the next statement fails at once when the diesel CLI
/// holds the file. It is short, because the writer comes back by itself and has other things to do.
/// Pages of 16 KiB (in a new file; before it is a WAL) take a quarter of the writes, and a
/// checkpoint every 16 MiB writes each page once instead of many times. `auto_vacuum` (in a new
/// file, too) lets a file shrink after rows are deleted.
const PRAGMAS: [&str; 6] = [
    "PRAGMA busy_timeout = 1000",
    "PRAGMA page_size = 16384",
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 1000",
];

/// An open database with the current schema.
pub struct Store {
    connection: SqliteConnection,
}

impl Store {
    /// Opens the file, which is made if need be, and brings its schema up to date, whichever
    /// generation of uni-api made it.
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
        adopt(&mut connection)?;
        connection.run_pending_migrations(MIGRATIONS).map_err(|error| StoreError::Migrate(error.to_string()))?;
        Ok(Self { connection })
    }

    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Writes all rows in one transaction, or none.
    ///
    /// # Errors
    ///
    /// The file is locked, the disk is full, and the like.
    pub fn write(&mut self, rows: &[RequestRow]) -> Result<(), StoreError> {
        let seconds: Vec<Arc<str>> = utc_seconds(rows).collect();
        let rows = || rows.iter().zip(&seconds);
        let requests: Vec<_> = rows().map(|(row, second)| NewRequest::of(row, second)).collect();
        let attempts =
            rows().flat_map(|(row, second)| row.attempts.iter().map(|attempt| NewAttempt::of(row, attempt, second)));
        let attempts: Vec<_> = attempts.collect();
        self.in_transaction(|connection| {
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

    /// Does all of it, or nothing. When the disk is full SQLite rolls back by itself; that this
    /// cannot be done once more must not hide why.
    pub(super) fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        let mut cause = None;
        let done = self.connection.immediate_transaction(|connection| {
            work(connection).map_err(|error| {
                cause = Some(error);
                RollbackTransaction
            })
        });
        done.map_err(|error| StoreError::Sql(cause.unwrap_or(error)))
    }
}

/// As many rows go into one statement. A number known to the compiler, so that diesel keeps the
/// statement prepared; with a slice it would be parsed anew each time.
const CHUNK: usize = 32;

/// A time as SQLite writes it.
pub(super) fn utc_second(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// The time of each row to the second; worked out once per second.
fn utc_seconds(rows: &[RequestRow]) -> impl Iterator<Item = Arc<str>> {
    let mut last: Option<(u64, Arc<str>)> = None;
    rows.iter().map(move |row| {
        let second = row.timestamp.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if let Some((_, text)) = last.as_ref().filter(|(same, _)| *same == second) {
            return Arc::clone(text);
        }
        let text: Arc<str> = utc_second(row.timestamp).into();
        last = Some((second, Arc::clone(&text)));
        text
    })
}

#[cfg(test)]
mod tests;

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
use super::inserts::{Insert, NewAttempt, NewRequest, Row};
use super::rows::RequestRow;
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
        let second =
            |row: &RequestRow| row.timestamp.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let seconds: Vec<Arc<str>> = told(rows, second, |row| utc_second(row.timestamp).into());
        let address = |row: &RequestRow| row.client_ip.map(|address| address.to_string().into());
        let addresses: Vec<Option<Arc<str>>> = told(rows, |row| row.client_ip, address);
        let rows = || rows.iter().zip(&seconds);
        self.in_transaction(|connection| {
            let requests = rows().zip(&addresses);
            let requests = requests.map(|((row, second), address)| NewRequest::of(row, second, address.as_deref()));
            insert(requests, connection)?;
            let attempts =
                rows().flat_map(|(row, second)| row.attempts.iter().map(move |attempt| (row, attempt, second)));
            insert(attempts.map(|(row, attempt, second)| NewAttempt::of(row, attempt, second)), connection)
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

/// As many rows go into one statement. Their values, 21 of a request, just fit into a list that has grown to 512.
const CHUNK: usize = 24;

fn insert<R: Row>(rows: impl Iterator<Item = R>, connection: &mut SqliteConnection) -> QueryResult<()> {
    let mut chunk = Vec::with_capacity(CHUNK);
    for row in rows {
        chunk.push(row);
        if let Ok(whole) = <&[R; CHUNK]>::try_from(chunk.as_slice()) {
            Insert(whole).execute(connection)?;
            chunk.clear();
        }
    }
    for row in &chunk {
        Insert(std::array::from_ref(row)).execute(connection)?;
    }
    Ok(())
}

/// A time as SQLite writes it.
pub(super) fn utc_second(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// What is told of each row, worked out once for all in succession that have this in common.
fn told<K: PartialEq, T: Clone>(
    rows: &[RequestRow],
    in_common: impl Fn(&RequestRow) -> K,
    tell: impl Fn(&RequestRow) -> T,
) -> Vec<T> {
    let mut last: Option<(K, T)> = None;
    let each = rows.iter().map(|row| {
        let key = in_common(row);
        if let Some((_, told)) = last.as_ref().filter(|(same, _)| *same == key) {
            return told.clone();
        }
        let told = tell(row);
        last = Some((key, told.clone()));
        told
    });
    each.collect()
}

#[cfg(test)]
mod tests;

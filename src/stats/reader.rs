//! Reads statistics from the file, beside whoever writes to it or without.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use thiserror::Error;

use super::count::{Selection, Tallies};
use super::report::{Report, is_told_by_day};
use super::span::{HOUR, Span, floor, start_of, stored};
use super::sums::{SOURCES, after_first_hour, last_id};

/// A writer holds up nobody who reads, except while it moves its log into the file.
const SETTINGS: &str = "PRAGMA busy_timeout = 2000; PRAGMA query_only = ON";

/// Why there are no statistics to read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// There is no file.
    #[error("there is no database at {0} yet")]
    Missing(String),
    /// It cannot be opened.
    #[error("the database cannot be opened: {0}")]
    Open(#[from] ConnectionError),
    /// It cannot be read: it is none, or one of an older version.
    #[error("the database cannot be read ({0}); a gateway of this version has to open it once")]
    Read(#[from] diesel::result::Error),
}

/// What happened in these hours before now. Takes as long as the disk does: not for a thread that
/// others wait for. Nothing is written, and no file is made.
///
/// # Errors
///
/// The file is not there, or cannot be read.
pub fn read(path: &Path, hours: u16, now: SystemTime) -> Result<Report, ReadError> {
    let span = Span::last(hours, now);
    let parts = tallies(&mut open(path)?, span, is_told_by_day(hours))?;
    let parts = parts.into_iter().map(|(period, tally)| (start_of(&period), tally));
    Ok(Report::new(hours, span, parts))
}

/// Opens a file to read it.
fn open(path: &Path) -> Result<SqliteConnection, ReadError> {
    if !path.exists() {
        return Err(ReadError::Missing(path.display().to_string()));
    }
    let mut connection = SqliteConnection::establish(&address(path))?;
    connection.batch_execute(SETTINGS)?;
    Ok(connection)
}

/// The file as SQLite is told of it: <https://www.sqlite.org/uri.html>.
fn address(path: &Path) -> String {
    let name = path.to_string_lossy();
    let mode = if is_at_rest(path) { "mode=ro&immutable=1" } else { "mode=ro" };
    let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    format!("file:{escaped}?{mode}")
}

/// Whether a file that has a write-ahead log while it is open has none: nobody has it open. Unless
/// told so, SQLite would leave the files of an empty log behind. Which files have one is in their
/// head: <https://www.sqlite.org/fileformat2.html#file_format_version_numbers>.
fn is_at_rest(path: &Path) -> bool {
    const VERSIONS: usize = 18;
    const WITH_LOG: [u8; 2] = [2, 2];
    let mut head = [0; VERSIONS + WITH_LOG.len()];
    let is_read = File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok();
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    is_read && head.ends_with(&WITH_LOG) && !Path::new(&log).exists()
}

/// The tallies of a span that ends now: sums where there are, and rows for the beginning of the span
/// and for what has not been added up yet. All of one moment.
fn tallies(connection: &mut SqliteConnection, span: Span, by_day: bool) -> QueryResult<Tallies> {
    connection.transaction(|connection| {
        let mut tallies = after_first_hour(connection, span, by_day)?;
        let since = Some(stored(span.from));
        let before = Some(stored(floor(span.from, HOUR) + HOUR));
        for (source, count) in SOURCES {
            let last = Some(last_id(connection, source)?);
            let first_hour = Selection { up_to_id: last, since, before, ..Selection::default() };
            count(connection, first_hour, &mut tallies)?;
            let rest = Selection { after_id: last, since, ..Selection::default() };
            count(connection, rest, &mut tallies)?;
        }
        Ok(tallies)
    })
}

#[cfg(test)]
mod tests;

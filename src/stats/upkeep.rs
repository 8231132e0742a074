//! What is done to the file beside writing rows: adding them up by the hour, deleting what is too
//! old, and giving space back. All of it in steps of some ten milliseconds, so that rows never wait.

use std::time::SystemTime;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::count::{Selection, Tallies};
use super::span::DAY_NAME;
use super::store::{Store, utc_second};
use super::sums::{SOURCES, add, last_id};
use super::trouble::StoreError;

/// As many rows are added up in one step.
pub const PORTION: i64 = 10_000;
/// As many rows of each table are deleted in one step.
const DELETED: i64 = 500;
/// As many pages are given back in one step; fewer free ones are left for the next rows.
const PAGES: i64 = 64;

/// Every table, and the column that says how old a row is.
const AGES: [(&str, &str); 3] =
    [("request_stats", "timestamp"), ("channel_stats", "timestamp"), ("stats_sums", "period")];

/// Whether there is another step to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is.
    More,
    /// There is none.
    Done,
}

impl Progress {
    fn more_if(is_more: bool) -> Self {
        if is_more { Self::More } else { Self::Done }
    }
}

impl Store {
    /// Adds up the next [`PORTION`] of rows, if at least so many are waiting for it.
    ///
    /// # Errors
    ///
    /// As of [`Store::write`].
    pub fn add_up(&mut self, at_least: i64) -> Result<Progress, StoreError> {
        self.in_transaction(|connection| {
            let mut is_more = false;
            let mut hours = Tallies::new();
            for (source, count) in SOURCES {
                let newest = newest_id(connection, source)?;
                let last = last_id(connection, source)?;
                if newest.saturating_sub(last) < at_least.max(1) {
                    continue;
                }
                let until = newest.min(last.saturating_add(PORTION));
                let rows = Selection { after_id: Some(last), up_to_id: Some(until), ..Selection::default() };
                count(connection, rows, &mut hours)?;
                let note = diesel::sql_query("UPDATE added_up SET last_id = ? WHERE source = ?");
                note.bind::<BigInt, _>(until).bind::<Text, _>(source).execute(connection)?;
                is_more |= newest.saturating_sub(until) >= at_least.max(1);
            }
            add(connection, hours)?;
            Ok(Progress::more_if(is_more))
        })
    }

    /// Deletes some of what happened before this time.
    ///
    /// # Errors
    ///
    /// As of [`Store::write`].
    pub fn delete_before(&mut self, time: SystemTime) -> Result<Progress, StoreError> {
        let second = utc_second(time);
        let day = second.get(..DAY_NAME).unwrap_or(&second);
        self.in_transaction(|connection| {
            let mut is_more = false;
            for (table, age) in AGES {
                let too_old = format!("SELECT rowid FROM {table} WHERE {age} < ? ORDER BY {age} LIMIT {DELETED}");
                let delete = diesel::sql_query(format!("DELETE FROM {table} WHERE rowid IN ({too_old})"));
                // The sum of a day stays as long as one of its rows does.
                let limit = if age == "period" { day } else { &second };
                let deleted = delete.bind::<Text, _>(limit).execute(connection)?;
                is_more |= i64::try_from(deleted).is_ok_and(|deleted| deleted >= DELETED);
            }
            for (source, _) in SOURCES {
                // Ids above the newest are given out again.
                let newest = newest_id(connection, source)?;
                let note = diesel::sql_query("UPDATE added_up SET last_id = min(last_id, ?) WHERE source = ?");
                note.bind::<BigInt, _>(newest).bind::<Text, _>(source).execute(connection)?;
            }
            Ok(Progress::more_if(is_more))
        })
    }

    /// Gives some free pages back to the disk; in a file of another program there is nothing to do.
    ///
    /// # Errors
    ///
    /// As of [`Store::write`].
    pub fn give_back(&mut self) -> Result<Progress, StoreError> {
        let before = self.free_pages()?;
        if before <= PAGES {
            return Ok(Progress::Done);
        }
        self.connection().batch_execute(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        let after = self.free_pages()?;
        Ok(Progress::more_if(after < before && after > PAGES))
    }

    fn free_pages(&mut self) -> QueryResult<i64> {
        let free = diesel::sql_query("SELECT freelist_count AS number FROM pragma_freelist_count");
        Ok(free.get_result::<Number>(self.connection())?.number)
    }
}

fn newest_id(connection: &mut SqliteConnection, table: &str) -> QueryResult<i64> {
    let newest = diesel::sql_query(format!("SELECT coalesce(max(id), 0) AS number FROM {table}"));
    Ok(newest.get_result::<Number>(connection)?.number)
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[cfg(test)]
mod tests;

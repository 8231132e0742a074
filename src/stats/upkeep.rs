//! What is done to the file beside writing rows: adding them up, deleting what is too
//! old, and giving space back. All of it in steps of some ten milliseconds, so that rows never wait.

use std::time::SystemTime;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use super::store::{Store, utc_second};
use super::trouble::StoreError;

/// As many rows are added up in one step.
pub const PORTION: i64 = 10_000;
/// As many rows of each table are deleted in one step.
const DELETED: i64 = 500;
/// As many pages are given back in one step; fewer free ones are left for the next rows.
const PAGES: i64 = 64;

/// What is added up, and into what. Both take the rows after the first id up to the second.
const SUMS: [(&str, &[&str]); 2] = [
    (
        "request_stats",
        &[
            "INSERT INTO request_hours (hour, provider, model, endpoint, requests, succeeded, failed, prompt_tokens,
                completion_tokens, total_tokens, cached_tokens, cache_creation_tokens, reasoning_tokens)
             SELECT substr(timestamp, 1, 13), provider, model, endpoint, count(*), count(nullif(success, 0)),
                count(nullif(success, 1)), sum(prompt_tokens), sum(completion_tokens), sum(total_tokens),
                sum(cached_tokens), sum(cache_creation_tokens), sum(reasoning_tokens)
             FROM request_stats WHERE id > ? AND id <= ? GROUP BY 1, 2, 3, 4",
            "INSERT INTO client_ip_days (day, client_ip, requests)
             SELECT substr(timestamp, 1, 10), ifnull(client_ip, ''), count(*)
             FROM request_stats WHERE id > ? AND id <= ? AND timestamp IS NOT NULL GROUP BY 1, 2
             ON CONFLICT (day, client_ip) DO UPDATE SET requests = requests + excluded.requests",
        ],
    ),
    (
        "channel_stats",
        &["INSERT INTO channel_hours (hour, provider, model, attempts, succeeded, failed)
             SELECT substr(timestamp, 1, 13), provider, model, count(*), count(nullif(success, 0)),
                count(nullif(success, 1))
             FROM channel_stats WHERE id > ? AND id <= ? GROUP BY 1, 2, 3"],
    ),
];

/// Every table, the column that says how old a row is, and how much of a time that column has: to the
/// second, the hour or the day.
const AGES: [(&str, &str, usize); 5] = [
    ("request_stats", "timestamp", 19),
    ("channel_stats", "timestamp", 19),
    ("request_hours", "hour", 13),
    ("client_ip_days", "day", 10),
    ("channel_hours", "hour", 13),
];

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
            for (source, sums) in SUMS {
                let newest = newest_id(connection, source)?;
                let last = diesel::sql_query("SELECT last_id AS number FROM added_up WHERE source = ?");
                let last = last.bind::<Text, _>(source).get_result::<Number>(connection)?.number;
                if newest.saturating_sub(last) < at_least.max(1) {
                    continue;
                }
                let until = newest.min(last.saturating_add(PORTION));
                for sum in sums {
                    diesel::sql_query(*sum).bind::<BigInt, _>(last).bind::<BigInt, _>(until).execute(connection)?;
                }
                let note = diesel::sql_query("UPDATE added_up SET last_id = ? WHERE source = ?");
                note.bind::<BigInt, _>(until).bind::<Text, _>(source).execute(connection)?;
                is_more |= newest.saturating_sub(until) >= at_least.max(1);
            }
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
        self.in_transaction(|connection| {
            let mut is_more = false;
            for (table, age, width) in AGES {
                let too_old = format!("SELECT rowid FROM {table} WHERE {age} < ? ORDER BY {age} LIMIT {DELETED}");
                let delete = diesel::sql_query(format!("DELETE FROM {table} WHERE rowid IN ({too_old})"));
                let limit = second.get(..width).unwrap_or(&second);
                let deleted = delete.bind::<Text, _>(limit).execute(connection)?;
                is_more |= i64::try_from(deleted).is_ok_and(|deleted| deleted >= DELETED);
            }
            for (source, _) in SUMS {
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

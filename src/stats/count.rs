//! Counts rows, one after the other: however many there are, none is kept.

use std::collections::HashMap;
use std::time::Duration;

use chrono::NaiveDateTime;
use diesel::connection::DefaultLoadingMode;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};

use super::schema::{channel_stats, request_stats};
use super::tally::{Name, Tally, Tokens};

/// Tallies by the [name](super::span::hour_name) of the hour or the day.
pub type Tallies = HashMap<String, Tally>;

/// How the time of a row begins. Rows without a time are in no hour, and are not counted.
const HOUR: &str = "substr(timestamp, 1, 13)";

/// Which rows of a table to count.
#[derive(Clone, Copy, Default)]
pub struct Selection {
    /// Those with an id above this.
    pub after_id: Option<i64>,
    /// Those with an id up to this.
    pub up_to_id: Option<i64>,
    /// Those that are not older.
    pub since: Option<NaiveDateTime>,
    /// Those that are older.
    pub before: Option<NaiveDateTime>,
}

/// Narrows a query of either table down to a [`Selection`].
macro_rules! select {
    ($query:expr, $table:ident, $selection:expr) => {{
        let mut query = $query;
        let id = |id: i64| i32::try_from(id).unwrap_or(i32::MAX);
        if let Some(after) = $selection.after_id {
            query = query.filter($table::id.gt(id(after)));
        }
        if let Some(up_to) = $selection.up_to_id {
            query = query.filter($table::id.le(id(up_to)));
        }
        if let Some(since) = $selection.since {
            query = query.filter($table::timestamp.ge(since));
        }
        if let Some(before) = $selection.before {
            query = query.filter($table::timestamp.lt(before));
        }
        query
    }};
}

/// Adds requests to the tallies of their hours.
///
/// # Errors
///
/// The database cannot be read.
pub fn count_requests(
    connection: &mut SqliteConnection,
    selection: Selection,
    tallies: &mut Tallies,
) -> QueryResult<()> {
    let query = request_stats::table.into_boxed().select((
        sql::<Nullable<Text>>(HOUR),
        request_stats::endpoint,
        request_stats::client_ip,
        request_stats::process_time,
        request_stats::first_response_time,
        request_stats::provider,
        request_stats::model,
        request_stats::is_flagged,
        request_stats::success,
        request_stats::attempts,
        request_stats::prompt_tokens,
        request_stats::completion_tokens,
        request_stats::total_tokens,
        request_stats::cached_tokens,
        request_stats::reasoning_tokens,
    ));
    let query = select!(query, request_stats, selection);
    for row in query.load_iter::<RequestRow, DefaultLoadingMode>(connection)? {
        let mut row = row?;
        if let Some(hour) = row.hour.take() {
            tallies.entry(hour).or_default().count_request(row);
        }
    }
    Ok(())
}

/// Adds attempts to the tallies of their hours.
///
/// # Errors
///
/// The database cannot be read.
pub fn count_attempts(
    connection: &mut SqliteConnection,
    selection: Selection,
    tallies: &mut Tallies,
) -> QueryResult<()> {
    let query = channel_stats::table.into_boxed().select((
        sql::<Nullable<Text>>(HOUR),
        channel_stats::provider,
        channel_stats::model,
        channel_stats::success,
        channel_stats::outcome,
    ));
    let query = select!(query, channel_stats, selection);
    for row in query.load_iter::<AttemptRow, DefaultLoadingMode>(connection)? {
        let mut row = row?;
        if let Some(hour) = row.hour.take() {
            tallies.entry(hour).or_default().count_attempt(row);
        }
    }
    Ok(())
}

#[derive(Queryable)]
struct RequestRow {
    hour: Option<String>,
    endpoint: Name,
    client_ip: Name,
    process_time: Option<f32>,
    first_response_time: Option<f32>,
    provider: Name,
    model: Name,
    is_flagged: Option<bool>,
    success: Option<bool>,
    attempts: Option<i32>,
    prompt_tokens: Option<i32>,
    completion_tokens: Option<i32>,
    total_tokens: Option<i32>,
    cached_tokens: Option<i32>,
    reasoning_tokens: Option<i32>,
}

#[derive(Queryable)]
struct AttemptRow {
    hour: Option<String>,
    provider: Name,
    model: Name,
    success: Option<bool>,
    outcome: Name,
}

impl Tally {
    fn count_request(&mut self, row: RequestRow) {
        let tokens = Tokens {
            prompt: row.prompt_tokens.map(i64::from),
            completion: row.completion_tokens.map(i64::from),
            total: row.total_tokens.map(i64::from),
            cached: row.cached_tokens.map(i64::from),
            reasoning: row.reasoning_tokens.map(i64::from),
        };
        let requests = self.requests.entry((row.provider, row.model)).or_default();
        requests.total += 1;
        match row.success {
            Some(true) => requests.succeeded += 1,
            Some(false) => requests.failed += 1,
            // Older versions wrote neither column.
            None if row.attempts.is_some() => requests.cancelled += 1,
            None => {}
        }
        requests.flagged += u64::from(row.is_flagged == Some(true));
        requests.tokens.add(tokens);
        // It is -1 where there was no answer.
        if let Some(first) = row.first_response_time.filter(|seconds| *seconds >= 0.0) {
            requests.first_token.add(milliseconds(first));
            requests.whole.add(milliseconds(row.process_time.unwrap_or(first)));
        }
        *self.endpoints.entry(row.endpoint).or_default() += 1;
        *self.addresses.entry(row.client_ip).or_default() += 1;
    }

    fn count_attempt(&mut self, row: AttemptRow) {
        let attempts = self.attempts.entry((row.provider, row.model)).or_default();
        match row.success {
            Some(true) => attempts.succeeded += 1,
            Some(false) => *attempts.failures.entry(row.outcome).or_default() += 1,
            None => attempts.cancelled += 1,
        }
    }
}

/// Seconds as older and newer versions have stored them, to the nearest millisecond.
fn milliseconds(seconds: f32) -> u32 {
    let time = Duration::try_from_secs_f32(seconds.max(0.0)).unwrap_or(Duration::MAX);
    u32::try_from(time.saturating_add(Duration::from_micros(500)).as_millis()).unwrap_or(u32::MAX)
}

//! Rows as they go into their tables.
//!
//! The statement is our own because a request costs 31 values: with a derived `Insertable` diesel goes through them once
//! to see whether there are any, once to see whether the statement can be kept, and only then to take them.

use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::HasSqlType;
use diesel::sqlite::Sqlite;

use super::rows::{AttemptRow, RequestRow};
use super::schema::{channel_stats, request_stats};

/// Rows that go into their table by one statement. Their number is known to the compiler, so that diesel keeps the
/// statement prepared: with a slice it would be parsed anew each time.
pub(super) struct Insert<'a, R, const ROWS: usize>(pub &'a [R; ROWS]);

/// A row, and where it goes.
pub(super) trait Row {
    /// Stands for the table when statements are told apart.
    type Table: 'static;
    /// Its name.
    const TABLE: &'static str;

    /// Names all columns that are written, each with its value.
    ///
    /// # Errors
    ///
    /// A value cannot be written.
    fn columns<'b>(&'b self, columns: &mut Columns<'_, 'b>) -> QueryResult<()>;
}

/// What a statement wants to know of the columns of a row.
pub(super) struct Columns<'a, 'b> {
    statement: AstPass<'a, 'b, Sqlite>,
    asks: Asks,
    separator: &'static str,
}

#[derive(Clone, Copy)]
enum Asks {
    Names,
    Values,
}

impl<'b> Columns<'_, 'b> {
    fn add<C, V>(&mut self, _column: C, value: &'b V) -> QueryResult<()>
    where
        C: Column,
        Sqlite: HasSqlType<C::SqlType>,
        V: ToSql<C::SqlType, Sqlite>,
    {
        self.statement.push_sql(self.separator);
        self.separator = ", ";
        match self.asks {
            Asks::Names => self.statement.push_identifier(C::NAME),
            Asks::Values => self.statement.push_bind_param::<C::SqlType, V>(value),
        }
    }
}

impl<R: Row, const ROWS: usize> QueryFragment<Sqlite> for Insert<'_, R, ROWS> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        let Some(first) = self.0.first() else { return Ok(()) };
        out.push_sql("INSERT INTO ");
        out.push_identifier(R::TABLE)?;
        first.columns(&mut Columns { statement: out.reborrow(), asks: Asks::Names, separator: " (" })?;
        let mut between = ") VALUES";
        for row in self.0 {
            out.push_sql(between);
            between = "),";
            row.columns(&mut Columns { statement: out.reborrow(), asks: Asks::Values, separator: " (" })?;
        }
        out.push_sql(")");
        Ok(())
    }
}

impl<R: Row, const ROWS: usize> QueryId for Insert<'_, R, ROWS> {
    type QueryId = (R::Table, [(); ROWS]);
}

impl<R, const ROWS: usize> RunQueryDsl<SqliteConnection> for Insert<'_, R, ROWS> {}

/// A row of `request_stats`.
pub(super) struct NewRequest<'a> {
    request_id: Option<&'a str>,
    endpoint: Option<&'a str>,
    client_ip: Option<&'a str>,
    process_time: Option<f32>,
    first_response_time: Option<f32>,
    provider: Option<&'a str>,
    model: Option<&'a str>,
    api_key: Option<&'a str>,
    is_flagged: Option<bool>,
    text: Option<&'a str>,
    prompt_tokens: Option<i32>,
    completion_tokens: Option<i32>,
    total_tokens: Option<i32>,
    timestamp: Option<&'a str>,
    success: Option<bool>,
    status: Option<i32>,
    attempts: Option<i32>,
    is_streamed: Option<bool>,
    cached_tokens: Option<i32>,
    cache_creation_tokens: Option<i32>,
    reasoning_tokens: Option<i32>,
}

impl<'a> NewRequest<'a> {
    /// A request that came in at this second, from this address.
    pub(super) fn of(row: &'a RequestRow, second: &'a str, client_ip: Option<&'a str>) -> Self {
        let usage = row.usage.unwrap_or_default();
        let tokens = |count: Option<i64>| count.map(|count| i32::try_from(count).unwrap_or(i32::MAX));
        Self {
            request_id: Some(row.request_id.as_str()),
            endpoint: Some(row.endpoint),
            client_ip,
            process_time: Some(row.process_time.as_secs_f32()),
            // As every generation of uni-api has it: -1 where there was no answer.
            first_response_time: Some(row.first_response_time.map_or(-1.0, |time| time.as_secs_f32())),
            provider: row.provider.as_deref(),
            model: row.model.as_deref(),
            api_key: row.api_key.as_deref(),
            is_flagged: Some(row.is_flagged),
            text: row.text.as_deref(),
            prompt_tokens: tokens(usage.prompt_tokens),
            completion_tokens: tokens(usage.completion_tokens),
            total_tokens: tokens(usage.total_tokens),
            timestamp: Some(second),
            success: row.success,
            status: row.status.map(i32::from),
            attempts: Some(i32::try_from(row.attempts.len()).unwrap_or(i32::MAX)),
            is_streamed: Some(row.is_streamed),
            cached_tokens: tokens(usage.cached_tokens),
            cache_creation_tokens: tokens(usage.cache_creation_tokens),
            reasoning_tokens: tokens(usage.reasoning_tokens),
        }
    }
}

impl Row for NewRequest<'_> {
    type Table = request_stats::table;
    const TABLE: &'static str = "request_stats";

    fn columns<'b>(&'b self, columns: &mut Columns<'_, 'b>) -> QueryResult<()> {
        columns.add(request_stats::request_id, &self.request_id)?;
        columns.add(request_stats::endpoint, &self.endpoint)?;
        columns.add(request_stats::client_ip, &self.client_ip)?;
        columns.add(request_stats::process_time, &self.process_time)?;
        columns.add(request_stats::first_response_time, &self.first_response_time)?;
        columns.add(request_stats::provider, &self.provider)?;
        columns.add(request_stats::model, &self.model)?;
        columns.add(request_stats::api_key, &self.api_key)?;
        columns.add(request_stats::is_flagged, &self.is_flagged)?;
        columns.add(request_stats::text, &self.text)?;
        columns.add(request_stats::prompt_tokens, &self.prompt_tokens)?;
        columns.add(request_stats::completion_tokens, &self.completion_tokens)?;
        columns.add(request_stats::total_tokens, &self.total_tokens)?;
        columns.add(request_stats::timestamp, &self.timestamp)?;
        columns.add(request_stats::success, &self.success)?;
        columns.add(request_stats::status, &self.status)?;
        columns.add(request_stats::attempts, &self.attempts)?;
        columns.add(request_stats::is_streamed, &self.is_streamed)?;
        columns.add(request_stats::cached_tokens, &self.cached_tokens)?;
        columns.add(request_stats::cache_creation_tokens, &self.cache_creation_tokens)?;
        columns.add(request_stats::reasoning_tokens, &self.reasoning_tokens)
    }
}

/// A row of `channel_stats`.
pub(super) struct NewAttempt<'a> {
    request_id: Option<&'a str>,
    provider: Option<&'a str>,
    model: Option<&'a str>,
    api_key: Option<&'a str>,
    provider_api_key: Option<&'a str>,
    region: Option<&'a str>,
    success: Option<bool>,
    outcome: Option<&'a str>,
    duration_ms: Option<i32>,
    timestamp: Option<&'a str>,
}

impl<'a> NewAttempt<'a> {
    /// An attempt of a request that came in at this second.
    pub(super) fn of(row: &'a RequestRow, attempt: &'a AttemptRow, second: &'a str) -> Self {
        Self {
            request_id: Some(row.request_id.as_str()),
            provider: Some(&attempt.provider),
            model: Some(&attempt.model),
            api_key: row.api_key.as_deref(),
            provider_api_key: attempt.provider_api_key.as_deref(),
            region: attempt.region.as_deref(),
            success: attempt.success,
            outcome: Some(attempt.outcome),
            duration_ms: Some(i32::try_from(attempt.duration.as_millis()).unwrap_or(i32::MAX)),
            timestamp: Some(second),
        }
    }
}

impl Row for NewAttempt<'_> {
    type Table = channel_stats::table;
    const TABLE: &'static str = "channel_stats";

    fn columns<'b>(&'b self, columns: &mut Columns<'_, 'b>) -> QueryResult<()> {
        columns.add(channel_stats::request_id, &self.request_id)?;
        columns.add(channel_stats::provider, &self.provider)?;
        columns.add(channel_stats::model, &self.model)?;
        columns.add(channel_stats::api_key, &self.api_key)?;
        columns.add(channel_stats::provider_api_key, &self.provider_api_key)?;
        columns.add(channel_stats::region, &self.region)?;
        columns.add(channel_stats::success, &self.success)?;
        columns.add(channel_stats::outcome, &self.outcome)?;
        columns.add(channel_stats::duration_ms, &self.duration_ms)?;
        columns.add(channel_stats::timestamp, &self.timestamp)
    }
}

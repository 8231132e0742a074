//! Rows as diesel inserts them.

use std::sync::Arc;

use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Text, Timestamp};
use diesel::sqlite::Sqlite;

use super::rows::{AttemptRow, RequestRow};
use super::schema::{channel_stats, request_stats};

/// Text that rows share, and a time that is text already.
#[derive(Clone, Debug, AsExpression)]
#[diesel(sql_type = Text)]
#[diesel(sql_type = Timestamp)]
pub(super) struct SharedText(Arc<str>);

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
pub(super) struct NewRequest {
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
    success: Option<bool>,
    status: Option<i32>,
    attempts: i32,
    is_streamed: bool,
    cached_tokens: Option<i32>,
    cache_creation_tokens: Option<i32>,
    reasoning_tokens: Option<i32>,
}

impl NewRequest {
    /// A request that came in at this second.
    pub(super) fn of(row: &RequestRow, second: &Arc<str>) -> Self {
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
            success: row.success,
            status: row.status.map(i32::from),
            attempts: i32::try_from(row.attempts.len()).unwrap_or(i32::MAX),
            is_streamed: row.is_streamed,
            cached_tokens: tokens(usage.cached_tokens),
            cache_creation_tokens: tokens(usage.cache_creation_tokens),
            reasoning_tokens: tokens(usage.reasoning_tokens),
        }
    }
}

#[derive(Insertable)]
#[diesel(table_name = channel_stats, treat_none_as_default_value = false)]
pub(super) struct NewAttempt {
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
    /// An attempt of a request that came in at this second.
    pub(super) fn of(row: &RequestRow, attempt: &AttemptRow, second: &Arc<str>) -> Self {
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

//! The sums of `stats_sums`: what rows come to, by the hour and by the day, up to the ids in
//! `added_up`. A period is named as the times of its rows begin: `2026-11-22 09`, `2026-11-22`.
//!
//! Rows are added in the order of their ids, so that a row that comes late is added to the sums of
//! its time like any other.

use diesel::connection::DefaultLoadingMode;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error::{DeserializationError, SerializationError};
use diesel::sql_types::Bool;

use super::count::{Selection, Tallies, count_attempts, count_requests};
use super::schema::{added_up, stats_sums};
use super::span::{DAY_NAME, HOUR_NAME, Span, day_name, hour_name};
use super::tally::Tally;

/// Counts the rows of a table.
type Count = fn(&mut SqliteConnection, Selection, &mut Tallies) -> QueryResult<()>;

/// The tables whose rows are added up.
pub(super) const SOURCES: [(&str, Count); 2] = [("request_stats", count_requests), ("channel_stats", count_attempts)];

/// The highest id of a table whose row has been added up.
pub(super) fn last_id(connection: &mut SqliteConnection, source: &str) -> QueryResult<i64> {
    added_up::table.find(source).select(added_up::last_id).first(connection)
}

/// Adds the tallies of hours to the sums.
pub(super) fn add(connection: &mut SqliteConnection, hours: Tallies) -> QueryResult<()> {
    let mut days = Tallies::new();
    for (hour, tally) in &hours {
        if let Some(day) = hour.get(..DAY_NAME) {
            days.entry(day.to_owned()).or_default().merge(tally.clone());
        }
    }
    for (period, mut tally) in hours.into_iter().chain(days) {
        let sum = stats_sums::table.find(&period).select(stats_sums::tally).first::<String>(connection).optional()?;
        if let Some(sum) = sum {
            tally.merge(read(&sum)?);
        }
        let text = serde_json::to_string(&tally).map_err(|error| SerializationError(error.into()))?;
        diesel::replace_into(stats_sums::table)
            .values((stats_sums::period.eq(&period), stats_sums::tally.eq(text)))
            .execute(connection)?;
    }
    Ok(())
}

/// The sums of everything after the first hour of a span: of all its hours, or, `by_day`, of the
/// hours of its first day and of the days after that.
pub(super) fn after_first_hour(connection: &mut SqliteConnection, span: Span, by_day: bool) -> QueryResult<Tallies> {
    let (hour, day) = (hour_name(span.from), day_name(span.from));
    let length = |chars: usize| format!("length(period) = {chars}");
    let sums = stats_sums::table.into_boxed();
    let sums = if by_day {
        // The hours of a day have names between its own and that of the next day.
        let rest_of_day = stats_sums::period.gt(&hour).and(stats_sums::period.lt(format!("{day}~")));
        let later = stats_sums::period.gt(&day).and(sql::<Bool>(&length(DAY_NAME)));
        sums.filter(rest_of_day.or(later))
    } else {
        let later = stats_sums::period.gt(&hour).and(sql::<Bool>(&length(HOUR_NAME)));
        sums.filter(later)
    };
    let rows = sums.load_iter::<(String, String), DefaultLoadingMode>(connection)?;
    rows.map(|row| row.and_then(|(period, text)| Ok((period, read(&text)?)))).collect()
}

fn read(text: &str) -> QueryResult<Tally> {
    serde_json::from_str(text).map_err(|error| DeserializationError(error.into()))
}

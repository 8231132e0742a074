use std::time::Duration;

use diesel::sql_types::Text;
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::rows::tests::row;
use super::super::span::DAY;
use super::super::tally::Name;
use super::super::{AttemptRow, RequestRow, Store};
use super::*;
use crate::canon::Usage;

/// A day, so that spans begin and end on others.
const BEGIN: i64 = 20_000 * DAY;

fn time(second: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second.unsigned_abs())
}

fn fresh() -> (TempDir, std::path::PathBuf, Store) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("50% of #stats?.db");
    let store = Store::open(&path).unwrap();
    (folder, path, store)
}

prop_compose! {
    fn attempt()(
        provider in prop::sample::select(vec!["p", "q"]),
        model in prop::sample::select(vec!["a", "b"]),
        outcome in prop::sample::select(vec!["ok", "cancelled", "e1", "e2"]),
    ) -> AttemptRow {
        let success = match outcome { "ok" => Some(true), "cancelled" => None, _ => Some(false) };
        AttemptRow { provider: provider.into(), model: model.into(), success, outcome, ..row().attempts.remove(0) }
    }
}

prop_compose! {
    fn request()(
        (second, ms, first) in (0..60 * HOUR, 0..100_000u64, prop::option::of(0..1000u64)),
        provider in prop::option::of(prop::sample::select(vec!["p", "q"])),
        model in prop::option::of(prop::sample::select(vec!["a", "b"])),
        endpoint in prop::sample::select(vec!["POST /v1/chat/completions", "GET /v1/models"]),
        address in prop::option::of(prop::sample::select(vec![[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]])),
        (success, is_flagged) in (any::<Option<bool>>(), any::<bool>()),
        tokens in prop::option::of(0..1000i64),
        attempts in prop::collection::vec(attempt(), 0..3),
    ) -> RequestRow {
        RequestRow {
            timestamp: time(BEGIN + second),
            process_time: Duration::from_millis(ms),
            first_response_time: first.map(Duration::from_millis),
            provider: provider.map(Into::into),
            model: model.map(Into::into),
            endpoint,
            client_ip: address.map(Into::into),
            success,
            is_flagged,
            usage: tokens.map(|tokens| Usage { total_tokens: Some(tokens), ..Usage::default() }),
            attempts,
            ..row()
        }
    }
}

fn report(path: &Path, hours: u16, span: Span) -> Report {
    let parts = tallies(&mut open(path).unwrap(), span, is_told_by_day(hours)).unwrap();
    Report::new(hours, span, parts.into_iter().map(|(period, tally)| (start_of(&period), tally)))
}

/// What plain queries of the rows of a span find, in the order of the names.
fn plain(path: &Path, span: Span, columns: &str, table: &str, names: &str) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text)]
        line: String,
    }
    let (from, to) = (stored(span.from), stored(span.to));
    let sql = format!(
        "SELECT concat_ws('|', {columns}) AS line FROM {table}
         WHERE timestamp >= '{from}' AND timestamp < '{to}' GROUP BY {names} ORDER BY 1"
    );
    let lines: Vec<Line> = diesel::sql_query(sql).load(&mut open(path).unwrap()).unwrap();
    lines.into_iter().map(|row| row.line).collect()
}

fn lines(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    lines
}

fn text(name: &Name) -> &str {
    name.as_deref().unwrap_or("-")
}

fn number(number: Option<i64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

fn same_as_plain(report: &Report, path: &Path, span: Span) {
    let counts = "count(*), count(nullif(success, 1)), count(*) - count(success)";
    let routes = report.channel_model_success_rates.iter().map(|rate| {
        let (provider, model, more) = (text(&rate.provider), text(&rate.model), &rate.details);
        format!("{provider}|{model}|{}|{}|{}", rate.total_requests, more.failed, more.cancelled)
    });
    assert_eq!(
        lines(routes),
        plain(path, span, &format!("provider, model, {counts}"), "channel_stats", "provider, model")
    );
    let channels = report.channel_success_rates.iter().map(|rate| {
        let (provider, more) = (text(&rate.provider), &rate.details);
        format!("{provider}|{}|{}|{}", rate.total_requests, more.failed, more.cancelled)
    });
    assert_eq!(lines(channels), plain(path, span, &format!("provider, {counts}"), "channel_stats", "provider"));
    let outcomes = report.channel_success_rates.iter().flat_map(|rate| {
        let provider = text(&rate.provider);
        rate.details.outcomes.iter().map(move |of| format!("{provider}|{}|{}", of.outcome, of.count))
    });
    let failed = plain(path, span, "provider, outcome, sum(success = 0)", "channel_stats", "provider, outcome");
    let failed: Vec<_> = failed.into_iter().filter(|line| line.split('|').nth(1).unwrap().starts_with('e')).collect();
    assert_eq!(lines(outcomes), failed);

    let models = report.model_request_counts.iter();
    let models = models.map(|of| format!("{}|{}|{}", text(&of.model), of.count, number(of.tokens.total)));
    let columns = "ifnull(model, '-'), count(*), ifnull(sum(total_tokens), '-')";
    assert_eq!(lines(models), plain(path, span, columns, "request_stats", "model"));
    let endpoints = report.endpoint_request_counts.iter().map(|of| format!("{}|{}", text(&of.endpoint), of.count));
    assert_eq!(lines(endpoints), plain(path, span, "endpoint, count(*)", "request_stats", "endpoint"));
    let addresses = report.ip_request_counts.iter().map(|of| format!("{}|{}", text(&of.ip), of.count));
    assert_eq!(lines(addresses), plain(path, span, "ifnull(client_ip, '-'), count(*)", "request_stats", "client_ip"));
    let all = &report.requests;
    let total = [all.total, all.succeeded, all.failed, all.cancelled, all.flagged].map(|count| count.to_string());
    let columns = "count(*), count(nullif(success, 0)), count(nullif(success, 1)), count(*) - count(success),
        ifnull(sum(is_flagged), 0)";
    let expected = plain(path, span, columns, "request_stats", "NULL");
    assert_eq!(total.join("|"), expected.first().map_or("0|0|0|0|0", String::as_str));

    let is_by_day = is_told_by_day(report.hours);
    let moments = report.requests_over_time.iter().filter(|moment| moment.requests > 0);
    let moments = moments.map(|moment| {
        let name = moment.time.replace('T', " ").chars().take(if is_by_day { 10 } else { 13 }).collect::<String>();
        format!("{name}|{}|{}", moment.requests, number(moment.total_tokens))
    });
    let name = format!("substr(timestamp, 1, {})", if is_by_day { 10 } else { 13 });
    let columns = format!("{name}, count(*), ifnull(sum(total_tokens), '-')");
    assert_eq!(lines(moments), plain(path, span, &columns, "request_stats", &name));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever was written, and whenever it was added up: the numbers are those of the rows.
    #[test]
    fn what_is_told_is_what_plain_queries_find(
        batches in prop::collection::vec((prop::collection::vec(request(), 1..12), any::<bool>()), 1..6),
        from in -HOUR..61 * HOUR,
    ) {
        let (_folders, with_sums, mut store) = fresh();
        let (_folder, without, mut plain_store) = fresh();
        for (batch, is_added_up) in &batches {
            store.write(batch).unwrap();
            plain_store.write(batch).unwrap();
            if *is_added_up {
                store.add_up(1).unwrap();
            }
        }
        let span = Span { from: BEGIN + from, to: BEGIN + 61 * HOUR };
        for hours in [61, 200] {
            let told = report(&with_sums, hours, span);
            same_as_plain(&told, &with_sums, span);
            prop_assert_eq!(told, report(&without, hours, span), "percentiles included");
        }
    }
}

#[test]
fn reading_makes_no_file_and_leaves_none_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stats.db");
    let error = read(&path, 1, time(BEGIN)).unwrap_err();
    assert!(matches!(error, ReadError::Missing(_)), "{error}");
    Store::open(&path).unwrap().write(&[row()]).unwrap();
    let names =
        || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(), ["stats.db"]);
    assert_eq!(read(&path, 24, time(DAY + 5)).unwrap().requests.total, 1);
    assert_eq!(names(), ["stats.db"]);
}

#[test]
fn what_is_no_database_of_ours_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in
        [("text.db", "not a database, but long enough to be taken for one".repeat(30)), ("empty.db", String::new())]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        assert!(read(&path, 1, time(BEGIN)).is_err(), "{name}");
    }
    assert!(read(folder.path(), 1, time(BEGIN)).is_err());
}

#[test]
fn a_reader_sees_what_was_just_written_and_writes_nothing() {
    let (_folder, path, mut store) = fresh();
    let mut connection = open(&path).unwrap();
    store.write(&[row()]).unwrap();
    assert_eq!(read(&path, 24, time(DAY + 5)).unwrap().requests.total, 1);
    assert!(connection.batch_execute("DELETE FROM request_stats").is_err());
}

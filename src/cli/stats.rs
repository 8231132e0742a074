//! `uni-api stats`: what `/stats` tells, read from the file, whether the gateway runs or not.

use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use crate::config::aligned;
use crate::stats::report::{Details, Percentiles};
use crate::stats::{Report, read};

/// The statistics are printed.
pub const PRINTED: u8 = 0;
/// There are none.
pub const NONE: u8 = 1;

/// As many rows of a table are printed; `--json` has all of them.
const MAX_ROWS: usize = 20;

/// What to print.
pub struct Question<'a> {
    /// The file; `None` when statistics are switched off.
    pub database: Option<&'a Path>,
    /// How many hours back.
    pub hours: u16,
    /// As JSON, in the form of `/stats`.
    pub json: bool,
}

/// Prints what happened in the hours before `now`. Returns the exit code.
pub fn run(question: &Question, now: SystemTime, out: &mut dyn Write) -> io::Result<u8> {
    let Some(path) = question.database else {
        writeln!(out, "error: statistics are switched off (DISABLE_DATABASE)")?;
        return Ok(NONE);
    };
    match read(path, question.hours, now) {
        Ok(report) if question.json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        Ok(report) => write!(out, "{}", tables(&report))?,
        Err(error) => {
            writeln!(out, "error: {error} (DATABASE_URL names the file)")?;
            return Ok(NONE);
        }
    }
    Ok(PRINTED)
}

type Row = Vec<String>;

fn tables(report: &Report) -> String {
    let all = &report.requests;
    let requests = format!(
        "{}, {} to {}\n\n{} requests: {} succeeded, {} failed, {} cancelled, {} flagged; {} tokens\n",
        report.time_range,
        report.from,
        report.to,
        all.total,
        all.succeeded,
        all.failed,
        all.cancelled,
        all.flagged,
        known(all.tokens.total),
    );
    if all.total == 0 && report.channel_success_rates.is_empty() {
        return requests;
    }
    let measures =
        ["success", "attempts", "failed", "cancelled", "tokens", "first token p50/p95 ms", "total p50/p95 ms"];
    let most_frequent = ["failures"];
    let channels = report.channel_success_rates.iter().map(|rate| {
        let names = vec![name(&rate.provider)];
        [names, measured(rate.success_rate, rate.total_requests, &rate.details), failures(&rate.details)].concat()
    });
    let routes = report.channel_model_success_rates.iter().map(|rate| {
        let names = vec![name(&rate.provider), name(&rate.model)];
        [names, measured(rate.success_rate, rate.total_requests, &rate.details)].concat()
    });
    let models = report
        .model_request_counts
        .iter()
        .map(|of| vec![name(&of.model), of.count.to_string(), percent(of.success_rate), known(of.tokens.total)]);
    let endpoints = report.endpoint_request_counts.iter().map(|of| vec![name(&of.endpoint), of.count.to_string()]);
    let addresses = report.ip_request_counts.iter().map(|of| vec![name(&of.ip), of.count.to_string()]);
    [
        requests,
        table(&[&["channel"], &measures[..], &most_frequent].concat(), channels.collect()),
        table(&[&["channel", "model"], &measures[..]].concat(), routes.collect()),
        table(&["model", "requests", "success", "tokens"], models.collect()),
        table(&["endpoint", "requests"], endpoints.collect()),
        table(&["address", "requests"], addresses.collect()),
    ]
    .join("\n")
}

fn table(titles: &[&str], mut rows: Vec<Row>) -> String {
    let more = rows.len().saturating_sub(MAX_ROWS);
    rows.truncate(MAX_ROWS);
    let titles = titles.iter().map(ToString::to_string).collect();
    let mut text = aligned(&[vec![titles], rows].concat());
    if more > 0 {
        text.push_str(&format!("and {more} more\n"));
    }
    text
}

fn measured(success_rate: Option<f64>, attempts: u64, details: &Details) -> Row {
    vec![
        percent(success_rate),
        attempts.to_string(),
        details.failed.to_string(),
        details.cancelled.to_string(),
        known(details.tokens.total),
        percentiles(details.first_token_ms),
        percentiles(details.total_ms),
    ]
}

fn failures(details: &Details) -> Row {
    let failures = details.outcomes.iter().map(|of| format!("{} {}", of.count, of.outcome));
    vec![failures.collect::<Vec<_>>().join(", ")]
}

fn percentiles(of: Percentiles) -> String {
    format!("{}/{}", known(of.p50), known(of.p95))
}

/// A name as it was stored. Clients choose models: control characters would reach the terminal.
fn name(name: &Option<String>) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    name.as_ref().map_or_else(|| "-".to_owned(), |name| name.chars().map(shown).collect())
}

fn percent(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0))
}

fn known<T: ToString>(number: Option<T>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

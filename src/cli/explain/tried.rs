//! The channels that are tried, in the order of the first request.

use crate::config::aligned;
use crate::routing::Pool;

use super::case::{Case, Way};
use super::{channel_name, settings, turns};

/// The table of a pool, and how the order changes from request to request.
pub(super) fn table(case: &Case, pool: &Pool) -> String {
    let ways = case.ways(pool);
    let has_weights = ways.values().any(|way| way.weights.iter().any(Option::is_some));
    let rows = case.order.iter().enumerate().map(|(at, candidate)| {
        let way = ways.get(&candidate.channel);
        let mut row = vec![
            (at + 1).to_string(),
            channel_name(case.config, candidate.channel),
            candidate.upstream_model.to_string(),
        ];
        row.extend(has_weights.then(|| way.map(Way::weight).unwrap_or_default()));
        row.extend([way.map(Way::because_of).unwrap_or_default(), settings::line(case, candidate)]);
        row
    });
    let rows: Vec<_> = rows.collect();
    let mut titles = vec!["tried", "channel", "model at the channel"];
    titles.extend(has_weights.then_some("weight"));
    titles.push("because of");
    if rows.iter().any(|row| row.last().is_some_and(|settings| !settings.is_empty())) {
        titles.push("settings");
    }
    let titles = titles.into_iter().map(str::to_owned).collect();
    let mut text = aligned(&[vec![titles], rows].concat());
    let turns = turns::lines(case, pool);
    if !turns.is_empty() {
        text.push('\n');
    }
    turns.iter().for_each(|line| text.extend([line, "\n"]));
    text
}

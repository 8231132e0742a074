//! What is special about a channel.

use crate::config::{Breaker, Channel};
use crate::routing::{Candidate, Regions};

use super::case::Case;

/// What differs from the default at a channel that is tried, as far as it matters to the model.
pub(super) fn line(case: &Case, candidate: &Candidate) -> String {
    let Some(channel) = case.config.channel(candidate.channel) else { return String::new() };
    let limit = channel.key_limit.find(&[&candidate.upstream_model, case.model]).map(|(_, limit)| limit);
    let time = channel.limits_for(case.model, &candidate.upstream_model).first_event;
    let rest = channel.rests.channel;
    let parts = [
        slots(channel, &candidate.upstream_model),
        limit.map(|limit| format!("{limit} for each key")),
        (!rest.is_zero()).then(|| format!("rests {} s when it fails", rest.as_secs_f64())),
        breaker(channel.breaker),
        case.common_limits().is_none().then(|| format!("{} s to the first event", time.as_secs_f64())),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Its keys or regions, if there are several.
fn slots(channel: &Channel, upstream_model: &str) -> Option<String> {
    if let Some(vertex) = &channel.vertex {
        let regions = Regions::new(&vertex.regions);
        return match regions.of(upstream_model).count() {
            0 | 1 => None,
            count => Some(format!("{count} regions in turn")),
        };
    }
    match channel.keys.len() {
        0 | 1 => None,
        count => Some(format!("{count} keys by {}", channel.key_schedule.name())),
    }
}

fn breaker(breaker: Option<Breaker>) -> Option<String> {
    match breaker {
        None => Some("breaker off".to_owned()),
        Some(breaker) if breaker == Breaker::default() => None,
        Some(Breaker { failures, open }) => {
            Some(format!("breaker opens after {failures} failures for {} s", open.as_secs_f64()))
        }
    }
}

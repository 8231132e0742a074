//! How often, how many times and how long a request may try.

use std::time::Duration;

use crate::config::{ByModel, MODERATION_MODELS, RateLimit, Retries};

use super::case::Case;
use super::channel_name;

/// The lines below the tables.
pub(super) fn lines(case: &Case) -> String {
    let own = limit(&case.client.rate_limit, case.model);
    let all = limit(&case.config.rate_limit, case.model);
    let retries = match case.client.retries {
        Retries::UntilExhausted => "until every channel was tried".to_owned(),
        Retries::AtMost(0) => "none".to_owned(),
        Retries::AtMost(count) => format!("at most {count}"),
    };
    let mut text = format!("limits: {own} for this key, {all} for all keys\nretries: {retries}\n");
    if case.client.is_moderated {
        text.push_str(&format!("moderated by: {}\n", moderation(case)));
    }
    if !case.order.is_empty() {
        text.push_str(&format!("time: {}\ndeadline: {}\n", time(case), deadline(case)));
    }
    text
}

fn limit(limits: &ByModel<RateLimit>, model: &str) -> String {
    match limits.find(&[model]) {
        None => "none".to_owned(),
        Some((None, limit)) => limit.to_string(),
        Some((Some(entry), limit)) => format!("{limit} (as {entry})"),
    }
}

/// Which models judge the prompt, and where.
fn moderation(case: &Case) -> String {
    let models = MODERATION_MODELS.into_iter().filter_map(|model| {
        let judge = Case::new(case.config, case.client, model);
        let channels = judge.order.iter().map(|candidate| channel_name(case.config, candidate.channel));
        let channels: Vec<String> = channels.collect();
        (!channels.is_empty()).then(|| format!("{model} at {}", channels.join(", ")))
    });
    match models.collect::<Vec<_>>().join("; then ") {
        none if none.is_empty() => {
            format!(
                "{}, if one of the upstreams that are asked for their models has it",
                MODERATION_MODELS.join(" or ")
            )
        }
        models => models,
    }
}

/// The time limits of one attempt.
fn time(case: &Case) -> String {
    match case.common_limits() {
        None => "to the first event as each channel has it".to_owned(),
        Some(limits) => {
            let is_own = case.config.channels.iter().all(|channel| channel.limits != limits);
            let source = if is_own { " (model_timeout)" } else { "" };
            let (first_event, idle) = (seconds(limits.first_event), seconds(limits.idle));
            format!("up to {first_event} s to the first event, {idle} s between events{source}")
        }
    }
}

/// The time limit of all attempts together.
fn deadline(case: &Case) -> String {
    match case.config.deadline {
        Some(deadline) => format!("{} s until the answer begins, over all attempts", seconds(deadline)),
        None => "300 s until the answer begins, over all attempts; more where one may take longer".to_owned(),
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

//! What is told of a span of time: the document that `/stats` answers with and `uni-api stats` prints.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::histogram::Histogram;
use super::span::{DAY, HOUR, Span, floor, written};
use super::tally::{Attempts, Name, Requests, Tally, Tokens};

/// Longer spans are told day by day.
const MAX_HOURS_BY_HOUR: u16 = 168;
/// As many kinds of failure are named for each channel.
const MAX_OUTCOMES: usize = 5;

/// Statistics over a span of time. Every generation of uni-api has told the first five lists; the
/// keys after those of their names and numbers are additions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The span, for people.
    pub time_range: String,
    /// How attempts went, the best first.
    pub channel_model_success_rates: Vec<RouteRate>,
    /// The same over all models.
    pub channel_success_rates: Vec<ChannelRate>,
    /// The models that were asked for, the most wanted first.
    pub model_request_counts: Vec<ModelCount>,
    /// Where requests came in.
    pub endpoint_request_counts: Vec<EndpointCount>,
    /// Where requests came from.
    pub ip_request_counts: Vec<AddressCount>,
    /// The length of the span.
    pub hours: u16,
    /// The first second, in UTC.
    pub from: String,
    /// The second after the last, in UTC.
    pub to: String,
    /// All requests.
    pub requests: RequestTotals,
    /// Requests by hours, by days in a span of more than a week; the oldest first.
    pub requests_over_time: Vec<Moment>,
}

/// A model at a channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteRate {
    /// The channel.
    pub provider: Name,
    /// The model that the client asked for.
    pub model: Name,
    /// The share of whole answers in what was not cancelled; `None` when all of it was.
    pub success_rate: Option<f64>,
    /// Attempts.
    pub total_requests: u64,
    /// More about them.
    #[serde(flatten)]
    pub details: Details,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChannelRate {
    /// The channel.
    pub provider: Name,
    /// The share of whole answers in what was not cancelled; `None` when all of it was.
    pub success_rate: Option<f64>,
    /// Attempts.
    pub total_requests: u64,
    /// More about them.
    #[serde(flatten)]
    pub details: Details,
}

/// What is told of a channel beside how often it succeeded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Details {
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts that ended because the client left.
    pub cancelled: u64,
    /// The most frequent kinds of failure.
    pub outcomes: Vec<OutcomeCount>,
    /// Requests that it answered.
    pub requests: u64,
    /// What they used.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// From the request to the first event of its answer.
    pub first_token_ms: Percentiles,
    /// From the request to the end of its answer.
    pub total_ms: Percentiles,
}

/// A kind of failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutcomeCount {
    /// Its code.
    pub outcome: String,
    /// How often.
    pub count: u64,
}

/// Lengths in milliseconds, at most 3.2 % off; `None` when there were none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Half of them were not longer.
    pub p50: Option<u32>,
    /// 95 of 100 were not longer.
    pub p95: Option<u32>,
}

/// Requests for a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelCount {
    /// The model; `None` for requests that named none.
    pub model: Name,
    /// Requests.
    pub count: u64,
    /// The share of whole answers in what was not cancelled.
    pub success_rate: Option<f64>,
    /// What they used.
    #[serde(flatten)]
    pub tokens: Tokens,
}

/// Requests at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointCount {
    /// Method and path.
    pub endpoint: Name,
    /// Requests.
    pub count: u64,
}

/// Requests from an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressCount {
    /// The client's address.
    pub ip: Name,
    /// Requests.
    pub count: u64,
}

/// All requests of a span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestTotals {
    /// All of them.
    pub total: u64,
    /// Those whose client got a whole answer.
    pub succeeded: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those whose client left.
    pub cancelled: u64,
    /// Those that did not pass moderation.
    pub flagged: u64,
    /// What they used.
    #[serde(flatten)]
    pub tokens: Tokens,
}

/// The requests of an hour or a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// When it begins, in UTC.
    pub time: String,
    /// Requests.
    pub requests: u64,
    /// Those whose client got a whole answer.
    pub succeeded: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those whose client left.
    pub cancelled: u64,
    /// What they used; `None` where no provider told.
    pub total_tokens: Option<i64>,
}

/// Whether so many hours are told day by day.
pub fn is_told_by_day(hours: u16) -> bool {
    hours > MAX_HOURS_BY_HOUR
}

impl Report {
    /// Adds up the tallies of the parts of a span, given with their first seconds where these are known.
    pub fn new(hours: u16, span: Span, parts: impl IntoIterator<Item = (Option<i64>, Tally)>) -> Self {
        let step = if is_told_by_day(hours) { DAY } else { HOUR };
        let starts = (floor(span.from, step)..span.to).step_by(usize::try_from(step).unwrap_or(1));
        let empty = |start| (start, Moment { time: written(start), ..Moment::default() });
        let mut moments: BTreeMap<i64, Moment> = starts.map(empty).collect();
        let mut whole = Tally::default();
        for (start, tally) in parts {
            if let Some(moment) = start.and_then(|start| moments.get_mut(&floor(start, step))) {
                tally.requests.values().for_each(|requests| moment.add(requests));
            }
            whole.merge(tally);
        }
        Self::of(hours, span, &whole, moments.into_values().collect())
    }

    fn of(hours: u16, span: Span, tally: &Tally, requests_over_time: Vec<Moment>) -> Self {
        Self {
            time_range: match hours {
                1 => "Last 1 hour".to_owned(),
                hours => format!("Last {hours} hours"),
            },
            channel_model_success_rates: by_route(tally),
            channel_success_rates: by_channel(tally),
            model_request_counts: by_model(tally),
            endpoint_request_counts: by_count(&tally.endpoints, |endpoint, count| EndpointCount { endpoint, count }),
            ip_request_counts: by_count(&tally.addresses, |ip, count| AddressCount { ip, count }),
            hours,
            from: written(span.from),
            to: written(span.to),
            requests: totals(tally),
            requests_over_time,
        }
    }
}

impl Moment {
    fn add(&mut self, requests: &Requests) {
        self.requests += requests.total;
        self.succeeded += requests.succeeded;
        self.failed += requests.failed;
        self.cancelled += requests.cancelled;
        if let Some(tokens) = requests.tokens.total {
            self.total_tokens = Some(self.total_tokens.unwrap_or_default().saturating_add(tokens));
        }
    }
}

fn by_route(tally: &Tally) -> Vec<RouteRate> {
    let unanswered = Requests::default();
    let rate = |(route, attempts): (&(Name, Name), &Attempts)| RouteRate {
        provider: route.0.clone(),
        model: route.1.clone(),
        success_rate: share(attempts.succeeded, attempts.failed()),
        total_requests: attempts.total(),
        details: Details::of(attempts, tally.requests.get(route).unwrap_or(&unanswered)),
    };
    let mut rates: Vec<_> = tally.attempts.iter().map(rate).collect();
    rates.sort_by(|one, other| {
        best_first((one.success_rate, one.total_requests), (other.success_rate, other.total_requests))
            .then_with(|| (&one.provider, &one.model).cmp(&(&other.provider, &other.model)))
    });
    rates
}

fn by_channel(tally: &Tally) -> Vec<ChannelRate> {
    let mut channels: HashMap<&Name, (Attempts, Requests)> = HashMap::new();
    for ((provider, _), attempts) in &tally.attempts {
        channels.entry(provider).or_default().0.merge(attempts.clone());
    }
    for ((provider, _), requests) in &tally.requests {
        if let Some((_, of_channel)) = channels.get_mut(provider) {
            of_channel.merge(requests);
        }
    }
    let rate = |(provider, (attempts, requests)): (&Name, (Attempts, Requests))| ChannelRate {
        provider: provider.clone(),
        success_rate: share(attempts.succeeded, attempts.failed()),
        total_requests: attempts.total(),
        details: Details::of(&attempts, &requests),
    };
    let mut rates: Vec<_> = channels.into_iter().map(rate).collect();
    rates.sort_by(|one, other| {
        best_first((one.success_rate, one.total_requests), (other.success_rate, other.total_requests))
            .then_with(|| one.provider.cmp(&other.provider))
    });
    rates
}

impl Details {
    fn of(attempts: &Attempts, requests: &Requests) -> Self {
        let outcomes = attempts.failures.iter();
        let outcomes = outcomes.filter_map(|(outcome, count)| outcome.clone().map(|outcome| (outcome, *count)));
        let mut outcomes: Vec<_> = outcomes.map(|(outcome, count)| OutcomeCount { outcome, count }).collect();
        outcomes.sort_by(|one, other| (Reverse(one.count), &one.outcome).cmp(&(Reverse(other.count), &other.outcome)));
        outcomes.truncate(MAX_OUTCOMES);
        Self {
            failed: attempts.failed(),
            cancelled: attempts.cancelled,
            outcomes,
            requests: requests.total,
            tokens: requests.tokens,
            first_token_ms: Percentiles::of(&requests.first_token),
            total_ms: Percentiles::of(&requests.whole),
        }
    }
}

impl Percentiles {
    fn of(lengths: &Histogram) -> Self {
        Self { p50: lengths.percentile(50), p95: lengths.percentile(95) }
    }
}

fn by_model(tally: &Tally) -> Vec<ModelCount> {
    let mut models: HashMap<&Name, Requests> = HashMap::new();
    for ((_, model), requests) in &tally.requests {
        models.entry(model).or_default().merge(requests);
    }
    let count = |(model, requests): (&Name, Requests)| ModelCount {
        model: model.clone(),
        count: requests.total,
        success_rate: share(requests.succeeded, requests.failed),
        tokens: requests.tokens,
    };
    let mut counts: Vec<_> = models.into_iter().map(count).collect();
    counts.sort_by(|one, other| (Reverse(one.count), &one.model).cmp(&(Reverse(other.count), &other.model)));
    counts
}

fn by_count<T>(counts: &HashMap<Name, u64>, told: impl Fn(Name, u64) -> T) -> Vec<T> {
    let mut counts: Vec<(&Name, u64)> = counts.iter().map(|(name, count)| (name, *count)).collect();
    counts.sort_by_key(|(name, count)| (Reverse(*count), *name));
    counts.into_iter().map(|(name, count)| told(name.clone(), count)).collect()
}

fn totals(tally: &Tally) -> RequestTotals {
    let mut all = Requests::default();
    tally.requests.values().for_each(|requests| all.merge(requests));
    let Requests { total, succeeded, failed, cancelled, flagged, tokens, .. } = all;
    RequestTotals { total, succeeded, failed, cancelled, flagged, tokens }
}

fn share(succeeded: u64, failed: u64) -> Option<f64> {
    let exact = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    (succeeded + failed > 0).then(|| exact(succeeded) / exact(succeeded + failed))
}

/// By rate, those without one last, then by number.
fn best_first((rate, total): (Option<f64>, u64), (other_rate, other_total): (Option<f64>, u64)) -> Ordering {
    let known = |rate: Option<f64>| rate.unwrap_or(-1.0);
    known(other_rate).total_cmp(&known(rate)).then(other_total.cmp(&total))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(name: &str) -> Name {
        Some(name.to_owned())
    }

    fn attempts(succeeded: u64, cancelled: u64, failures: &[(&str, u64)]) -> Attempts {
        let failures = failures.iter().map(|(outcome, count)| (name(outcome), *count)).collect();
        Attempts { succeeded, cancelled, failures }
    }

    fn requests(total: u64, tokens: Option<i64>) -> Requests {
        let tokens = Tokens { total: tokens, ..Tokens::default() };
        let mut requests = Requests { total, succeeded: total, tokens, ..Requests::default() };
        requests.first_token.add(20);
        requests
    }

    #[test]
    fn channels_are_told_the_best_first_and_those_without_a_rate_last() {
        let mut tally = Tally::default();
        for (provider, model, of) in [
            ("a", "x", attempts(0, 3, &[])),
            ("b", "x", attempts(1, 0, &[("e1", 1)])),
            ("c", "y", attempts(2, 1, &[])),
            ("b", "y", attempts(5, 0, &[])),
        ] {
            tally.attempts.insert((name(provider), name(model)), of);
        }
        tally.requests.insert((name("b"), name("y")), requests(5, Some(10)));
        tally.requests.insert((None, name("y")), requests(7, None));
        let report = Report::new(24, Span { from: 0, to: DAY }, [(Some(0), tally)]);

        let routes = report.channel_model_success_rates.iter();
        let routes: Vec<_> = routes
            .map(|rate| (rate.provider.as_deref().unwrap(), rate.model.as_deref().unwrap(), rate.success_rate))
            .collect();
        let expected = [("b", "y", Some(1.0)), ("c", "y", Some(1.0)), ("b", "x", Some(0.5)), ("a", "x", None::<f64>)];
        assert_eq!(routes, expected);
        let channels = serde_json::to_value(&report.channel_success_rates).unwrap();
        assert_eq!(channels[1]["provider"], "b");
        assert_eq!(channels[1]["total_requests"], 7);
        assert_eq!(channels[1]["outcomes"], json!([{"outcome": "e1", "count": 1}]));
        assert_eq!(channels[1]["total_tokens"], 10);
        assert_eq!(channels[1]["first_token_ms"], json!({"p50": 20, "p95": 20}));
        assert_eq!(channels[1]["total_ms"], json!({"p50": null, "p95": null}));
        assert_eq!((report.model_request_counts[0].count, report.requests.total), (12, 12));
    }

    #[test]
    fn gaps_are_zeros_and_long_spans_are_told_by_days() {
        let mut tally = Tally::default();
        tally.requests.insert((None, None), requests(2, Some(3)));
        let span = Span { from: 10 * HOUR - 5, to: 12 * HOUR - 5 };
        let told = Report::new(2, span, [(Some(10 * HOUR), tally.clone())]).requests_over_time;
        let told: Vec<_> = told.iter().map(|moment| (&*moment.time, moment.requests, moment.total_tokens)).collect();
        let expected = [
            ("1970-01-01T09:00:00Z", 0, None),
            ("1970-01-01T10:00:00Z", 2, Some(3)),
            ("1970-01-01T11:00:00Z", 0, None),
        ];
        assert_eq!(told, expected);
        let long = Report::new(169, Span { from: 0, to: 169 * HOUR }, [(Some(30 * HOUR), tally)]).requests_over_time;
        assert_eq!((long.len(), long[1].requests, &*long[1].time), (8, 2, "1970-01-02T00:00:00Z"));
    }
}

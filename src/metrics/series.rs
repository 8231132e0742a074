//! What is counted of providers and their models.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::HashMap;

use crate::canon::Usage;

use super::counters::{Counters, Histogram, Sharded, Times, sums};
use super::ending::{ENDINGS, Ending, by_code};
use super::text::{Kind, Text};
use super::{Metrics, UNLISTED};

/// A provider and a model.
pub type Place = (Arc<str>, Arc<str>);

/// One model of a provider.
#[derive(Default)]
pub struct Series(Sharded<Counts>);

#[derive(Default)]
struct Counts {
    attempts: Counters<ENDINGS>,
    tokens: Counters<{ TOKENS.len() }>,
    first_token: Histogram,
    answer: Histogram,
}

const TOKENS: [&str; 4] = ["prompt", "completion", "cached", "reasoning"];

impl Series {
    /// An attempt is over.
    pub fn attempt(&self, ending: Ending) {
        self.0.mine().attempts.add(ending.place(), 1);
    }

    /// A request was answered, whole or not: what it used, how long it took, and how long until the
    /// first piece if the answer came in pieces. Times count from the request.
    pub fn answer(&self, usage: Option<Usage>, first_piece: Option<Duration>, time: Duration) {
        let counts = self.0.mine();
        if let Some(usage) = usage {
            let tokens = [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens];
            for (place, count) in tokens.into_iter().enumerate() {
                if let Some(count) = count.and_then(|count| u64::try_from(count).ok()) {
                    counts.tokens.add(place, count);
                }
            }
        }
        if let Some(time) = first_piece {
            counts.first_token.add(time);
        }
        counts.answer.add(time);
    }
}

/// The models of one channel, as far as the configuration lists them.
pub struct ProviderSeries {
    metrics: Arc<Metrics>,
    provider: Arc<str>,
    listed: HashMap<Arc<str>, OnceLock<Arc<Series>>>,
    unlisted: OnceLock<Arc<Series>>,
}

impl ProviderSeries {
    /// Of this provider, which lists these aliases. Those of another channel of the same name count
    /// together with them.
    pub fn new(metrics: Arc<Metrics>, provider: Arc<str>, listed: impl IntoIterator<Item = Arc<str>>) -> Self {
        let listed = listed.into_iter().map(|alias| (alias, OnceLock::new())).collect();
        Self { metrics, provider, listed, unlisted: OnceLock::new() }
    }

    /// What counts for an alias; nothing is made of a name that is not listed.
    pub fn of(&self, alias: &str) -> &Arc<Series> {
        match self.listed.get_key_value(alias) {
            Some((alias, series)) => series.get_or_init(|| self.metrics.series(&self.provider, alias)),
            None => self.unlisted.get_or_init(|| self.metrics.series(&self.provider, &UNLISTED.into())),
        }
    }
}

/// Writes down series by provider and model.
pub fn write(series: &BTreeMap<Place, Arc<Series>>, text: &mut Text) {
    let series = || {
        series.iter().map(|((provider, model), series)| ([("provider", &**provider), ("model", &**model)], &series.0))
    };
    text.family(
        "attempts_total",
        Kind::Counter,
        "Attempts that are over, by outcome: ok, cancelled (the client left) or an error code.",
    );
    for ([provider, model], counts) in series() {
        for (code, count) in by_code(&sums(counts.all().map(|counts| &counts.attempts))) {
            text.sample(&[provider, model, ("outcome", code)], count);
        }
    }
    text.family(
        "tokens_total",
        Kind::Counter,
        "Tokens as providers count them. Cached ones are among those of the prompt, those of thoughts among those of \
         the completion.",
    );
    for ([provider, model], counts) in series() {
        for (kind, count) in TOKENS.into_iter().zip(sums(counts.all().map(|counts| &counts.tokens))) {
            text.sample(&[provider, model, ("kind", kind)], count);
        }
    }
    text.family(
        "first_token_seconds",
        Kind::Histogram,
        "From a request to the beginning of its answer, failed attempts included, where the answer came in pieces.",
    );
    for (labels, counts) in series() {
        text.times(&labels, &Times::of(counts.all().map(|counts| &counts.first_token)));
    }
    text.family(
        "answer_seconds",
        Kind::Histogram,
        "From a request to the end of its answer, failed attempts included, where there was an answer.",
    );
    for (labels, counts) in series() {
        text.times(&labels, &Times::of(counts.all().map(|counts| &counts.answer)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_one_name_and_their_successors_count_together() {
        let metrics = Arc::<Metrics>::default();
        let channel = |aliases: &[&str]| {
            ProviderSeries::new(Arc::clone(&metrics), "p".into(), aliases.iter().map(|alias| Arc::from(*alias)))
        };
        let (one, other) = (channel(&["a", "b"]), channel(&["b"]));
        assert!(Arc::ptr_eq(one.of("b"), other.of("b")) && Arc::ptr_eq(one.of("x"), other.of("a")));
        assert!(!Arc::ptr_eq(one.of("a"), other.of("a")));
    }

    #[test]
    fn counts_below_zero_are_none() {
        let series = Series::default();
        let usage = Usage { cached_tokens: Some(-1), ..Usage::of(Some(3), Some(4)) };
        series.answer(Some(usage), None, Duration::from_secs(1));
        assert_eq!(sums(series.0.all().map(|counts| &counts.tokens)), [3, 4, 0, 0]);
    }
}

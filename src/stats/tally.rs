//! Everything that is counted over a span of time. Tallies of parts [add up](Tally::merge) to that of
//! the whole, so that rows need to be counted only once.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;

/// A column that may be NULL.
pub type Name = Option<String>;

/// A channel and a model there.
pub type Route = (Name, Name);

/// What happened in a span of time. Kept as JSON in the table `stats_sums`: whoever changes its form
/// has to empty that table in a migration, and to set `added_up` back to 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests, by the channel that answered and the model that was asked for.
    #[serde(with = "pairs")]
    pub requests: HashMap<Route, Requests>,
    /// Attempts, by channel and model.
    #[serde(with = "pairs")]
    pub attempts: HashMap<Route, Attempts>,
    /// Requests, by method and path.
    #[serde(with = "pairs")]
    pub endpoints: HashMap<Name, u64>,
    /// Requests, by the client's address.
    #[serde(with = "pairs")]
    pub addresses: HashMap<Name, u64>,
}

/// What became of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requests {
    /// All of them.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// Those whose client got a whole answer.
    #[serde(skip_serializing_if = "is_zero")]
    pub succeeded: u64,
    /// Those that failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// Those whose client left. What an older version wrote is none of the three.
    #[serde(skip_serializing_if = "is_zero")]
    pub cancelled: u64,
    /// Those that did not pass moderation.
    #[serde(skip_serializing_if = "is_zero")]
    pub flagged: u64,
    /// What they used.
    pub tokens: Tokens,
    /// From the request to the first event of the answer.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub first_token: Histogram,
    /// From the request to the end of the answer, of those that got one.
    #[serde(skip_serializing_if = "Histogram::is_empty")]
    pub whole: Histogram,
}

/// Sums of tokens; `None` where no provider ever told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Of the prompts.
    #[serde(rename = "prompt_tokens")]
    pub prompt: Option<i64>,
    /// Of the answers.
    #[serde(rename = "completion_tokens")]
    pub completion: Option<i64>,
    /// Of both.
    #[serde(rename = "total_tokens")]
    pub total: Option<i64>,
    /// Those of the prompts that came from a cache.
    #[serde(rename = "cached_tokens")]
    pub cached: Option<i64>,
    /// Those of the answers that were thoughts.
    #[serde(rename = "reasoning_tokens")]
    pub reasoning: Option<i64>,
}

/// What became of attempts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempts {
    /// Those that ended with a whole answer.
    #[serde(skip_serializing_if = "is_zero")]
    pub succeeded: u64,
    /// Those that ended because the client left.
    #[serde(skip_serializing_if = "is_zero")]
    pub cancelled: u64,
    /// Those that failed, by the code of the failure, which older versions did not write.
    #[serde(with = "pairs", skip_serializing_if = "HashMap::is_empty")]
    pub failures: HashMap<Name, u64>,
}

impl Tally {
    /// Counts all that `other` has counted.
    pub fn merge(&mut self, other: Self) {
        for (route, requests) in other.requests {
            self.requests.entry(route).or_default().merge(&requests);
        }
        for (route, attempts) in other.attempts {
            self.attempts.entry(route).or_default().merge(attempts);
        }
        add_counts(&mut self.endpoints, other.endpoints);
        add_counts(&mut self.addresses, other.addresses);
    }
}

impl Requests {
    /// Counts all that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        self.total += other.total;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.flagged += other.flagged;
        self.tokens.add(other.tokens);
        self.first_token.merge(&other.first_token);
        self.whole.merge(&other.whole);
    }
}

impl Tokens {
    /// Adds what is told; a sum of which nothing was told stays unknown.
    pub fn add(&mut self, other: Self) {
        let sum = |one: Option<i64>, other: Option<i64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        self.prompt = sum(self.prompt, other.prompt);
        self.completion = sum(self.completion, other.completion);
        self.total = sum(self.total, other.total);
        self.cached = sum(self.cached, other.cached);
        self.reasoning = sum(self.reasoning, other.reasoning);
    }
}

impl Attempts {
    /// Counts all that `other` has counted.
    pub fn merge(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.cancelled += other.cancelled;
        add_counts(&mut self.failures, other.failures);
    }

    /// How many failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.succeeded + self.failed() + self.cancelled
    }
}

fn add_counts<K: Eq + Hash>(counts: &mut HashMap<K, u64>, others: HashMap<K, u64>) {
    for (name, count) in others {
        *counts.entry(name).or_default() += count;
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Maps whose keys are no text, as lists of pairs.
mod pairs {
    use std::collections::HashMap;
    use std::hash::Hash;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &HashMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<HashMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Eq + Hash,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}

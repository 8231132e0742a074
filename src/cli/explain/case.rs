//! What routing has to say of a client key and a model.

use std::collections::HashMap;
use std::sync::Arc;

use fastrand::Rng;

use crate::config::{ChannelId, ClientKey, Config, ModelName, ModelSource, TimeLimits, rule_name};
use crate::routing::{Candidate, Entry, Line, Pool, Switchboard, Usable};

/// Makes what is drawn the same each time.
const SEED: u64 = 1;

/// A client key asks for a model.
pub(super) struct Case<'a> {
    pub config: &'a Config,
    pub client: &'a Arc<ClientKey>,
    pub model: &'a str,
    /// The channels that it has for the model when the gateway has just started.
    pub pool: Option<Pool>,
    /// In the order in which the first request tries them.
    pub order: Vec<Candidate>,
    /// Those that it would have if every upstream that is asked for its models had this one.
    pub at_most: Option<Pool>,
    /// Every model that it may use when the gateway has just started.
    usable: Vec<Usable>,
}

/// How a channel came into a pool: by one rule, or where keys are rules by one after the other.
pub(super) struct Way {
    pub rules: Vec<String>,
    pub weights: Vec<Option<u32>>,
}

impl<'a> Case<'a> {
    pub fn new(config: &'a Config, client: &'a Arc<ClientKey>, model: &'a str) -> Self {
        let mut known = switchboard(config, None);
        let usable = known.usable(client, &config.client_keys);
        let pool = known.pool(client, &config.client_keys, model).cloned();
        let plan = pool.clone().map(|mut pool| pool.next(&mut Rng::with_seed(SEED)));
        let order = plan.iter().flat_map(|plan| plan.in_order()).cloned().collect();
        let at_most = switchboard(config, Some(model)).pool(client, &config.client_keys, model).cloned();
        Self { config, client, model, pool, order, at_most, usable }
    }

    /// Every model that the key may use, as far as it is known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.usable.iter().map(|usable| &*usable.alias)
    }

    /// The time limits of an attempt, if they are the same at all channels that are tried.
    pub fn common_limits(&self) -> Option<TimeLimits> {
        let mut limits = self.order.iter().filter_map(|candidate| {
            let channel = self.config.channel(candidate.channel)?;
            Some(channel.limits_for(self.model, &candidate.upstream_model))
        });
        let first = limits.next()?;
        limits.all(|other| other == first).then_some(first)
    }

    /// How the channels of a pool of this key came into it.
    pub fn ways(&self, pool: &Pool) -> HashMap<ChannelId, Way> {
        let mut ways = HashMap::new();
        self.add_ways(pool, self.client, &mut Vec::new(), &mut ways);
        ways
    }

    fn add_ways(
        &self,
        pool: &Pool,
        client: &ClientKey,
        before: &mut Vec<(String, Option<u32>)>,
        ways: &mut HashMap<ChannelId, Way>,
    ) {
        for member in pool.members() {
            let rule = client.rules.get(member.rule).map(|rule| rule_name(&rule.target, &self.config.client_keys));
            before.push((rule.unwrap_or_default(), member.weight));
            match &member.entry {
                Entry::Channel(candidate) => {
                    let (rules, weights) = before.iter().cloned().unzip();
                    ways.insert(candidate.channel, Way { rules, weights });
                }
                Entry::Client(key, pool) => {
                    if let Some(client) = self.config.client_keys.get(*key) {
                        self.add_ways(pool, client, before, ways);
                    }
                }
            }
            before.pop();
        }
    }
}

impl Way {
    /// Its rules.
    pub fn because_of(&self) -> String {
        self.rules.join(" → ")
    }

    /// Its weights, if there are any.
    pub fn weight(&self) -> String {
        if self.weights.iter().all(Option::is_none) {
            return String::new();
        }
        let weights = self.weights.iter().map(|weight| weight.map_or("-".to_owned(), |weight| weight.to_string()));
        weights.collect::<Vec<_>>().join(" → ")
    }
}

/// The Router's switchboard, before any upstream was asked for its models. `unlisted` is a model that
/// all of those are taken to have.
fn switchboard(config: &Config, unlisted: Option<&str>) -> Switchboard {
    let same_name = |name: &str| ModelName { alias: name.into(), upstream: name.into() };
    let lines = config.channels.iter().map(|channel| Line {
        channel: channel.id,
        name: Arc::clone(&channel.name),
        models: match &channel.models {
            ModelSource::Listed(models) => models.clone(),
            ModelSource::Discovered => unlisted.map(same_name).into_iter().collect(),
        },
    });
    Switchboard::new(lines.collect())
}

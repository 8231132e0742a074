//! What a client key may use: its rules, expanded over the channels.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::{ChannelId, ModelName, Rule, RuleTarget};

use super::plan::Candidate;

/// One channel's offer as rules see it.
pub struct Offer<'a> {
    /// Which channel.
    pub channel: ChannelId,
    /// Its name.
    pub name: &'a str,
    /// Its models.
    pub models: &'a [ModelName],
}

/// The channels that `rules` allow for `alias`: in the order of the rules, then of the channels.
/// A channel that two rules match keeps its first place.
pub fn candidates(rules: &[Rule], offers: &[Offer<'_>], alias: &str) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    for rule in rules {
        for offer in offers {
            let Some(model) = offer.models.iter().find(|model| &*model.alias == alias) else { continue };
            let is_new = found.iter().all(|candidate| candidate.channel != offer.channel);
            if is_new && allows(&rule.target, offer.name, alias) {
                found.push(Candidate { channel: offer.channel, upstream_model: Arc::clone(&model.upstream) });
            }
        }
    }
    found
}

/// Every alias that `rules` allow, each once, in the order of the rules, then of the channels.
pub fn aliases(rules: &[Rule], offers: &[Offer<'_>]) -> Vec<Arc<str>> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for rule in rules {
        for offer in offers {
            for model in offer.models {
                if allows(&rule.target, offer.name, &model.alias) && seen.insert(Arc::clone(&model.alias)) {
                    found.push(Arc::clone(&model.alias));
                }
            }
        }
    }
    found
}

fn allows(target: &RuleTarget, channel: &str, alias: &str) -> bool {
    match target {
        RuleTarget::Everything => true,
        RuleTarget::Model(wanted) => &**wanted == alias,
        RuleTarget::Provider(provider) => &**provider == channel,
        RuleTarget::Client { .. } => false,
        RuleTarget::ProviderModel { provider, alias: wanted } => &**provider == channel && &**wanted == alias,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(names: &[&str]) -> Vec<ModelName> {
        names.iter().map(|name| ModelName { alias: (*name).into(), upstream: (*name).into() }).collect()
    }

    fn rule(target: RuleTarget) -> Rule {
        Rule { target, weight: None }
    }

    fn order(rules: &[Rule], alias: &str) -> Vec<usize> {
        let (a, b, c) = (models(&["x", "y"]), models(&["x", "a/x"]), models(&["x", "a/x"]));
        let offers = [
            Offer { channel: ChannelId(0), name: "a", models: &a },
            Offer { channel: ChannelId(1), name: "b", models: &b },
            Offer { channel: ChannelId(2), name: "b", models: &c },
        ];
        candidates(rules, &offers, alias).iter().map(|candidate| candidate.channel.0).collect()
    }

    #[test]
    fn a_bare_model_is_allowed_at_every_channel_that_offers_it() {
        assert_eq!(order(&[rule(RuleTarget::Model("x".into()))], "x"), [0, 1, 2]);
        assert_eq!(order(&[rule(RuleTarget::Model("x".into()))], "y"), [0; 0]);
    }

    #[test]
    fn a_provider_rule_means_all_channels_of_that_name() {
        assert_eq!(order(&[rule(RuleTarget::Provider("b".into()))], "x"), [1, 2]);
    }

    #[test]
    fn provider_and_alias_is_not_the_alias_with_a_slash() {
        let at_a = RuleTarget::ProviderModel { provider: "a".into(), alias: "x".into() };
        assert_eq!(order(&[rule(at_a.clone())], "x"), [0]);
        assert_eq!(order(&[rule(at_a)], "a/x"), [0; 0]);
        assert_eq!(order(&[rule(RuleTarget::Model("a/x".into()))], "a/x"), [1, 2]);
    }

    #[test]
    fn rules_give_the_order_and_a_duplicate_keeps_its_first_place() {
        let rules = [rule(RuleTarget::Provider("b".into())), rule(RuleTarget::Everything)];
        assert_eq!(order(&rules, "x"), [1, 2, 0]);
    }
}

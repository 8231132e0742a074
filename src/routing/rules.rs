//! What a client key may use: its rules, expanded over the channels.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::{ChannelId, ClientKey, ClientKeys, Fingerprint, ModelName, RuleTarget};

use super::plan::Candidate;
use super::pool::{Entry, Member, Pool};

/// One channel's offer as rules see it.
pub struct Offer<'a> {
    /// Which channel.
    pub channel: ChannelId,
    /// Its name.
    pub name: &'a str,
    /// Its models.
    pub models: &'a [ModelName],
}

/// A model that a client key may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    /// Its alias.
    pub alias: Arc<str>,
    /// The first channel that has it.
    pub provider: Arc<str>,
}

/// Everything that rules are expanded over.
pub struct Ground<'a> {
    /// What the channels offer, in the order of the configuration.
    pub offers: &'a [Offer<'a>],
    /// The client keys, for rules that name one.
    pub clients: &'a ClientKeys,
}

impl Ground<'_> {
    /// The channels that a client key has for `alias`, in the order of its rules, then of the
    /// channels. One that two rules match keeps its first place, and the first weight it is given.
    pub fn pool(&self, client: &ClientKey, alias: &str) -> Option<Pool> {
        self.pool_but_for(client, alias, &mut Seen::default())
    }

    fn pool_but_for(&self, client: &ClientKey, alias: &str, seen: &mut Seen) -> Option<Pool> {
        let mut members: Vec<Member> = Vec::new();
        for (position, rule) in client.rules.iter().enumerate() {
            if let RuleTarget::Client { key, alias: only } = &rule.target {
                let is_meant = only.as_deref().is_none_or(|only| only == alias) && seen.clients.insert(*key);
                let other = self.clients.get(*key).filter(|_| is_meant);
                if let Some(pool) = other.and_then(|other| self.pool_but_for(other, alias, seen)) {
                    members.push(Member { entry: Entry::Client(*key, pool), weight: rule.weight, rule: position });
                }
                continue;
            }
            for offer in self.offers {
                let Some(model) = offer.models.iter().find(|model| &*model.alias == alias) else { continue };
                if !allows(&rule.target, offer.name, alias) {
                    continue;
                }
                if seen.channels.insert(offer.channel) {
                    let upstream_model = Arc::clone(&model.upstream);
                    let entry = Entry::Channel(Candidate { channel: offer.channel, upstream_model });
                    members.push(Member { entry, weight: rule.weight, rule: position });
                } else if let Some(member) = members.iter_mut().find(|member| member.is_channel(offer.channel)) {
                    member.weight = member.weight.or(rule.weight);
                }
            }
        }
        Pool::new(client.schedule, members)
    }

    /// Every model that a client key may use, each once, in the order of its rules, then of the
    /// channels.
    pub fn usable(&self, client: &ClientKey) -> Vec<Usable> {
        let mut list = List::default();
        self.list(client, None, &mut list);
        list.found
    }

    /// Lists what a client key may use, or of that a single alias.
    fn list(&self, client: &ClientKey, only: Option<&Arc<str>>, list: &mut List) {
        if !list.visited.insert((client.id, only.cloned())) {
            return;
        }
        for rule in &client.rules {
            if let RuleTarget::Client { key, alias } = &rule.target {
                let is_meant = only.is_none() || alias.is_none() || alias.as_ref() == only;
                if let Some(other) = self.clients.get(*key).filter(|_| is_meant) {
                    self.list(other, only.or(alias.as_ref()), list);
                }
                continue;
            }
            for offer in self.offers {
                for ModelName { alias, .. } in offer.models {
                    let is_allowed = only.is_none_or(|only| only == alias) && allows(&rule.target, offer.name, alias);
                    if is_allowed && list.seen.insert(Arc::clone(alias)) {
                        list.found.push(Usable { alias: Arc::clone(alias), provider: offer.name.into() });
                    }
                }
            }
        }
    }
}

/// What is in a pool already. Many ways may lead to the same key, and the first one counts.
#[derive(Default)]
struct Seen {
    channels: HashSet<ChannelId>,
    clients: HashSet<Fingerprint>,
}

/// Models found so far, and where they were looked for.
#[derive(Default)]
struct List {
    found: Vec<Usable>,
    seen: HashSet<Arc<str>>,
    visited: HashSet<(usize, Option<Arc<str>>)>,
}

/// Whether a rule allows an alias of a channel. What another client key may use is decided by its
/// own rules.
fn allows(target: &RuleTarget, channel: &str, alias: &str) -> bool {
    match target {
        RuleTarget::Everything => true,
        RuleTarget::Model(wanted) => &**wanted == alias,
        RuleTarget::Provider(provider) => &**provider == channel,
        RuleTarget::ProviderModel { provider, alias: wanted } => &**provider == channel && &**wanted == alias,
        RuleTarget::Client { .. } => false,
    }
}

impl Member {
    fn is_channel(&self, channel: ChannelId) -> bool {
        matches!(&self.entry, Entry::Channel(candidate) if candidate.channel == channel)
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::config::{Rule, Schedule};
    use crate::routing::tests::client;

    fn models(names: &[&str]) -> Vec<ModelName> {
        names.iter().map(|name| ModelName { alias: (*name).into(), upstream: (*name).into() }).collect()
    }

    fn rule(target: RuleTarget) -> Rule {
        Rule { target, weight: None }
    }

    /// Asks as the first of these keys; each has its rules and names the next ones.
    fn with_ground<T>(rules: Vec<Vec<Rule>>, ask: impl FnOnce(&Ground<'_>, &ClientKey) -> T) -> T {
        let (a, b, c) = (models(&["x", "y"]), models(&["x", "a/x"]), models(&["x", "a/x"]));
        let offers = [
            Offer { channel: ChannelId(0), name: "a", models: &a },
            Offer { channel: ChannelId(1), name: "b", models: &b },
            Offer { channel: ChannelId(2), name: "b", models: &c },
        ];
        let keys = rules.into_iter().enumerate();
        let keys = keys.map(|(id, rules)| ClientKey { rules, ..client(id, Schedule::FixedPriority) });
        let clients = ClientKeys::new(keys.collect());
        let first = clients.iter().next().unwrap();
        ask(&Ground { offers: &offers, clients: &clients }, first)
    }

    fn order_of(rules: Vec<Vec<Rule>>, alias: &str) -> Vec<usize> {
        with_ground(rules, |ground, client| {
            let Some(mut pool) = ground.pool(client, alias) else { return Vec::new() };
            pool.next(&mut Rng::with_seed(1)).in_order().map(|candidate| candidate.channel.0).collect()
        })
    }

    fn order(rules: &[Rule], alias: &str) -> Vec<usize> {
        order_of(vec![rules.to_vec()], alias)
    }

    fn other_key(id: usize, alias: Option<&str>) -> RuleTarget {
        let key = client(id, Schedule::FixedPriority).secret.fingerprint();
        RuleTarget::Client { key, alias: alias.map(Arc::from) }
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

    #[test]
    fn a_weight_counts_for_all_that_its_rule_allows_also_when_another_rule_did_before() {
        let weighted = Rule { target: RuleTarget::Provider("b".into()), weight: Some(2) };
        assert_eq!(order(&[rule(RuleTarget::Everything), weighted], "x"), [1, 2, 0]);
    }

    #[test]
    fn members_know_the_rule_that_brought_them_in() {
        let weighted = Rule { target: RuleTarget::Provider("b".into()), weight: Some(2) };
        let rules = [rule(other_key(1, None)), rule(RuleTarget::Provider("a".into())), weighted];
        let inner = [rule(RuleTarget::Model("y".into())), rule(RuleTarget::Model("x".into()))];
        let members = |inner: &[Rule]| {
            with_ground(vec![rules.to_vec(), inner.to_vec()], |ground, client| {
                let pool = ground.pool(client, "x").unwrap();
                pool.members().map(|member| (member.rule, member.weight)).collect::<Vec<_>>()
            })
        };
        assert_eq!(members(&inner[..1]), [(2, Some(2)), (2, Some(2)), (1, None)]);
        assert_eq!(members(&inner), [(0, None)], "the other key has all of them already");
    }

    #[test]
    fn another_key_brings_what_it_may_use() {
        let inner = vec![rule(RuleTarget::Provider("b".into()))];
        let outer = |alias| vec![rule(other_key(1, alias)), rule(RuleTarget::Everything)];
        assert_eq!(order_of(vec![outer(None), inner.clone()], "x"), [1, 2, 0]);
        assert_eq!(order_of(vec![outer(Some("x")), inner.clone()], "x"), [1, 2, 0]);
        assert_eq!(order_of(vec![outer(Some("y")), inner.clone()], "x"), [0, 1, 2]);
        assert_eq!(order_of(vec![outer(None)[..1].to_vec(), inner], "y"), [0; 0]);
    }

    #[test]
    fn keys_may_name_keys_that_name_keys() {
        let rules =
            vec![vec![rule(other_key(1, None))], vec![rule(other_key(2, None))], vec![rule(RuleTarget::Everything)]];
        assert_eq!(order_of(rules, "x"), [0, 1, 2]);
    }

    #[test]
    fn many_ways_to_the_same_keys_take_no_longer_than_one() {
        let mut rules: Vec<Vec<Rule>> =
            (0..60).map(|id| vec![rule(other_key(id + 1, None)), rule(other_key(id + 2, None))]).collect();
        rules.extend([vec![rule(RuleTarget::Everything)], vec![rule(RuleTarget::Everything)]]);
        assert_eq!(order_of(rules.clone(), "x"), [0, 1, 2]);
        assert_eq!(with_ground(rules, |ground, client| ground.usable(client)).len(), 3);
    }

    #[test]
    fn the_aliases_of_another_key_are_listed_as_far_as_the_rule_goes() {
        let aliases = |alias| {
            let rules = vec![
                vec![rule(RuleTarget::Model("y".into())), rule(other_key(1, alias))],
                vec![rule(RuleTarget::Everything)],
            ];
            let usable = with_ground(rules, |ground, client| ground.usable(client));
            usable
                .iter()
                .map(|usable| usable.alias.to_string())
                .collect::<Vec<_>>()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(aliases(None), ["y", "x", "a/x"]);
        assert_eq!(aliases(Some("x")), ["y", "x"]);
    }
}

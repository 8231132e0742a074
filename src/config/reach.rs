//! Which models a client key may use, as far as the file tells: a channel that will be asked for its
//! models may have any.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::resolved::{Channel, ModelSource, RuleTarget};
use super::rules::Written;
use super::secret::Fingerprint;

/// All channels, and the rules of all client keys.
pub(super) struct Reach<'a> {
    pub channels: &'a [Arc<Channel>],
    pub rules: HashMap<Fingerprint, &'a [Written]>,
}

impl Reach<'_> {
    /// Whether the key may use the model of this alias at some channel of this sort.
    pub fn includes(&self, key: Fingerprint, alias: &str, sort: impl Fn(&Channel) -> bool) -> bool {
        let offers: Vec<_> = self.channels.iter().filter(|channel| offers(channel, alias) && sort(channel)).collect();
        self.leads_to(key, alias, &offers, &mut HashSet::new())
    }

    /// `seen` are the keys that have been looked at; this keeps many ways to one key cheap.
    fn leads_to(
        &self,
        key: Fingerprint,
        alias: &str,
        offers: &[&Arc<Channel>],
        seen: &mut HashSet<Fingerprint>,
    ) -> bool {
        let rules = self.rules.get(&key).filter(|_| seen.insert(key)).copied().unwrap_or_default();
        rules.iter().any(|written| match &written.rule.target {
            RuleTarget::Everything => !offers.is_empty(),
            RuleTarget::Model(model) => **model == *alias && !offers.is_empty(),
            RuleTarget::Provider(provider) => offers.iter().any(|channel| channel.name == *provider),
            RuleTarget::ProviderModel { provider, alias: model } => {
                **model == *alias && offers.iter().any(|channel| channel.name == *provider)
            }
            RuleTarget::Client { key, alias: model } => {
                model.as_deref().is_none_or(|model| model == alias) && self.leads_to(*key, alias, offers, seen)
            }
        })
    }
}

fn offers(channel: &Channel, alias: &str) -> bool {
    match &channel.models {
        ModelSource::Discovered => true,
        ModelSource::Listed(models) => models.iter().any(|model| *model.alias == *alias),
    }
}

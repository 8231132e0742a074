//! The `model:` list of a client key: which channels and models it may use.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::diagnostic::Report;
use super::path::KeyPath;
use super::resolved::{Channel, ModelSource, Rule, RuleTarget};
use super::secret::{Fingerprint, Secret};
use super::suggest::{closest, did_you_mean, quoted};
use super::typed::{Pair, Pairs};

/// A list of rules of which nothing remains would mean everything.
pub(super) const NO_RULE_LEFT: &str = "no usable rule is left";

/// A rule and where it stands.
pub(super) struct Written {
    pub rule: Rule,
    pub at: KeyPath,
    /// The entry of the client key that it names, if it names one.
    names: Option<KeyPath>,
}

impl Written {
    /// The client key that it names, if it names one.
    pub fn names_key(&self) -> Option<Fingerprint> {
        match self.rule.target {
            RuleTarget::Client { key, .. } => Some(key),
            _ => None,
        }
    }

    /// Where the client key that it names is written.
    pub fn named(&self) -> String {
        self.names.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// Every name that a rule may speak of.
#[derive(Default)]
pub(super) struct Catalogue {
    /// Channels in use: their names and the aliases they list.
    providers: HashSet<Arc<str>>,
    aliases: HashSet<Arc<str>>,
    offers: HashSet<(Arc<str>, Arc<str>)>,
    /// Channels in use whose models are asked for later: any name could be right there.
    open: HashSet<Arc<str>>,
    /// What the providers that are switched off would have had.
    off_providers: HashSet<Arc<str>>,
    off_aliases: HashSet<Arc<str>>,
}

impl Catalogue {
    /// Adds a channel in use.
    pub fn add(&mut self, channel: &Channel) {
        self.providers.insert(Arc::clone(&channel.name));
        match &channel.models {
            ModelSource::Discovered => {
                self.open.insert(Arc::clone(&channel.name));
            }
            ModelSource::Listed(models) => {
                for model in models {
                    self.aliases.insert(Arc::clone(&model.alias));
                    self.offers.insert((Arc::clone(&channel.name), Arc::clone(&model.alias)));
                }
            }
        }
    }

    /// Adds a provider that is switched off.
    pub fn add_off(&mut self, name: Option<String>, aliases: Vec<Arc<str>>) {
        self.off_providers.extend(name.map(Arc::from));
        self.off_aliases.extend(aliases);
    }

    /// Whether this is the name of a provider, in use or not.
    fn has_provider(&self, name: &str) -> bool {
        self.providers.contains(name) || self.off_providers.contains(name)
    }

    /// What is wrong with the names in a rule, if anything.
    fn doubt(&self, target: &RuleTarget) -> Option<String> {
        match target {
            // What another key may use is known later.
            RuleTarget::Everything | RuleTarget::Client { .. } => None,
            RuleTarget::Model(alias) => self.doubt_model(alias),
            RuleTarget::Provider(provider) => self.doubt_provider(provider, "*"),
            RuleTarget::ProviderModel { provider, alias } => self.doubt_provider(provider, alias).or_else(|| {
                let offered =
                    self.open.contains(provider) || self.offers.contains(&(Arc::clone(provider), Arc::clone(alias)));
                let listed = || self.offers.iter().filter(|(name, _)| name == provider).map(|(_, alias)| &**alias);
                (!offered).then(|| {
                    let hint = did_you_mean(alias, listed());
                    format!("the provider {} does not list {}{hint}", quoted(provider), quoted(alias))
                })
            }),
        }
    }

    fn doubt_model(&self, alias: &Arc<str>) -> Option<String> {
        if self.aliases.contains(alias) || !self.open.is_empty() {
            return None;
        }
        if self.off_aliases.contains(alias) {
            return Some(format!("{} is only listed by providers that are switched off", quoted(alias)));
        }
        let hint = if self.providers.contains(alias) {
            format!("; for all of that provider write \"{alias}/*\"")
        } else {
            did_you_mean(alias, self.aliases.iter().map(|alias| &**alias))
        };
        Some(format!("no provider lists {}{hint}", quoted(alias)))
    }

    fn doubt_provider(&self, provider: &Arc<str>, alias: &str) -> Option<String> {
        if self.providers.contains(provider) {
            return None;
        }
        if self.off_providers.contains(provider) {
            return Some(format!("the provider {} is switched off", quoted(provider)));
        }
        let whole = format!("{provider}/{alias}");
        let hint = if self.aliases.contains(whole.as_str()) {
            format!("; for the model of that name write <{whole}>")
        } else {
            did_you_mean(provider, self.providers.iter().chain(&self.off_providers).map(|name| &**name))
        };
        Some(format!("no provider is called {}{hint}", quoted(provider)))
    }
}

/// Reads the rules of the client key at `place`. `client_keys` are all keys of the file, each with
/// its entry.
pub(super) fn resolve(
    Pairs(pairs): Pairs,
    place: &KeyPath,
    client_keys: &HashMap<String, KeyPath>,
    catalogue: &Catalogue,
    report: &mut Report,
) -> Vec<Written> {
    let place = place.key("model");
    if pairs.is_empty() {
        let rule = Rule { target: RuleTarget::Everything, weight: None };
        return vec![Written { rule, at: place, names: None }];
    }
    let mut rules = Vec::new();
    for pair in &pairs {
        let at = place.join(&pair.below);
        let name = pair.name.trim();
        let (target, names) = match client(name, client_keys, catalogue) {
            Some(Ok((target, entry))) => (Ok(target), Some(entry.clone())),
            Some(Err(message)) => (Err(message), None),
            None => (target(name).map_err(str::to_owned), None),
        };
        match (target, weight(pair).map_err(str::to_owned)) {
            (Err(message), _) | (_, Err(message)) => report.error(&at, message),
            (Ok(target), Ok(weight)) => {
                if let Some(doubt) = catalogue.doubt(&target) {
                    report.warning(&at, doubt);
                }
                rules.push(Written { rule: Rule { target, weight }, at, names });
            }
        }
    }
    if rules.is_empty() {
        report.error(&place, NO_RULE_LEFT);
    }
    rules
}

/// Reads a rule that names another client key, with the entry of that; `None` if it names none. What
/// is the name of a provider or a model is not taken for a key.
fn client<'a>(
    name: &str,
    client_keys: &'a HashMap<String, KeyPath>,
    catalogue: &Catalogue,
) -> Option<Result<(RuleTarget, &'a KeyPath), String>> {
    let (key, alias) = name.split_once('/').unwrap_or((name, "*"));
    let is_model = name == key && (name == "all" || catalogue.aliases.contains(name));
    if is_model || catalogue.has_provider(key) {
        return None;
    }
    let Some(entry) = client_keys.get(key) else {
        return key.starts_with("sk-").then(|| Err(no_client_key(key, client_keys)));
    };
    let alias = match alias {
        "" => return Some(Err(HALF.to_owned())),
        "*" => None,
        alias => Some(alias.into()),
    };
    Some(Ok((RuleTarget::Client { key: Fingerprint::of(key.as_bytes()), alias }, entry)))
}

fn no_client_key(key: &str, client_keys: &HashMap<String, KeyPath>) -> String {
    let meant = closest(key, client_keys.keys().map(String::as_str)).and_then(|key| client_keys.get(key));
    let hint = meant.map(|entry| format!(", did you mean that of {entry}?")).unwrap_or_default();
    format!("there is no client key {}{hint}", Secret::new(key).masked())
}

const HALF: &str = "expected model, provider/model, provider/*, client-key/*, client-key/model or all";

fn target(name: &str) -> Result<RuleTarget, &'static str> {
    if name.is_empty() {
        return Err("a rule is empty");
    }
    if matches!(name, "all" | "*") {
        return Ok(RuleTarget::Everything);
    }
    if let Some(inside) = name.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
        let inside = inside.trim();
        return if inside.is_empty() { Err(HALF) } else { Ok(RuleTarget::Model(inside.into())) };
    }
    match name.split_once('/') {
        None => Ok(RuleTarget::Model(name.into())),
        Some(("", _) | (_, "")) => Err(HALF),
        Some((provider, "*")) => Ok(RuleTarget::Provider(provider.into())),
        Some((provider, alias)) => Ok(RuleTarget::ProviderModel { provider: provider.into(), alias: alias.into() }),
    }
}

fn weight(pair: &Pair) -> Result<Option<u32>, &'static str> {
    let Some(text) = &pair.value else { return Ok(None) };
    match text.trim().parse() {
        Ok(weight) if weight > 0 => Ok(Some(weight)),
        _ => Err("expected a positive whole number behind the colon"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_documented() {
        let model = |name: &str| Ok(RuleTarget::Model(name.into()));
        assert_eq!(target("all"), Ok(RuleTarget::Everything));
        assert_eq!(target("*"), Ok(RuleTarget::Everything));
        assert_eq!(target("gpt-4o"), model("gpt-4o"));
        assert_eq!(target("<a/b>"), model("a/b"));
        assert_eq!(target("p/*"), Ok(RuleTarget::Provider("p".into())));
        assert_eq!(target("p/a/b"), Ok(RuleTarget::ProviderModel { provider: "p".into(), alias: "a/b".into() }));
        for wrong in ["", "/x", "p/", "<>", "/"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn weights_are_positive_whole_numbers() {
        let pair = |value: Option<&str>| Pair {
            name: "p/*".to_owned(),
            value: value.map(str::to_owned),
            below: KeyPath::default(),
        };
        assert_eq!(weight(&pair(None)), Ok(None));
        assert_eq!(weight(&pair(Some("5"))), Ok(Some(5)));
        for wrong in ["0", "-1", "1.5", "many", ""] {
            assert!(weight(&pair(Some(wrong))).is_err(), "{wrong}");
        }
    }
}

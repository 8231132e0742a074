//! Client keys that use other client keys as channels: what can only be said when all are known.
//!
//! A key on a circle is switched off, and so is one that is left without rules or whose prompts
//! cannot be moderated. Rules that name a key that is off go with it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::client_keys::{Draft, OFF};
use super::diagnostic::Report;
use super::reach::Reach;
use super::resolved::{Channel, ClientKey, Dialect, MODERATION_MODELS, RuleTarget};
use super::rules::NO_RULE_LEFT;
use super::secret::Fingerprint;
use super::suggest::quoted;

/// The keys that remain, in order.
pub(super) fn link(mut drafts: Vec<Draft>, channels: &[Arc<Channel>], report: &mut Report) -> Vec<ClientKey> {
    switch_off_circles(&mut drafts, report);
    loop {
        let before = drafts.len();
        drop_rules_without_key(&mut drafts, report);
        switch_off_unmoderated(&mut drafts, channels, report);
        if drafts.len() == before {
            break;
        }
    }
    doubt(&drafts, channels, report);
    let number = |(id, Draft { key, rules, .. })| {
        let rules = Vec::from_iter(rules.into_iter().map(|written| written.rule));
        ClientKey { id, rules, ..key }
    };
    drafts.into_iter().enumerate().map(number).collect()
}

fn switch_off_circles(drafts: &mut Vec<Draft>, report: &mut Report) {
    let nested = |draft: &Draft| draft.rules.iter().filter_map(|written| written.names_key()).collect();
    let next: HashMap<Fingerprint, Vec<Fingerprint>> =
        drafts.iter().map(|draft| (draft.key.secret.fingerprint(), nested(draft))).collect();
    drafts.retain(|draft| {
        let this = draft.key.secret.fingerprint();
        let mark = report.mark();
        for written in &draft.rules {
            match written.names_key() {
                Some(other) if other == this => report.error(&written.at, "names the key that it belongs to"),
                Some(other) if leads_to(other, this, &next) => {
                    report.error(&written.at, format!("goes in a circle: {} leads back to this key", written.named()));
                }
                _ => {}
            }
        }
        !report.conclude(mark, OFF)
    });
}

fn leads_to(from: Fingerprint, to: Fingerprint, next: &HashMap<Fingerprint, Vec<Fingerprint>>) -> bool {
    let mut seen = HashSet::from([from]);
    let mut open = vec![from];
    while let Some(key) = open.pop() {
        if key == to {
            return true;
        }
        open.extend(next.get(&key).into_iter().flatten().filter(|key| seen.insert(**key)));
    }
    false
}

/// One step of the cascade: the keys that this leaves without rules still count as there.
fn drop_rules_without_key(drafts: &mut Vec<Draft>, report: &mut Report) {
    let there: HashSet<Fingerprint> = drafts.iter().map(|draft| draft.key.secret.fingerprint()).collect();
    drafts.retain_mut(|draft| {
        draft.rules.retain(|written| {
            let is_good = written.names_key().is_none_or(|key| there.contains(&key));
            if !is_good {
                report.error(&written.at, format!("{} is switched off, so this rule is left out", written.named()));
            }
            is_good
        });
        if draft.rules.is_empty() {
            report.error(&draft.place.key("model"), format!("{NO_RULE_LEFT}; {OFF}"));
        }
        !draft.rules.is_empty()
    });
}

fn switch_off_unmoderated(drafts: &mut Vec<Draft>, channels: &[Arc<Channel>], report: &mut Report) {
    let reach = reach(drafts, channels);
    let moderates = |channel: &Channel| matches!(channel.dialect, Dialect::Gpt | Dialect::OpenRouter);
    let is_good = |draft: &Draft| {
        let key = draft.key.secret.fingerprint();
        !draft.key.is_moderated || MODERATION_MODELS.iter().any(|model| reach.includes(key, model, moderates))
    };
    let mut good = Vec::from_iter(drafts.iter().map(is_good)).into_iter();
    drafts.retain(|draft| {
        let is_good = good.next().unwrap_or(true);
        if !is_good {
            let [model, other] = MODERATION_MODELS;
            let message = format!(
                "this key may use neither {model} nor {other}; list one of them under `model` of an OpenAI-compatible \
                 provider, and allow it here with a rule such as openai/{model}; {OFF}"
            );
            report.error(&draft.place.key("preferences").key("ENABLE_MODERATION"), message);
        }
        is_good
    });
}

/// Warns of rules that ask another key for what it may not use.
fn doubt(drafts: &[Draft], channels: &[Arc<Channel>], report: &mut Report) {
    let reach = reach(drafts, channels);
    for written in drafts.iter().flat_map(|draft| &draft.rules) {
        if let RuleTarget::Client { key, alias: Some(alias) } = &written.rule.target
            && !reach.includes(*key, alias, |_| true)
        {
            report.warning(&written.at, format!("{} may not use {}", written.named(), quoted(alias)));
        }
    }
}

fn reach<'a>(drafts: &'a [Draft], channels: &'a [Arc<Channel>]) -> Reach<'a> {
    let rules = drafts.iter().map(|draft| (draft.key.secret.fingerprint(), draft.rules.as_slice())).collect();
    Reach { channels, rules }
}

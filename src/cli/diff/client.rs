//! Which client keys come and go, and how the others differ from what they were.

use crate::config::{ClientKey, ClientKeys, Retries, Rule, RuleTarget, rule_name};

use super::details::{Details, by_model, displayed, yes_or_no};
use super::{Change, changed};

/// What becomes of the client keys.
pub fn changes(old: &ClientKeys, new: &ClientKeys) -> Vec<Change> {
    let subject = |client: &ClientKey| format!("client key {}", client.label);
    let mut changes = Vec::new();
    for client in old.iter() {
        match new.get(client.secret.fingerprint()) {
            Some(successor) => changes.extend(changed(subject(client), details(client, successor, [new, old]))),
            None => changes.push(Change::new(subject(client), "removed")),
        }
    }
    let added = new.iter().filter(|client| old.get(client.secret.fingerprint()).is_none());
    changes.extend(added.map(|client| Change::new(subject(client), "added")));
    changes
}

fn details(old: &ClientKey, new: &ClientKey, all: [&ClientKeys; 2]) -> Vec<String> {
    // Without `..`, so that no setting to come is forgotten.
    let ClientKey { id: _, secret: _, label: _, is_admin, rules, schedule, retries, rate_limit, is_moderated } = old;
    let mut details = Details::default();
    details.value("admin", is_admin, &new.is_admin, yes_or_no);
    details.items("model", rules, &new.rules, |rule| written(rule, all));
    details.value("SCHEDULING_ALGORITHM", schedule, &new.schedule, |schedule| schedule.name().to_owned());
    details.value("AUTO_RETRY", retries, &new.retries, |retries| match retries {
        Retries::UntilExhausted => "true".to_owned(),
        Retries::AtMost(count) => count.to_string(),
    });
    details.value("RATE_LIMIT", rate_limit, &new.rate_limit, |limit| by_model(limit, displayed));
    details.value("ENABLE_MODERATION", is_moderated, &new.is_moderated, yes_or_no);
    details.told()
}

/// A rule as it would be written. Another key that it names is in one of the two configurations.
fn written(rule: &Rule, all: [&ClientKeys; 2]) -> String {
    let knows = |keys: &&&ClientKeys| match &rule.target {
        RuleTarget::Client { key, .. } => keys.get(*key).is_some(),
        _ => true,
    };
    let target = all.iter().find(knows).map(|keys| rule_name(&rule.target, keys)).unwrap_or_default();
    rule.weight.map(|weight| format!("{target}: {weight}")).unwrap_or(target)
}

//! A configuration as a table for people. Keys are masked and addresses shown without credentials.

use std::fmt::Write;

use super::resolved::{Channel, ClientKey, Config, ModelSource, Retries, Rule, RuleTarget, Schedule};
use super::source::without_credentials;

/// All channels and client keys, one a line; models and rules continue on lines of their own.
pub fn table(config: &Config) -> String {
    let mut channels = vec![["channel", "dialect", "models", "keys", "base_url"].map(str::to_owned).to_vec()];
    for channel in &config.channels {
        let names = models(channel);
        let keys: Vec<String> = channel.keys.iter().map(|key| key.masked()).collect();
        let keys = if keys.is_empty() { vec!["none".to_owned()] } else { keys };
        for line in 0..names.len().max(keys.len()) {
            let first = |text: String| if line == 0 { text } else { String::new() };
            channels.push(vec![
                first(channel.name.to_string()),
                first(channel.dialect.name().to_owned()),
                names.get(line).cloned().unwrap_or_default(),
                keys.get(line).cloned().unwrap_or_default(),
                first(without_credentials(&channel.base_url)),
            ]);
        }
    }
    let mut clients = vec![["client key", "admin", "rules", "schedule", "retries"].map(str::to_owned).to_vec()];
    for key in config.client_keys.iter() {
        clients.extend(client_rows(key));
    }
    format!("{}\n{}", aligned(&channels), aligned(&clients))
}

fn models(channel: &Channel) -> Vec<String> {
    match &channel.models {
        ModelSource::Discovered => vec!["(asked for at the upstream)".to_owned()],
        ModelSource::Listed(models) => models
            .iter()
            .map(|model| match model.upstream == model.alias {
                true => model.alias.to_string(),
                false => format!("{} -> {}", model.upstream, model.alias),
            })
            .collect(),
    }
}

fn client_rows(key: &ClientKey) -> Vec<Vec<String>> {
    let schedule = match key.schedule {
        Schedule::RoundRobin => "round_robin",
        Schedule::FixedPriority => "fixed_priority",
    };
    let retries = match key.retries {
        Retries::UntilExhausted => "all channels".to_owned(),
        Retries::AtMost(0) => "none".to_owned(),
        Retries::AtMost(count) => format!("at most {count}"),
    };
    let admin = if key.is_admin { "yes" } else { "no" };
    key.rules
        .iter()
        .enumerate()
        .map(|(line, rule)| match line {
            0 => vec![key.secret.masked(), admin.to_owned(), written(rule), schedule.to_owned(), retries.clone()],
            _ => vec![String::new(), String::new(), written(rule)],
        })
        .collect()
}

fn written(rule: &Rule) -> String {
    let target = match &rule.target {
        RuleTarget::Everything => "all".to_owned(),
        RuleTarget::Model(alias) if alias.contains('/') => format!("<{alias}>"),
        RuleTarget::Model(alias) => alias.to_string(),
        RuleTarget::Provider(provider) => format!("{provider}/*"),
        RuleTarget::ProviderModel { provider, alias } => format!("{provider}/{alias}"),
    };
    rule.weight.map(|weight| format!("{target}: {weight}")).unwrap_or(target)
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::load::parse;

    #[test]
    fn the_table_is_aligned_and_shows_no_secret() {
        let text = "\
providers:
  - provider: one
    base_url: https://user:CANARY1@api.one.example/v1/chat/completions?key=CANARY2
    api: [sk-CANARY3-aaaaaaaaaa, sk-CANARY4]
    model: [gpt-4o, long-upstream-name: short, third]
  - provider: second
    base_url: http://localhost:11434/v1
api_keys:
  - api: sk-CANARY5-bbbbbbbbbbbb
    model: [one/*: 3, <a/b>, all]
    preferences: {SCHEDULING_ALGORITHM: fixed_priority, AUTO_RETRY: 2}
";
        let config = parse(text, "api.yaml", &|_| None, Duration::from_secs(100)).config.unwrap();
        let table = table(&config);
        assert!(!table.contains("CANARY"), "{table}");
        let expected = "\
channel  dialect  models                       keys      base_url
one      gpt      gpt-4o                       sk-CA…aa  https://api.one.example/v1/chat/completions
                  long-upstream-name -> short  …
                  third
second   gpt      (asked for at the upstream)  none      http://localhost:11434/v1

client key  admin  rules     schedule        retries
sk-CA…bb    yes    one/*: 3  fixed_priority  at most 2
                   <a/b>
                   all
";
        assert_eq!(table, expected);
    }
}

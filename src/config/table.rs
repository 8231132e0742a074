//! A configuration as a table for people. Keys are masked and addresses shown without credentials.

use std::fmt::Write;

use super::by_model::ByModel;
use super::rate::RateLimit;
use super::resolved::{Channel, ClientKey, ClientKeys, Config, ModelSource, Retries, Rule, RuleTarget, Vertex};
use super::source::without_credentials;

/// All channels and client keys, one a line; models and rules continue on lines of their own.
pub fn table(config: &Config) -> String {
    let mut channels = vec![["channel", "engine", "models", "keys", "address"].map(str::to_owned).to_vec()];
    for channel in &config.channels {
        let names = models(channel);
        let keys = keys(channel);
        let address = address(channel);
        for line in 0..names.len().max(keys.len()).max(address.len()) {
            let first = |text: String| if line == 0 { text } else { String::new() };
            let of = |lines: &[String]| lines.get(line).cloned().unwrap_or_default();
            channels.push(vec![
                first(channel.name.to_string()),
                first(channel.dialect.name().to_owned()),
                of(&names),
                of(&keys),
                of(&address),
            ]);
        }
    }
    let titles = ["client key", "admin", "moderated", "rules", "schedule", "retries", "rate limit"];
    let mut clients = vec![titles.map(str::to_owned).to_vec()];
    for key in config.client_keys.iter() {
        clients.extend(client_rows(key, &config.client_keys));
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

fn keys(channel: &Channel) -> Vec<String> {
    match &channel.vertex {
        Some(vertex) => vec![vertex.account.client_email.clone()],
        None if channel.keys.is_empty() => vec!["none".to_owned()],
        None => channel.keys.iter().map(|key| key.masked()).collect(),
    }
}

fn address(channel: &Channel) -> Vec<String> {
    let mut lines = vec![without_credentials(&channel.base_url)];
    if let Some(proxy) = &channel.outbound.proxy {
        lines.push(format!("through the {} proxy {proxy}", proxy.protocol.name()));
    }
    if let Some(Vertex { account, regions }) = channel.vertex.as_deref() {
        lines.push(format!("project {}", account.project_id));
        lines.push(match regions.as_slice() {
            [] => "regions: as the model has them".to_owned(),
            regions => format!("regions: {}", regions.join(", ")),
        });
    }
    lines
}

fn client_rows(key: &ClientKey, all: &ClientKeys) -> Vec<Vec<String>> {
    let yes_or_no = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    let retries = match key.retries {
        Retries::UntilExhausted => "all channels".to_owned(),
        Retries::AtMost(0) => "none".to_owned(),
        Retries::AtMost(count) => format!("at most {count}"),
    };
    let rules: Vec<String> = key.rules.iter().map(|rule| written(rule, all)).collect();
    let limits = limits(&key.rate_limit);
    (0..rules.len().max(limits.len()))
        .map(|line| {
            let first = |text: String| if line == 0 { text } else { String::new() };
            let of = |lines: &[String]| lines.get(line).cloned().unwrap_or_default();
            vec![
                first(key.secret.masked()),
                first(yes_or_no(key.is_admin)),
                first(yes_or_no(key.is_moderated)),
                of(&rules),
                first(key.schedule.name().to_owned()),
                first(retries.clone()),
                of(&limits),
            ]
        })
        .collect()
}

fn limits(limits: &ByModel<RateLimit>) -> Vec<String> {
    let others = |limit: &RateLimit| match limits.named.as_slice() {
        [] => limit.to_string(),
        _ => format!("default: {limit}"),
    };
    let named = limits.named.iter().map(|(model, limit)| format!("{model}: {limit}"));
    named.chain(limits.others.as_ref().map(others)).collect()
}

fn written(rule: &Rule, all: &ClientKeys) -> String {
    let target = rule_name(&rule.target, all);
    rule.weight.map(|weight| format!("{target}: {weight}")).unwrap_or(target)
}

/// A rule as it would be written, without its weight and with keys masked.
pub fn rule_name(target: &RuleTarget, all: &ClientKeys) -> String {
    match target {
        RuleTarget::Everything => "all".to_owned(),
        RuleTarget::Model(alias) if alias.contains('/') => format!("<{alias}>"),
        RuleTarget::Model(alias) => alias.to_string(),
        RuleTarget::Provider(provider) => format!("{provider}/*"),
        RuleTarget::ProviderModel { provider, alias } => format!("{provider}/{alias}"),
        RuleTarget::Client { key, alias } => {
            let key = all.get(*key).map(|key| key.secret.masked()).unwrap_or_default();
            format!("{key}/{}", alias.as_deref().unwrap_or("*"))
        }
    }
}

/// Rows as lines, with every column as wide as its longest cell.
pub fn aligned(rows: &[Vec<String>]) -> String {
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
    preferences: {proxy: 'socks5://CANARY7:CANARY8@proxy.example', headers: {x-key: CANARY9}}
api_keys:
  - api: sk-CANARY5-bbbbbbbbbbbb
    model: [one/*: 3, <a/b>, all]
    preferences: {SCHEDULING_ALGORITHM: fixed_priority, AUTO_RETRY: 2}
  - api: sk-CANARY6-cccccccccccc
    model: [sk-CANARY5-bbbbbbbbbbbb: 2, sk-CANARY5-bbbbbbbbbbbb/gpt-4o]
    preferences: {ENABLE_MODERATION: true, RATE_LIMIT: {gpt: '5/h,20', short: 9/tpr, default: 1/s}}
";
        let config = parse(text, "api.yaml", &|_| None, Duration::from_secs(100)).config.unwrap();
        let table = table(&config);
        assert!(!table.contains("CANARY"), "{table}");
        let expected = "\
channel  engine  models                       keys      address
one      gpt     gpt-4o                       sk-CA…aa  https://api.one.example/v1/chat/completions
                 long-upstream-name -> short  …
                 third
second   gpt     (asked for at the upstream)  none      http://localhost:11434/v1
                                                        through the SOCKS5 proxy proxy.example:1080

client key  admin  moderated  rules            schedule        retries       rate limit
sk-CA…bb    no     no         one/*: 3         fixed_priority  at most 2     60/min
                              <a/b>
                              all
sk-CA…cc    no     yes        sk-CA…bb/*: 2    round_robin     all channels  gpt: 5/hour, 20/min
                              sk-CA…bb/gpt-4o                                short: 9/tpr
                                                                             default: 1/s
";
        assert_eq!(table, expected);
    }

    #[test]
    fn the_table_shows_whose_account_is_used_and_where() {
        let text = format!(
            "providers: [{{provider: v, project_id: p-1, client_email: a@p-1.example, model: [m], region: [global, us-east5], \
             private_key: {:?}}}]\napi_keys: [{{api: sk-client}}]\n",
            include_str!("../../tests/fixtures/service-account-key.pem")
        );
        let expected = "\
channel  engine  models  keys           address
v        vertex  m       a@p-1.example  https://aiplatform.googleapis.com/
                                        project p-1
                                        regions: global, us-east5
";
        for (text, expected) in [
            (text.clone(), expected.to_owned()),
            (text.replace("[global, us-east5]", ""), expected.replace("global, us-east5", "as the model has them")),
        ] {
            let config = parse(&text, "api.yaml", &|_| None, Duration::from_secs(100)).config.unwrap();
            let table = table(&config);
            assert_eq!(table.split("\n\n").next().unwrap(), expected.trim_end());
        }
    }
}

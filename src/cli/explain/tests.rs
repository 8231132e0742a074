//! Configurations, questions and the whole answers to them.

use std::time::Duration;

use super::*;

fn provider(name: &str, more: &str) -> String {
    format!("  - {{provider: {name}, base_url: 'http://{name}/v1', api: sk-up-CANARY-0123456789, {more}}}\n")
}

fn key(name: &str, more: &str) -> String {
    format!("  - {{api: {}, {more}}}\n", secret(name))
}

/// Masked, it is `sk-` with the first two letters of the name, and `89`.
fn secret(name: &str) -> String {
    format!("sk-{name}-CANARY-0123456789")
}

fn config(providers: &[String], keys: &[String]) -> String {
    format!("providers:\n{}api_keys:\n{}", providers.concat(), keys.concat())
}

/// The exit code and the answer.
fn ask(config: &str, key: &str, model: &str) -> (u8, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("api.yaml"), config).unwrap();
    let around = Surroundings {
        working_dir: dir.path(),
        env: &|_| None,
        fetch: &|_| Err("nothing is fetched".to_owned()),
        patience: Duration::from_secs(100),
    };
    let mut out = Vec::new();
    let code = run(&Question { file: None, key, model }, &around, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(!out.contains("CANARY"), "{out}");
    (code, out)
}

fn line<'a>(out: &'a str, beginning: &str) -> &'a str {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    out.lines().find(|line| words(line).starts_with(beginning)).unwrap_or_else(|| panic!("no {beginning}:\n{out}"))
}

#[test]
fn a_whole_answer() {
    let text = config(
        &[
            provider("gcp1", "model: [gpt-4o-2024-08-06: gpt-4o]"),
            provider("gcp2", "model: [gpt-4o], preferences: {cooldown_period: 60, api_key_rate_limit: 10/min}"),
            provider("gcp3", "model: [gpt-4o], preferences: {breaker: off}")
                .replace("api: ", "api: [second, third], x: "),
            provider("backup", "model: [gpt-4o], preferences: {breaker: {failures: 3}}"),
            provider("other", "model: [gpt-40, o1]"),
            provider("third", "model: [gpt-4o]"),
            provider("renamed", "model: [gpt-4o: best]"),
            provider("local", ""),
            provider("closed", ""),
            provider("broken", "model: [gpt-4o]").replace("http://broken/v1", ""),
        ],
        &[key(
            "client",
            "model: [backup/gpt-4o, gcp1/*: 5, gcp2/*: 3, gcp3/gpt-4o: 2, other/*, renamed/*, local/*, closed/x], \
             preferences: {SCHEDULING_ALGORITHM: weighted_round_robin}",
        )],
    ) + "preferences: {rate_limit: 1000/min}\n";
    let expected = "\
api.yaml: 1 error (see `uni-api check`); this is what the rest comes to

sk-cl…89 asks for gpt-4o, by weighted_round_robin

tried  channel  model at the channel  weight  because of     settings
1      gcp1     gpt-4o-2024-08-06     5       gcp1/*
2      gcp2     gpt-4o                3       gcp2/*         10/min for each key; rests 60 s when it fails
3      gcp3     gpt-4o                2       gcp3/gpt-4o    2 keys by round_robin; breaker off
4      backup   gpt-4o                        backup/gpt-4o  breaker opens after 3 failures for 30 s

order: of every 10 requests, 5 begin with gcp1, 3 with gcp2, 2 with gcp3; then by weight; those without a weight follow

not tried
other    lists no gpt-4o, did you mean \"gpt-40\"?
third    offers it, but no rule of this key allows it
renamed  offers gpt-4o to clients by the name best
local    asks its upstream for its models while it runs; gpt-4o may be among them, and local/* allows it
closed   asks its upstream for its models while it runs, but no rule of this key would allow gpt-4o
broken   providers[9].base_url: is empty; expected a full address such as https://api.openai.com/v1/chat/completions; this provider is switched off

limits: 60/min for this key, 1000/min for all keys
retries: until every channel was tried
time: up to 100 s to the first event, 100 s between events
deadline: 300 s until the answer begins, over all attempts; more where one may take longer
";
    assert_eq!(ask(&text, "1", "gpt-4o"), (EXPLAINED, expected.to_owned()));
}

#[test]
fn every_schedule_says_how_its_order_changes() {
    let providers = ["a", "b", "c"].map(|name| provider(name, "model: [m]"));
    for (schedule, rules, expected) in [
        ("fixed_priority", "a/*, b/*", "the same for all requests"),
        ("round_robin", "a/*, b/*", "requests begin with each in turn"),
        ("round_robin", "a/*: 2, b/*", "all requests begin with a; those without a weight follow"),
        ("weighted_round_robin", "a/*: 40, b/*: 20", "of every 3 requests, 2 begin with a, 1 with b; then by weight"),
        ("weighted_round_robin", "a/*, b/*", "of every 2 requests, 1 begin with a, 1 with b; then by weight"),
        (
            "weighted_round_robin",
            "a/*: 1000003, b/*: 2",
            "requests begin with each as often as its weight says; then by weight",
        ),
        (
            "lottery",
            "a/*: 3, b/*: 1",
            "on average, of 4 requests, 3 begin with a, 1 with b; it is drawn anew for each, and this is one draw",
        ),
        ("random", "all", "requests begin with any; it is drawn anew for each, and this is one draw"),
    ] {
        let more = format!("model: [{rules}], preferences: {{SCHEDULING_ALGORITHM: {schedule}}}");
        let (code, out) = ask(&config(&providers, &[key("client", &more)]), "1", "m");
        assert_eq!((code, line(&out, "order:")), (EXPLAINED, &*format!("order: {expected}")), "{schedule} {rules}");
    }
    let (_, out) = ask(&config(&providers, &[key("client", "model: [b/*]")]), "1", "m");
    assert!(!out.contains("order:"), "{out}");
}

#[test]
fn a_key_as_a_rule_has_its_own_order() {
    let providers = ["a", "b", "c"].map(|name| provider(name, "model: [m]"));
    let keys = [
        key("outer", &format!("model: [{}/m: 4, c/*], preferences: {{AUTO_RETRY: 1}}", secret("inner"))),
        key("inner", "model: [a/*: 2, b/*: 1], preferences: {SCHEDULING_ALGORITHM: weighted_round_robin}"),
    ];
    let (code, out) = ask(&config(&providers, &keys), &secret("outer"), "m");
    let expected = "\
sk-ou…89 asks for m, by round_robin

tried  channel  model at the channel  weight  because of
1      a        m                     4 → 2   sk-in…89/m → a/*
2      b        m                     4 → 1   sk-in…89/m → b/*
3      c        m                             c/*

order: all requests begin with sk-in…89; those without a weight follow
order within sk-in…89, by weighted_round_robin: of every 3 requests that begin there, 2 begin with a, 1 with b; then by weight
";
    assert_eq!((code, out.split("\nlimits").next().unwrap()), (EXPLAINED, expected));
    assert_eq!(line(&out, "retries:"), "retries: at most 1");
}

#[test]
fn a_key_is_found_by_whatever_is_true_of_it_alone() {
    let keys = [key("one", ""), key("other", "role: admin"), key("onto", ""), "  - {api: short}\n".to_owned()];
    let text = config(&[provider("a", "model: [m]")], &keys);
    let label = crate::config::Secret::new(secret("other")).label();
    for (written, asks) in [
        (secret("one").as_str(), "sk-on…89 asks"),
        (" 1 ", "sk-on…89 asks"),
        ("2", "sk-ot…89 asks"),
        ("sk-ot…89", "sk-ot…89 asks"),
        ("sk-ot..89", "sk-ot…89 asks"),
        (&label, "sk-ot…89 asks"),
        ("Admin", "sk-ot…89 asks"),
        ("short", "… asks"),
    ] {
        let (code, out) = ask(&text, written, "m");
        assert!(code == EXPLAINED && out.starts_with(asks), "{written}: {out}");
    }
    let list = "1  sk-on…89\n2  sk-ot…89  admin\n3  sk-on…89\n4  …\n";
    for written in [secret("none").as_str(), "sk-", "0", "5", "", "user"] {
        let expected = format!("no client key is like that; there are\n{list}");
        assert_eq!(ask(&text, written, "m"), (REFUSED, expected), "{written}");
    }
    let several = "several client keys are like that; give the position of one of them\n1  sk-on…89\n3  sk-on…89\n";
    assert_eq!(ask(&text, "sk-on…89", "m"), (REFUSED, several.to_owned()));
}

#[test]
fn a_model_that_the_key_may_not_use_is_named_with_those_it_may() {
    let providers = [provider("a", "model: [gpt-4o, o1]"), provider("b", "model: [gpt-5]"), provider("c", "")];
    let text = config(&providers, &[key("one", "model: [a/*]"), key("other", "model: [c/*]")]);
    let expected = "\
sk-on…89 may not use gpt-4p, did you mean \"gpt-4o\"?
it may use gpt-4o, o1

not tried
a  lists no gpt-4p, did you mean \"gpt-4o\"?
b  lists no gpt-4p, did you mean \"gpt-5\"?
c  asks its upstream for its models while it runs, but no rule of this key would allow gpt-4p
";
    assert_eq!(ask(&text, "1", "gpt-4p"), (REFUSED, expected.to_owned()));
    assert_eq!(line(&ask(&text, "1", "gpt-5").1, "b "), "b  offers it, but no rule of this key allows it");
    let (code, out) = ask(&text, "2", "gpt-5");
    assert_eq!(
        (code, out.lines().next()),
        (EXPLAINED, Some("sk-ot…89 asks for gpt-5, which no channel is known to have yet"))
    );
    let models: Vec<String> = (0..12).map(|number| format!("m{number}")).collect();
    let many = config(&[provider("a", &format!("model: [{}]", models.join(", ")))], &[key("one", "")]);
    let expected = "it may use m0, m1, m2, m3, m4, m5, m6, m7, m8, m9 and 2 more";
    assert_eq!(line(&ask(&many, "1", "x").1, "it may"), expected);
    assert_eq!(ask(&many, "1", &secret("model")).0, REFUSED);
}

#[test]
fn channels_of_one_name_are_told_apart() {
    let providers = [provider("a", "model: [m: x]"), provider("b", "model: [m]"), provider("a", "model: [m, n]")];
    let (_, out) = ask(&config(&providers, &[key("one", "")]), "1", "m");
    assert!(out.contains("\n2      a (2)    m "), "{out}");
    assert!(line(&out, "a (1)").ends_with("by the name x"), "{out}");
}

#[test]
fn limits_are_those_of_the_model() {
    let slow = provider("slow", "model: [m, n], preferences: {model_timeout: {m: 7.5}}");
    let providers = [slow.clone(), provider("fast", "model: [m, omni-moderation-latest]")];
    let more = "preferences: {RATE_LIMIT: {m: '5/h,20', default: 9/tpr}, ENABLE_MODERATION: true, AUTO_RETRY: false}";
    let keys = [key("one", &format!("model: [all], {more}"))];
    let (_, out) = ask(&(config(&providers, &keys) + "preferences: {deadline: 30}\n"), "1", "m");
    assert_eq!(line(&out, "limits:"), "limits: 5/hour, 20/min (as m) for this key, none for all keys");
    assert_eq!(line(&out, "retries:"), "retries: none");
    assert_eq!(line(&out, "moderated"), "moderated by: omni-moderation-latest at fast");
    assert!(line(&out, "1 slow").ends_with("  7.5 s to the first event"), "{out}");
    assert_eq!(line(&out, "time:"), "time: to the first event as each channel has it");
    assert_eq!(line(&out, "deadline:"), "deadline: 30 s until the answer begins, over all attempts");
    let (_, out) = ask(&config(&[slow], &[key("one", "")]), "1", "m");
    assert!(out.contains("up to 7.5 s to the first event, 7.5 s between events (model_timeout)"), "{out}");
    let keys = [key("one", "preferences: {ENABLE_MODERATION: true}")];
    let (_, out) = ask(&config(&[provider("open", "")], &keys), "1", "m");
    assert!(
        line(&out, "moderated").ends_with("if one of the upstreams that are asked for their models has it"),
        "{out}"
    );
}

#[test]
fn what_cannot_start_cannot_be_explained() {
    let (code, out) = ask("providers: [", "1", "m");
    assert_eq!(
        (code, out.as_str()),
        (CANNOT_START, "api.yaml: 1 error; the gateway cannot start (see `uni-api check`)\n")
    );
    let (code, out) = ask("", "1", "m");
    assert!(code == CANNOT_START && out.starts_with("error: "), "{out}");
}

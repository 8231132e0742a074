use std::time::Duration;

use super::*;

const OLD: &str = "\
providers:
  - {provider: stays, base_url: 'http://h/v1', api: sk-CANARY-stays-0123456789, model: [m]}
  - provider: changes
    base_url: http://u:CANARY1@h/v1
    api: [sk-CANARY-one-0123456789, sk-CANARY-two-0123456789]
    model: [a, b]
  - {provider: goes, base_url: 'http://h/v1', api: sk-CANARY-goes-0123456789, model: [m]}
api_keys:
  - {api: sk-CANARY-first-0123456789, model: [stays/*, changes/a]}
  - {api: sk-CANARY-other-0123456789}
";

const NEW: &str = "\
providers:
  - provider: changes
    base_url: http://u:CANARY2@h/v1
    api: [sk-CANARY-two-0123456789, sk-CANARY-six-0123456789]
    model: [b, up: c]
    preferences: {api_key_rate_limit: 5/min, cooldown_period: 7, model_timeout: {b: 3, default: 9},
      proxy: 'socks5://CANARY:CANARY@proxy.example', headers: {x-team: CANARY}, http2: true,
      post_body_parameter_overrides: {user: CANARY, __remove__: seed, c: {top_p: 1}}}
  - {provider: stays, base_url: 'http://h/v1', api: sk-CANARY-stays-0123456789, model: [m]}
  - {provider: comes, base_url: 'http://h/v1', api: sk-CANARY-comes-0123456789, model: [m]}
api_keys:
  - {api: sk-CANARY-third-0123456789}
  - api: sk-CANARY-first-0123456789
    role: admin
    model: [stays/*: 2, sk-CANARY-third-0123456789/*]
    preferences: {SCHEDULING_ALGORITHM: random, AUTO_RETRY: 2, RATE_LIMIT: 5/min}
preferences: {rate_limit: 100/min, deadline: 20, trusted_proxies: [10.0.0.1], metrics: public, stats: {text: off, retention_days: off}}
";

const CHANGES: &str = "\
channel changes:
  base_url: http://h/v1, otherwise in what is not shown
  api: added sk-CA…89#63934419
  api: removed sk-CA…89#649884e6
  model: added up -> c
  model: removed a
  model_timeout: none -> b: 3 s, default: 9 s
  api_key_rate_limit: none -> 5/min
  cooldown_period: 0 s -> 7 s
  proxy: none -> SOCKS5 proxy proxy.example:1080
  http2: no -> yes
  headers: none -> x-team
  post_body_parameter_overrides: none -> user, without seed, c: {top_p}
channel goes: removed
channel comes: added
order of the channels: changes, stays, comes
client key sk-CA…89#8793ce43:
  admin: no -> yes
  model: added stays/*: 2, sk-CA…89/*
  model: removed stays/*, changes/a
  SCHEDULING_ALGORITHM: round_robin -> random
  AUTO_RETRY: true -> 2
  RATE_LIMIT: 60/min -> 5/min
client key sk-CA…89#9af4d432: removed
client key sk-CA…89#4e0a6310: added
preferences:
  rate_limit: none -> 100/min
  deadline: by model -> 20 s
  trusted_proxies: added 10.0.0.1/32
  trusted_proxies: removed 127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, ::1/128, fc00::/7
  metrics: admin -> public
  stats.text: 2000 -> 0
  stats.retention_days: 90 -> off
";

fn diff(old: &str, new: &str) -> (u8, String) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("old.yaml", old), ("new.yaml", new)] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let around = Surroundings {
        working_dir: dir.path(),
        env: &|_| None,
        fetch: &|_| Err("nothing is fetched".to_owned()),
        patience: Duration::from_secs(100),
    };
    let mut out = Vec::new();
    let code = run(Path::new("old.yaml"), Path::new("new.yaml"), &around, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

#[test]
fn what_comes_goes_and_changes_is_told_without_a_secret() {
    let (code, out) = diff(OLD, NEW);
    assert!(!out.contains("CANARY"), "{out}");
    assert_eq!(code, DIFFERENT, "{out}");
    assert_eq!(out, CHANGES);
}

#[test]
fn a_file_is_like_itself_whatever_its_comments() {
    assert_eq!(diff(OLD, &format!("# hello\n{OLD}")), (SAME, "nothing changes\n".to_owned()));
}

#[test]
fn another_order_of_channels_is_a_change() {
    let channel = |name: &str| format!("{{provider: {name}, base_url: 'http://h/v1', model: [m]}}");
    let file = |channels: [&str; 2]| {
        format!("providers: [{}]\napi_keys: [{{api: sk-client-0123456789}}]\n", channels.map(channel).join(", "))
    };
    let (code, out) = diff(&file(["a", "b"]), &file(["b", "a"]));
    assert_eq!((code, out.as_str()), (DIFFERENT, "order of the channels: b, a\n"));
}

#[test]
fn a_file_that_would_be_refused_has_the_code_of_one_that_cannot_be_used() {
    let worse = OLD.replace("provider: goes, base_url: 'http://h/v1'", "provider: goes, base_url: nonsense");
    let (code, out) = diff(OLD, &worse);
    assert_eq!(code, CANNOT_START);
    assert!(out.starts_with("new.yaml: 1 error") && out.contains("channel goes: removed\n"), "{out}");
    assert!(out.ends_with("a gateway that runs refuses it\n"), "{out}");
    assert_eq!(diff(&worse, OLD).0, DIFFERENT, "what gets better is taken");
    let (code, out) = diff(OLD, "providers: [");
    assert_eq!((code, out.as_str()), (2, "new.yaml: 1 error; the gateway cannot start (see `uni-api check`)\n"));
}

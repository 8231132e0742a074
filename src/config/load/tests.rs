//! The whole way from text to configuration.

use super::*;
use crate::config::resolved::*;

mod accounts;
mod limits;
mod nested;
mod tuning;

const PATIENCE: Duration = Duration::from_secs(100);

fn load_with(text: &str, env: &[(&str, &str)]) -> Loaded {
    let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    parse(text, "api.yaml", &env, PATIENCE)
}

fn load(text: &str) -> Loaded {
    load_with(text, &[])
}

impl Loaded {
    fn lines(&self) -> Vec<String> {
        self.diagnostics.iter().map(ToString::to_string).collect()
    }

    fn all(&self) -> String {
        self.lines().join("\n")
    }

    fn says(&self, part: &str) {
        assert!(self.all().contains(part), "{part:?} is not in:\n{}", self.all());
    }

    fn config(&self) -> &Config {
        self.config.as_ref().unwrap_or_else(|| panic!("{}", self.all()))
    }
}

/// A provider list of one good entry and the given lines, and one client key.
fn with_provider(lines: &str) -> Loaded {
    load(&format!(
        "providers:\n  - {{provider: good, base_url: http://good/v1, model: [m]}}\n  - {}\napi_keys: [{{api: sk-client}}]\n",
        lines.trim().replace('\n', "\n    ")
    ))
}

/// One good provider, one good key and another one of the given lines.
fn with_key(lines: &str) -> Loaded {
    load(&format!(
        "providers:\n  - {{provider: good, base_url: http://good/v1, model: [m, a/b]}}\napi_keys:\n  - {{api: sk-first}}\n  - {}\n",
        lines.trim().replace('\n', "\n    ")
    ))
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.config().channels.iter().map(|channel| &*channel.name).collect()
}

const MINIMAL: &str = "providers:\n  - provider: p\n    base_url: https://api.your.com/v1/chat/completions\n    api: sk-YgS6\napi_keys:\n  - api: sk-Pkj6\n";

#[test]
fn the_minimal_file_has_sensible_defaults() {
    let loaded = load(MINIMAL);
    assert_eq!(loaded.lines(), [""; 0]);
    let config = loaded.config();
    assert_eq!((config.max_request_body_bytes, config.max_upload_bytes), (32 << 20, 128 << 20));
    assert_eq!(config.media_fetch, MediaFetch::Public);
    let channel = &config.channels[0];
    assert_eq!((&*channel.name, channel.dialect, channel.keys.len()), ("p", Dialect::Gpt, 1));
    assert!(channel.tools && channel.stream_usage && matches!(channel.models, ModelSource::Discovered));
    assert_eq!(channel.limits, TimeLimits::with_patience(PATIENCE));
    let key = config.client_keys.find(b"sk-Pkj6").unwrap();
    assert!(key.is_admin);
    assert_eq!(key.rules, [Rule { target: RuleTarget::Everything, weight: None }]);
    assert_eq!((key.schedule, key.retries), (Schedule::RoundRobin, Retries::UntilExhausted));
}

#[test]
fn the_example_file_is_free_of_mistakes() {
    let loaded = load(include_str!("../../../api.yaml.example"));
    assert_eq!(loaded.lines(), [""; 0]);
    assert!(loaded.config.is_some());
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_do_no_harm() {
    let text = format!("\u{feff}{}", MINIMAL.replace('\n', "\r\n"));
    assert_eq!(load(&text).lines(), [""; 0]);
}

#[test]
fn unknown_key_is_a_warning_with_a_suggestion() {
    let loaded = with_provider("provider: p\nbase_url: http://h/v1\nmodle: [x]\nwhatever: 1");
    assert_eq!(
        loaded.lines(),
        [
            "api.yaml:5:5: warning: providers[1].modle: unknown key, it is ignored, did you mean \"model\"?",
            "api.yaml:6:5: warning: providers[1].whatever: unknown key, it is ignored",
        ]
    );
    assert_eq!(names(&loaded), ["good", "p"]);
}

#[test]
fn a_misspelt_required_key_is_recognised() {
    let loaded = with_provider("provider: p\nurl: http://h/v1\nkey: sk-CANARY");
    loaded.says("api.yaml:3:5: error: providers[1].base_url: missing; there is \"url\", did you mean \"base_url\"?");
    loaded.says("providers[1].api: missing; there is \"key\", did you mean \"api\"?");
    assert_eq!(names(&loaded), ["good"]);
    assert!(!loaded.all().contains("CANARY"));
}

#[test]
fn all_mistakes_of_a_provider_are_told_and_only_it_is_switched_off() {
    let loaded = with_provider(
        "provider: [p]\nbase_url: api.openai.com/v1\napi: {a: sk-CANARY}\nmodel: {a: b}\ntools: sometimes\npreferences: [x]",
    );
    assert_eq!(names(&loaded), ["good"]);
    for part in [
        "3:5: error: providers[1].provider: expected a text, found a list",
        "providers[1].base_url: expected a full address",
        "did you mean https://api.openai.com/v1?",
        "providers[1].api: expected a key or a list of keys, found a mapping",
        "providers[1].model: expected a list; put a dash in front of each line",
        "providers[1].tools: expected true or false",
        "providers[1].preferences: expected a mapping, found a list",
    ] {
        loaded.says(part);
    }
    assert_eq!(loaded.all().matches("this provider is switched off").count(), 1);
    assert!(!loaded.all().contains("CANARY"));
}

#[test]
fn providers_that_are_switched_off_are_listed_with_the_reason() {
    let off = |lines| {
        let off = with_provider(lines).off;
        off.into_iter().map(|off| (off.name, off.why)).collect::<Vec<_>>()
    };
    assert_eq!(off("{provider: a, base_url: http://a/v1, tols: true}"), []);
    let foreign = "providers[1]: speaks aws, which is not available; this provider is switched off";
    for (lines, name, why) in [
        ("{provider: a, engine: aws, base_url: http://a, tols: true}", "a", foreign),
        ("text", "providers[1]", "providers[1]: expected a mapping with provider, base_url and api, found a text"),
        ("{provider: a, base_url: a, api: {}}", "a", "providers[1].base_url: expected a full address"),
        ("{provider: [], base_url: http://a}", "providers[1]", "providers[1].provider: expected a text, found a list"),
    ] {
        let off = off(lines);
        assert!(matches!(&*off, [(is, because)] if is == name && because.starts_with(why)), "{off:?}");
    }
}

#[test]
fn no_message_ever_contains_a_key() {
    let text = "providers:
  - provider: sk-CANARY1
    base_url: sk-CANARY2
    api: [sk-CANARY3, {sk-CANARY4: x}]
    engine: sk-CANARY5
    model: sk-CANARY6
    tools: sk-CANARY7
    sk-CANARY8: x
    preferences: sk-CANARY9
  - sk-CANARY10
  - {provider: p, base_url: 'https://user:CANARY@h/v1?key=CANARY', api: \"sk-CANARY\\n\\u00e9\", tools: x}
  - {provider: ok, base_url: 'https://user:CANARY@h/v1', model: [m]}
  - {provider: p, base_url: 'https://h/v1', preferences: {api_key_rate_limit: {m: sk-CANARY50}, api_key_schedule_algorithm: sk-CANARY51,
      api_key_cooldown_period: sk-CANARY52, model_timeout: sk-CANARY53, breaker: {failures: sk-CANARY54, open: sk-CANARY55, sk-CANARY56: x}}}
api_keys:
  - {api: sk-CANARY11, model: [sk-CANARY12/*, sk-CANARY13, <sk-CANARY14>], role: sk-CANARY15, preferences: {SCHEDULING_ALGORITHM: sk-CANARY16, AUTO_RETRY: sk-CANARY17, RATE_LIMIT: sk-CANARY18, rate_limit: {sk-CANARY30: 5/CANARY}}}
  - {api: sk-CANARY19}
  - {api: sk-CANARY19}
  - {api: [sk-CANARY20, sk-CANARY21]}
  - {key: sk-CANARY22}
  - {api: {sk-CANARY23: x}}
  - sk-CANARY24
  - {api: sk-CANARY31, model: [sk-CANARY32]}
  - {api: sk-CANARY32, model: [sk-CANARY31/sk-CANARY33, sk-CANARY34]}
  - {api: sk-CANARY35, model: [ok/*], preferences: {ENABLE_MODERATION: true}}
  - {api: sk-CANARY36, model: [sk-CANARY35/*, sk-CANARY37/*, sk-CANARY38/m]}
  - {api: sk-CANARY39, model: [sk-CANARY40/sk-CANARY41]}
  - {api: sk-CANARY40, model: [m]}
preferences: {max_request_body_bytes: sk-CANARY25, media_fetch: sk-CANARY26, rate_limit: sk-CANARY42, deadline: sk-CANARY43,
  moderation_on_error: sk-CANARY44, model_timeout: {m: sk-CANARY45}, cooldown_period: [sk-CANARY46], breaker: sk-CANARY47,
  metrics: sk-CANARY48}
";
    let loaded = load(text);
    assert!(loaded.diagnostics.len() > 15);
    assert!(!loaded.all().contains("CANARY"), "{}", loaded.all());
    for broken in
        ["providers: [sk-CANARY", "api: 'sk-CANARY", "a: !sk-CANARY x", "a: *sk-CANARY", "sk-CANARY", "- sk-CANARY"]
    {
        let loaded = load(broken);
        assert!(loaded.config.is_none());
        assert!(!loaded.all().contains("CANARY"), "{}", loaded.all());
    }
}

#[test]
fn what_cannot_start_says_why() {
    for (text, part) in [
        ("", "expected a mapping with the keys providers and api_keys, found nothing"),
        ("- a\n", "found a list"),
        ("api_keys: [{api: k}]\n", "providers: missing"),
        ("provider: []\napi_keys: []\n", "providers: missing; there is \"provider\", did you mean \"providers\"?"),
        ("providers: {a: b}\n", "providers: expected a list, each entry beginning with `- provider:`, found a mapping"),
        ("providers: []\n", "no usable provider is left"),
        ("providers: [{provider: p, base_url: 'http://h/v1'}]\napi_keys: [{api: ''}]\n", "no usable key is left"),
        ("providers: [{provider: p, base_url: 'http://h/v1'}]\n", "api_keys: missing"),
        ("a: [\n", "not valid YAML"),
    ] {
        let loaded = load(text);
        assert!(loaded.config.is_none(), "{text}");
        loaded.says(part);
    }
}

#[test]
fn a_key_that_is_there_twice_is_an_error_and_the_later_one_counts() {
    let loaded = with_provider("provider: p\nbase_url: http://h/v1\napi: a\napi: [b, c]");
    loaded.says("error: providers[1].api: this key is there twice");
    assert_eq!(loaded.config().channels[1].keys.len(), 2);
}

#[test]
fn anchors_and_merge_keys_work() {
    let loaded = load(
        "x-common: &c {tools: false, api: [a]}\nproviders:\n  - <<: *c\n    provider: p\n    base_url: http://h/v1\napi_keys: [{api: k}]\n",
    );
    assert_eq!(loaded.lines(), [""; 0]);
    assert!(!loaded.config().channels[0].tools);
}

#[test]
fn models_are_renamed_and_the_last_alias_counts() {
    let loaded = with_provider("provider: p\nbase_url: http://h/v1\nmodel: [a, up: b, other: b, a, 4: 5, [c]]");
    assert_eq!(loaded.diagnostics.len(), 1, "{}", loaded.all());
    loaded.says("warning: providers[1].model[2]: \"b\" was given to another model above; this one counts");
    let ModelSource::Listed(models) = &loaded.config().channels[1].models else { panic!("listed") };
    let pairs: Vec<_> = models.iter().map(|model| (&*model.upstream, &*model.alias)).collect();
    assert_eq!(pairs, [("a", "a"), ("other", "b"), ("4", "5"), ("c", "c")]);
}

#[test]
fn an_empty_model_list_is_discovered() {
    for model in ["", "[]"] {
        let loaded = with_provider(&format!("provider: p\nbase_url: http://h/v1\nmodel: {model}"));
        assert!(matches!(loaded.config().channels[1].models, ModelSource::Discovered));
    }
}

#[test]
fn numbers_are_names_and_keys() {
    let loaded = with_provider("provider: 302\nbase_url: http://h/v1\napi: [123, [456, x]]\nmodel: [7]");
    assert_eq!(names(&loaded), ["good", "302"]);
    let keys: Vec<_> = loaded.config().channels[1].keys.iter().map(|key| key.expose()).collect();
    assert_eq!(keys, ["123", "456", "x"]);
}

#[test]
fn a_provider_that_speaks_a_foreign_dialect_is_switched_off_with_a_warning() {
    let loaded = with_provider("provider: a\nbase_url: https://bedrock-runtime.us-east-1.amazonaws.com\nmodel: [c]");
    assert_eq!(names(&loaded), ["good"]);
    assert_eq!(
        loaded.lines(),
        ["api.yaml:3:5: warning: providers[1]: speaks aws, which is not available; this provider is switched off"]
    );
}

#[test]
fn an_unknown_engine_is_an_error_with_a_suggestion() {
    let loaded = with_provider("provider: p\nbase_url: http://h/v1\nengine: openruter");
    loaded
        .says("error: providers[1].engine: unknown engine \"openruter\", did you mean \"openrouter\"? (there are gpt,");
    assert_eq!(names(&loaded), ["good"]);
    with_provider("provider: p\nbase_url: http://h/v1\nengine: codex").says("warning: providers[1]: speaks codex");
}

#[test]
fn variables_are_replaced_and_their_absence_is_explained() {
    let text = "providers:
  - {provider: a, base_url: '${BASE:-http://h/v1}', api: '${KEY}', tools: '${TOOLS:-false}', model: ['${MODEL}']}
  - {provider: b, base_url: 'http://h/v1', api: '${MISSING}'}
  - {provider: c, base_url: 'http://h/v1', api: ['${MISSING}', k]}
api_keys: [{api: k}]
";
    let loaded = load_with(text, &[("KEY", "sk-1: [\"#"), ("MODEL", "m")]);
    assert_eq!(names(&loaded), ["a", "c"]);
    let channel = &loaded.config().channels[0];
    assert_eq!(
        (channel.base_url.as_str(), channel.keys[0].expose(), channel.tools),
        ("http://h/v1", "sk-1: [\"#", false)
    );
    loaded.says("api.yaml:3:44: warning: providers[1].api: the environment variable MISSING is not set");
    loaded.says(
        "error: providers[1].api: is empty, because the environment variable MISSING is not set; leave `api` out",
    );
    loaded.says(
        "warning: providers[2].api: is empty, because the environment variable MISSING is not set; the other keys",
    );
    assert_eq!(loaded.config().channels[1].keys.len(), 1);
}

#[test]
fn preferences_without_effect_are_known() {
    let loaded = with_provider(
        "provider: p\nbase_url: http://h/v1\nimage: false\nnotes: x\npreferences: {stream_usage: false, search_defaults: CANARY, timeout_policy: x}",
    );
    assert!(!loaded.all().contains("unknown key") && !loaded.all().contains("CANARY"), "{}", loaded.all());
    loaded.says("warning: providers[1].preferences.search_defaults: has no effect yet");
    assert!(!loaded.config().channels[1].stream_usage);
}

#[test]
fn the_body_limit_has_units() {
    let loaded = load(&format!("{MINIMAL}preferences: {{max_request_body_bytes: 20MiB}}\n"));
    assert_eq!((loaded.config().max_request_body_bytes, loaded.lines()), (20 << 20, vec![]));
}

#[test]
fn forms_may_be_as_large_as_any_body_at_least() {
    for (preferences, bytes) in [
        ("max_upload_bytes: 1GiB", 1 << 30),
        ("max_upload_bytes: 1MiB", 32 << 20),
        ("max_upload_bytes: 1MiB, max_request_body_bytes: 1000", 1 << 20),
        ("max_request_body_bytes: 200MiB", 200 << 20),
    ] {
        let loaded = load(&format!("{MINIMAL}preferences: {{{preferences}}}\n"));
        assert_eq!((loaded.config().max_upload_bytes, loaded.lines()), (bytes, vec![]), "{preferences}");
    }
}

#[test]
fn media_fetch_is_one_of_three_words() {
    for (word, choice) in
        [("deny", MediaFetch::Deny), ("Public", MediaFetch::Public), ("ANY", MediaFetch::Any), ("", MediaFetch::Public)]
    {
        let loaded = load(&format!("{MINIMAL}preferences: {{media_fetch: {word}}}\n"));
        assert_eq!((loaded.config().media_fetch, loaded.lines()), (choice, vec![]), "{word}");
    }
}

#[test]
fn a_mistake_in_media_fetch_opens_nothing() {
    let loaded = load(&format!("{MINIMAL}preferences:\n  media_fetch: pubic\n"));
    loaded.says(
        "api.yaml:8:3: error: preferences.media_fetch: unknown word \"pubic\", did you mean \"public\"? (there are \
         deny, public, any); nothing is fetched",
    );
    assert_eq!(loaded.config().media_fetch, MediaFetch::Deny);
    let loaded = load(&format!("{MINIMAL}preferences: {{media_fetch: [any]}}\n"));
    loaded.says("preferences.media_fetch: expected a text, found a list");
    assert_eq!(loaded.config().media_fetch, MediaFetch::Deny);
}

#[test]
fn an_empty_client_key_is_refused() {
    for key in ["''", "'  '", "sk-", "", "[]", "'a b'", "[a, b]"] {
        let loaded = with_key(&format!("api: {key}"));
        assert_eq!(loaded.config().client_keys.iter().count(), 1, "{key}");
        loaded.says("error: api_keys[1].api: ");
        loaded.says("this key is switched off");
    }
}

#[test]
fn a_client_key_that_is_there_twice_keeps_its_first_entry() {
    let loaded = with_key("api: sk-first\nrole: admin");
    loaded.says("warning: api_keys[1].api: the same key as api_keys[0]; this entry is ignored");
    assert!(!loaded.config().client_keys.find(b"sk-first").unwrap().is_admin);
}

#[test]
fn a_broken_entry_never_makes_the_other_key_admin() {
    let loaded = with_key("api: sk-second\nrole: [admin]");
    assert!(!loaded.config().client_keys.find(b"sk-first").unwrap().is_admin);
    assert!(loaded.config().client_keys.find(b"sk-second").is_none());
}

#[test]
fn a_role_with_admin_in_it_is_admin() {
    for (role, is_admin) in [("admin", true), ("Admin", true), ("alice-administrator", true), ("alice", false)] {
        let loaded = with_key(&format!("api: k\nrole: {role}"));
        assert_eq!(loaded.config().client_keys.find(b"k").unwrap().is_admin, is_admin, "{role}");
    }
}

#[test]
fn preferences_of_a_client_key_are_read() {
    let loaded = with_key(
        "api: k\nmodel: good/*\npreferences: {SCHEDULING_ALGORITHM: Fixed_Priority, AUTO_RETRY: 'false', ENABLE_MODERATION: false}",
    );
    let key = loaded.config().client_keys.find(b"k").unwrap();
    assert_eq!((key.schedule, key.retries, key.is_moderated), (Schedule::FixedPriority, Retries::AtMost(0), false));
    assert_eq!(key.rules, [Rule { target: RuleTarget::Provider("good".into()), weight: None }]);
    assert_eq!(loaded.lines(), [""; 0]);
}

#[test]
fn every_algorithm_is_known_by_name_and_others_are_an_error() {
    for (schedule, name) in Schedule::ALL {
        for written in [name.to_owned(), format!("' {} '", name.to_uppercase())] {
            let loaded = with_key(&format!("api: k\npreferences: {{SCHEDULING_ALGORITHM: {written}}}"));
            assert_eq!(loaded.lines(), [""; 0]);
            assert_eq!(loaded.config().client_keys.find(b"k").unwrap().schedule, schedule);
        }
    }
    let loaded = with_key("api: k\npreferences: {SCHEDULING_ALGORITHM: fixed_prioritiy}");
    loaded.says(
        "6:19: error: api_keys[1].preferences.SCHEDULING_ALGORITHM: unknown word \"fixed_prioritiy\", did you mean \
         \"fixed_priority\"? (there are fixed_priority, round_robin, weighted_round_robin, lottery, random); this key",
    );
    assert!(loaded.config().client_keys.find(b"k").is_none());
}

#[test]
fn rules_that_name_nothing_are_warnings() {
    let loaded = with_key("api: k\nmodel: [godo/*, good/mm, n, a/b, '<a/b>', m: 2, good]");
    for part in [
        "api_keys[1].model[0]: no provider is called \"godo\", did you mean \"good\"?",
        "api_keys[1].model[1]: the provider \"good\" does not list \"mm\", did you mean \"m\"?",
        "api_keys[1].model[2]: no provider lists \"n\"",
        "api_keys[1].model[3]: no provider is called \"a\"; for the model of that name write <a/b>",
        "api_keys[1].model[6]: no provider lists \"good\"; for all of that provider write \"good/*\"",
    ] {
        loaded.says(part);
    }
    assert_eq!(loaded.diagnostics.len(), 5, "{}", loaded.all());
    assert_eq!(loaded.config().client_keys.find(b"k").unwrap().rules.len(), 7);
}

#[test]
fn rules_are_not_doubted_while_a_provider_is_discovered() {
    let text = format!("{MINIMAL}    model: [anything, p/other]\n");
    assert_eq!(load(&text).lines(), [""; 0]);
}

#[test]
fn rules_that_name_a_provider_that_is_switched_off_say_so() {
    let loaded = load(
        "providers:\n  - {provider: good, base_url: 'http://h/v1', model: [m]}\n  - {provider: a, base_url: 'https://bedrock.amazonaws.com', model: [c]}\napi_keys:\n  - {api: k, model: [a/*, c]}\n",
    );
    loaded.says("the provider \"a\" is switched off");
    loaded.says("\"c\" is only listed by providers that are switched off");
}

#[test]
fn a_broken_rule_switches_its_key_off() {
    for rule in ["good/*: 0", "''", "good/", "{a: 1, b: 2}", "[[{a: {}}]]", "m: "] {
        let loaded = with_key(&format!("api: k\nmodel:\n  - {rule}"));
        assert!(loaded.config().client_keys.find(b"k").is_none(), "{rule}");
        loaded.says("error: api_keys[1].model[0]");
    }
}

proptest::proptest! {
    #[test]
    fn no_damage_to_a_file_makes_the_loader_panic(at in 0_usize..6000, length in 0_usize..40, splice in "[-a-z:*&<!{}\\[\\]\"'#|> \t\n]{0,6}") {
        let mut text: Vec<char> = include_str!("../../../api.yaml.example").chars().collect();
        let start = at.min(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, splice.chars());
        load(&text.into_iter().collect::<String>());
    }
}

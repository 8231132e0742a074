//! Client keys as channels of others, and keys whose prompts are moderated.

use std::sync::Arc;

use super::*;
use crate::config::Fingerprint;

/// Client keys, one a line, in front of one provider with two models.
fn with_keys(keys: &[&str]) -> Loaded {
    load(&format!(
        "providers:\n  - {{provider: good, base_url: http://good/v1, model: [m, a/b]}}\napi_keys:\n  - {{{}}}\n",
        keys.join("}\n  - {")
    ))
}

fn on(loaded: &Loaded) -> Vec<&str> {
    loaded.config.iter().flat_map(|config| config.client_keys.iter()).map(|key| key.secret.expose()).collect()
}

fn targets(loaded: &Loaded, key: &str) -> Vec<RuleTarget> {
    let key = loaded.config().client_keys.find(key.as_bytes()).unwrap_or_else(|| panic!("{}", loaded.all()));
    key.rules.iter().map(|rule| rule.target.clone()).collect()
}

fn client(key: &str, alias: Option<&str>) -> RuleTarget {
    RuleTarget::Client { key: Fingerprint::of(key.as_bytes()), alias: alias.map(Arc::from) }
}

#[test]
fn another_key_is_a_channel_in_every_form() {
    let loaded = with_keys(&[
        "api: sk-outer, model: [sk-inner/*: 5, sk-inner/m, sk-inner/a/b, sk-inner: 2, plain/*, plain, good/*]",
        "api: sk-inner",
        "api: plain",
    ]);
    assert_eq!(loaded.lines(), [""; 0]);
    let inner = |alias| client("sk-inner", alias);
    let plain = || client("plain", None);
    let all = [inner(None), inner(Some("m")), inner(Some("a/b")), inner(None), plain(), plain()];
    assert_eq!(targets(&loaded, "sk-outer")[..6], all);
    assert_eq!(targets(&loaded, "sk-outer")[6], RuleTarget::Provider("good".into()));
    let keys: Vec<_> = loaded.config().client_keys.iter().collect();
    let weights: Vec<_> = keys[0].rules.iter().map(|rule| rule.weight).collect();
    assert_eq!(weights, [Some(5), None, None, Some(2), None, None, None]);
    assert_eq!(keys.iter().map(|key| key.id).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn what_a_provider_or_a_model_is_called_is_not_taken_for_a_key() {
    let loaded = load(
        "providers:
  - {provider: sk-on, base_url: http://h/v1, model: [m, plain, sk-key/m]}
  - {provider: sk-off, base_url: nowhere}
api_keys:
  - {api: sk-outer, model: [sk-on/*, sk-off/*, plain, all, plain/m, sk-key/m]}
  - {api: sk-on}
  - {api: sk-off}
  - {api: plain}
  - {api: all}
  - {api: sk-key}
",
    );
    let provider = |name: &str| RuleTarget::Provider(name.into());
    let names = [provider("sk-on"), provider("sk-off"), RuleTarget::Model("plain".into()), RuleTarget::Everything];
    assert_eq!(targets(&loaded, "sk-outer")[..4], names);
    let keys = [client("plain", Some("m")), client("sk-key", Some("m"))];
    assert_eq!(targets(&loaded, "sk-outer")[4..], keys);
}

#[test]
fn a_key_that_is_not_there_is_an_error_that_hides_it() {
    let loaded = with_keys(&[
        "api: sk-first",
        "api: k1, model: [sk-fist/*]",
        "api: k2, model: [m, sk-CANARY-0123456789-CANARY]",
        "api: k3, model: [sk-first/]",
    ]);
    assert_eq!(on(&loaded), ["sk-first"]);
    loaded
        .says("error: api_keys[1].model[0]: there is no client key …, did you mean that of api_keys[0]?; this key is");
    loaded.says("error: api_keys[2].model[1]: there is no client key sk-CA…RY; this key is switched off");
    loaded.says("error: api_keys[3].model[0]: expected model, provider/model, provider/*, client-key/*,");
    assert!(!loaded.all().contains("CANARY"));
}

#[test]
fn keys_on_a_circle_are_switched_off() {
    let loaded = with_keys(&[
        "api: sk-a, model: [m, sk-b/*]",
        "api: sk-b, model: [sk-c/m]",
        "api: sk-c, model: [m, sk-a/m]",
        "api: sk-self, model: [sk-self/*, m]",
        "api: sk-outside, model: [sk-a/*, m]",
        "api: sk-good",
    ]);
    assert_eq!(on(&loaded), ["sk-outside", "sk-good"]);
    for part in [
        "4:28: error: api_keys[0].model[1]: goes in a circle: api_keys[1] leads back to this key; this key is switched off",
        "error: api_keys[1].model[0]: goes in a circle: api_keys[2] leads back to this key; this key is switched off",
        "error: api_keys[2].model[1]: goes in a circle: api_keys[0] leads back to this key; this key is switched off",
        "error: api_keys[3].model[0]: names the key that it belongs to; this key is switched off",
        "error: api_keys[4].model[0]: api_keys[0] is switched off, so this rule is left out",
    ] {
        loaded.says(part);
    }
    assert_eq!(loaded.diagnostics.len(), 5, "{}", loaded.all());
    assert_eq!(targets(&loaded, "sk-outside"), [RuleTarget::Model("m".into())]);
    let ids: Vec<_> = loaded.config().client_keys.iter().map(|key| key.id).collect();
    assert_eq!(ids, [0, 1]);
}

#[test]
fn two_ways_to_one_key_are_no_circle() {
    let loaded = with_keys(&["api: sk-a, model: [sk-b/*, sk-c/*]", "api: sk-b, model: [sk-c/*]", "api: sk-c"]);
    assert_eq!(loaded.lines(), [""; 0]);
    assert_eq!(on(&loaded), ["sk-a", "sk-b", "sk-c"]);
}

#[test]
fn a_key_that_is_off_takes_the_rules_that_name_it_with_it() {
    let loaded = with_keys(&[
        "api: sk-first, model: [sk-second/*]",
        "api: sk-second, model: [sk-third/*]",
        "api: sk-third, model: ['good/*: 0', 'good/'], role: x",
        "api: sk-rest, model: [sk-first/m, m]",
    ]);
    assert_eq!(on(&loaded), ["sk-rest"]);
    for part in [
        "error: api_keys[2].model[1]: expected model,",
        "error: api_keys[1].model[0]: api_keys[2] is switched off, so this rule is left out",
        "error: api_keys[1].model: no usable rule is left; this key is switched off",
        "error: api_keys[0].model[0]: api_keys[1] is switched off, so this rule is left out",
        "error: api_keys[0].model: no usable rule is left; this key is switched off",
        "error: api_keys[3].model[0]: api_keys[0] is switched off, so this rule is left out",
    ] {
        loaded.says(part);
    }
    assert_eq!(targets(&loaded, "sk-rest"), [RuleTarget::Model("m".into())]);
    assert!(!loaded.config().client_keys.find(b"sk-rest").unwrap().is_admin);
}

#[test]
fn when_all_keys_are_off_the_gateway_does_not_start() {
    let loaded = with_keys(&["api: sk-a, model: [sk-b/*]", "api: sk-b, model: [sk-a/*]"]);
    assert!(loaded.config.is_none());
    loaded.says("error: api_keys: no usable key is left");
}

#[test]
fn asking_a_key_for_what_it_may_not_use_is_a_warning() {
    let loaded = with_keys(&[
        "api: sk-outer, model: [sk-inner/m, sk-inner/a/b, sk-inner/n, sk-middle/m, sk-middle/a/b]",
        "api: sk-middle, model: [sk-inner/*]",
        "api: sk-inner, model: [good/m]",
    ]);
    assert_eq!(
        loaded.lines(),
        [
            "api.yaml:4:41: warning: api_keys[0].model[1]: api_keys[2] may not use \"a/b\"",
            "api.yaml:4:55: warning: api_keys[0].model[2]: api_keys[2] may not use \"n\"",
            "api.yaml:4:80: warning: api_keys[0].model[4]: api_keys[1] may not use \"a/b\"",
        ]
    );
    assert_eq!(targets(&loaded, "sk-outer").len(), 5);
}

/// A key with these rules that is moderated, another key that may use everything, and these providers.
fn moderated(rules: &str, providers: &[&str]) -> Loaded {
    load(&format!(
        "providers:\n  - {{provider: plain, base_url: http://h/v1, model: [m]}}\n  - {{{}}}\napi_keys:\n  - {{api: sk-inner}}\n  \
         - api: sk-moderated\n    model: {rules}\n    preferences: {{ENABLE_MODERATION: true}}\n",
        providers.join("}\n  - {")
    ))
}

const NEWER: &str = "provider: openai, base_url: http://h/v1, model: [omni-moderation-latest, m]";
const OLDER: &str = "provider: openai, base_url: http://h/v1, model: [up: text-moderation-latest]";
const ROUTER: &str = "provider: router, base_url: http://h/v1, engine: openrouter, model: [omni-moderation-latest]";
const OPEN: &str = "provider: openai, base_url: http://h/v1";
const CLAUDE: &str = "provider: openai, base_url: http://h/v1/messages, model: [omni-moderation-latest]";
const FOREIGN: &str = "provider: openai, base_url: 'https://bedrock.amazonaws.com', model: [omni-moderation-latest]";

#[test]
fn a_key_that_may_use_a_moderation_model_can_be_moderated() {
    for (rules, provider) in [
        ("[all]", NEWER),
        ("", NEWER),
        ("[m, text-moderation-latest]", OLDER),
        ("[openai/*]", OLDER),
        ("[plain/*, openai/omni-moderation-latest]", NEWER),
        ("[<omni-moderation-latest>]", ROUTER),
        ("[openai/*]", OPEN),
        ("[m, omni-moderation-latest]", OPEN),
        ("[sk-inner]", NEWER),
        ("[plain/*, sk-inner/text-moderation-latest]", OLDER),
    ] {
        let loaded = moderated(rules, &[provider]);
        assert_eq!(loaded.lines(), [""; 0], "{rules} {provider}");
        let keys: Vec<_> = loaded.config().client_keys.iter().map(|key| key.is_moderated).collect();
        assert_eq!(keys, [false, true]);
    }
}

#[test]
fn a_key_that_cannot_be_moderated_is_switched_off() {
    for (rules, provider) in [
        ("[m]", NEWER),
        ("[plain/*]", NEWER),
        ("[plain/omni-moderation-latest]", NEWER),
        ("[omni-moderation-latest]", OLDER),
        ("[all]", CLAUDE),
        ("[all]", FOREIGN),
        ("[m, plain/*]", OPEN),
        ("[sk-inner/m]", NEWER),
        ("[sk-inner/*]", CLAUDE),
    ] {
        let loaded = moderated(rules, &[provider]);
        assert_eq!(on(&loaded), ["sk-inner"], "{rules} {provider}");
        loaded.says(
            "error: api_keys[1].preferences.ENABLE_MODERATION: this key may use neither omni-moderation-latest nor \
             text-moderation-latest; list one of them under `model` of an OpenAI-compatible provider, and allow it here \
             with a rule such as openai/omni-moderation-latest; this key is switched off",
        );
    }
}

#[test]
fn a_key_loses_its_moderation_with_the_key_that_leads_there() {
    let loaded = load(&format!(
        "providers: [{{{NEWER}}}]
api_keys:
  - {{api: sk-user, model: [sk-middle, m]}}
  - {{api: sk-middle, model: [m, sk-way], preferences: {{ENABLE_MODERATION: true}}}}
  - {{api: sk-way, model: [openai/*], preferences: {{RATE_LIMIT: never}}}}
"
    ));
    assert_eq!(on(&loaded), ["sk-user"]);
    for part in [
        "api_keys[2].preferences.RATE_LIMIT: expected a rate",
        "api_keys[1].model[1]: api_keys[2] is switched off, so this rule is left out",
        "api_keys[1].preferences.ENABLE_MODERATION: this key may use neither",
        "api_keys[0].model[0]: api_keys[1] is switched off, so this rule is left out",
    ] {
        loaded.says(part);
    }
    assert_eq!(loaded.diagnostics.len(), 4, "{}", loaded.all());
}

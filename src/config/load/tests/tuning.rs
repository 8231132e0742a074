//! How providers are used: keys, rests, time limits, the breaker; and what holds for all of them.

use super::*;
use crate::config::ByModel;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A provider with these preferences, in a file with those at the top.
fn tuned(preferences: &str, top: &str) -> Loaded {
    load(&format!(
        "providers:\n  - {{provider: good, base_url: http://good/v1, model: [m]}}\n  - provider: p\n    base_url: http://h/v1\n    \
         preferences: {preferences}\napi_keys: [{{api: sk-client}}]\npreferences: {top}\n"
    ))
}

fn channel(loaded: &Loaded) -> &Channel {
    loaded.config().channels.get(1).unwrap_or_else(|| panic!("{}", loaded.all()))
}

#[test]
fn a_provider_without_preferences_is_used_as_usual() {
    let loaded = tuned("", "");
    let channel = channel(&loaded);
    assert_eq!(channel.key_schedule, KeySchedule::RoundRobin);
    assert_eq!(channel.rests, Rests { channel: Duration::ZERO, key: None, limited_key: None, spent_key: None });
    assert_eq!(channel.breaker, Some(Breaker { failures: 5, open: seconds(30) }));
    assert!(channel.key_limit.is_empty() && channel.model_timeouts.iter().all(ByModel::is_empty));
    let config = loaded.config();
    assert_eq!((config.deadline, config.passes_unmoderated), (None, false));
}

#[test]
fn http2_is_spoken_where_it_is_wished_and_can_be() {
    let of = |base_url: &str, http2: &str| {
        let provider = format!("provider: p\nbase_url: {base_url}\nmodel: [m]\npreferences: {{{http2}}}");
        let loaded = with_provider(&provider);
        (loaded.config().channels[1].outbound.http2, loaded.lines())
    };
    assert_eq!(of("https://h/v1", ""), (false, vec![]));
    assert_eq!(of("https://h/v1", "http2: false"), (false, vec![]));
    assert_eq!(of("https://h/v1", "http2: true"), (true, vec![]));
    let (_, said) = of("http://h/v1", "http2: true");
    assert!(said[0].contains("preferences.http2: HTTP/2 is spoken to https:// addresses only"), "{said:?}");
}

#[test]
fn keys_have_a_schedule_a_limit_and_rests() {
    let loaded = tuned(
        "{api_key_schedule_algorithm: Fixed_Priority, api_key_rate_limit: {gpt-4o: '15/min,1500/day', default: 5}, \
         api_key_cooldown_period: 0, api_key_rate_limit_cooldown_period: 1.5, api_key_quota_cooldown_period: '3600'}",
        "",
    );
    assert_eq!(loaded.lines(), [""; 0]);
    let channel = channel(&loaded);
    assert_eq!(channel.key_schedule, KeySchedule::FixedPriority);
    let limits: Vec<_> = channel.key_limit.named.iter().map(|(name, limit)| format!("{name}: {limit}")).collect();
    assert_eq!(limits, ["gpt-4o: 15/min, 1500/day"]);
    assert_eq!(channel.key_limit.others.as_ref().map(ToString::to_string).as_deref(), Some("5/min"));
    let rests = Rests {
        channel: Duration::ZERO,
        key: Some(Duration::ZERO),
        limited_key: Some(Duration::from_millis(1500)),
        spent_key: Some(seconds(3600)),
    };
    assert_eq!(channel.rests, rests);
}

#[test]
fn every_key_schedule_is_known_by_name() {
    for (schedule, name) in KeySchedule::ALL {
        let loaded = tuned(&format!("{{api_key_schedule_algorithm: ' {} '}}", name.to_uppercase()), "");
        assert_eq!((channel(&loaded).key_schedule, loaded.lines()), (schedule, vec![]), "{name}");
    }
    let loaded = tuned("{api_key_schedule_algorithm: smart_round_robin}", "");
    assert_eq!(channel(&loaded).key_schedule, KeySchedule::RoundRobin);
    loaded.says("warning: providers[1].preferences.api_key_schedule_algorithm: smart_round_robin is not available;");
}

#[test]
fn a_channel_rests_as_it_says_or_as_all_do() {
    for (own, top, rest) in [
        ("{cooldown_period: 5}", "{cooldown_period: 300}", seconds(5)),
        ("{cooldown_period: 0}", "{cooldown_period: 300}", Duration::ZERO),
        ("", "{cooldown_period: 0.25}", Duration::from_millis(250)),
        ("{cooldown_period: }", "{}", Duration::ZERO),
    ] {
        let loaded = tuned(own, top);
        assert_eq!((channel(&loaded).rests.channel, loaded.lines()), (rest, vec![]), "{own} {top}");
    }
}

#[test]
fn models_have_time_limits_of_the_provider_and_of_all() {
    let loaded = tuned("{model_timeout: {o1: 600, default: 50}}", "{model_timeout: {gpt: 20.5}}");
    assert_eq!(loaded.lines(), [""; 0]);
    let own = ByModel { named: vec![("o1".into(), seconds(600))], others: Some(seconds(50)) };
    let all = ByModel { named: vec![("gpt".into(), Duration::from_millis(20_500))], others: None };
    assert_eq!(channel(&loaded).model_timeouts, [own, all.clone()]);
    assert_eq!(loaded.config().channels[0].model_timeouts, [ByModel::default(), all]);
    let limits = |alias: &str| loaded.config().channels[0].limits_for(alias, "x").idle;
    assert_eq!((limits("gpt-4o"), limits("claude")), (Duration::from_millis(20_500), PATIENCE));
    assert_eq!(channel(&tuned("{model_timeout: 7}", "")).model_timeouts[0], ByModel::same(seconds(7)));
}

#[test]
fn the_breaker_is_on_off_or_has_numbers() {
    let breaker = |failures: u32, open: u64| Some(Breaker { failures, open: seconds(open) });
    for (own, top, meant) in [
        ("{breaker: off}", "", None),
        ("{breaker: false}", "{breaker: {failures: 2}}", None),
        ("{breaker: 'on'}", "{breaker: off}", breaker(5, 30)),
        ("{breaker: true}", "", breaker(5, 30)),
        ("{breaker: {}}", "{breaker: off}", breaker(5, 30)),
        ("{breaker: {failures: 3}}", "{breaker: {failures: 9, open: 9}}", breaker(3, 30)),
        ("{breaker: {open: '60'}}", "", breaker(5, 60)),
        ("{breaker: {failures: 1, open: 2}}", "", breaker(1, 2)),
        ("", "{breaker: {failures: 9, open: 9}}", breaker(9, 9)),
        ("{breaker: }", "{breaker: off}", None),
    ] {
        let loaded = tuned(own, top);
        assert_eq!((channel(&loaded).breaker, loaded.lines()), (meant, vec![]), "{own} {top}");
    }
    let loaded = tuned("{breaker: {threshold: 3, colour: red}}", "");
    loaded.says(
        "warning: providers[1].preferences.breaker.threshold: unknown key, it is ignored, did you mean \"failures\"?",
    );
    loaded.says("warning: providers[1].preferences.breaker.colour: unknown key, it is ignored");
    assert_eq!(channel(&loaded).breaker, breaker(5, 30));
}

#[test]
fn a_mistake_in_its_preferences_switches_a_provider_off() {
    for (written, message) in [
        (
            "api_key_schedule_algorithm: randon",
            ": unknown word \"randon\", did you mean \"random\"? (there are round_robin,",
        ),
        ("api_key_rate_limit: 5/mim", ": unknown unit, did you mean min?; there are"),
        ("api_key_cooldown_period: -1", ": expected a number of seconds, up to a year"),
        ("api_key_rate_limit_cooldown_period: 30s", ": expected a number of seconds, up to a year"),
        ("api_key_quota_cooldown_period: [1]", ": expected a number of seconds, up to a year, found a list"),
        ("cooldown_period: 31536001", ": expected a number of seconds, up to a year"),
        ("model_timeout: 0", ": expected a number of seconds, more than 0 and up to a year"),
        ("model_timeout: {o1: 0}", ".o1: expected a number of seconds, more than 0 and up to a year"),
        ("breaker: sometimes", ": expected on, off, or a mapping with failures and open"),
        ("breaker: [5]", ": expected on, off, or a mapping with failures and open"),
        ("breaker: {failures: 0}", ".failures: expected a positive whole number"),
        ("breaker: {failures: 1.5}", ".failures: expected a positive whole number"),
        ("breaker: {open: 0}", ".open: expected a number of seconds, more than 0 and up to a year"),
    ] {
        let loaded = tuned(&format!("{{{written}}}"), "");
        assert_eq!(names(&loaded), ["good"], "{written}");
        let key = written.split(':').next().unwrap_or_default();
        loaded.says(&format!("error: providers[1].preferences.{key}{message}"));
        loaded.says("; this provider is switched off");
        assert_eq!(loaded.diagnostics.len(), 1, "{}", loaded.all());
    }
}

#[test]
fn settings_of_the_whole_are_read() {
    let loaded = tuned("", "{deadline: 2.5, moderation_on_error: Allow, metrics: public}");
    assert_eq!(loaded.lines(), [""; 0]);
    let config = loaded.config();
    assert_eq!((config.deadline, config.passes_unmoderated), (Some(Duration::from_millis(2500)), true));
    assert!(config.metrics_are_public);
    let loaded = tuned("", "{moderation_on_error: refuse, metrics: admin}");
    assert_eq!((loaded.config().passes_unmoderated, loaded.lines()), (false, vec![]));
    assert!(!loaded.config().metrics_are_public);
}

#[test]
fn a_mistake_in_a_setting_of_the_whole_leaves_the_default() {
    for (written, message) in [
        ("deadline: 0", ": expected a number of seconds, more than 0 and up to a year; the default is used"),
        (
            "model_timeout: {m: never}",
            ".m: expected a number of seconds, more than 0 and up to a year; the default is used",
        ),
        ("cooldown_period: -3", ": expected a number of seconds, up to a year; the default is used"),
        ("breaker: of", ": expected on, off, or a mapping with failures and open; the default is used"),
        ("breaker: {failures: none}", ".failures: expected a positive whole number; the default is used"),
        (
            "moderation_on_error: alow",
            ": unknown word \"alow\", did you mean \"allow\"? (there are refuse, allow); prompts that cannot be moderated \
             are refused",
        ),
        (
            "moderation_on_error: [allow]",
            ": expected a text, found a list; prompts that cannot be moderated are refused",
        ),
        (
            "metrics: pubic",
            ": unknown word \"pubic\", did you mean \"public\"? (there are admin, public); only admins may read them",
        ),
        ("metrics: {public: true}", ": expected a text, found a mapping; only admins may read them"),
    ] {
        let loaded = tuned("", &format!("{{{written}}}"));
        let key = written.split(':').next().unwrap_or_default();
        loaded.says(&format!("error: preferences.{key}{message}"));
        assert_eq!(loaded.diagnostics.len(), 1, "{}", loaded.all());
        let config = loaded.config();
        assert_eq!((config.deadline, config.passes_unmoderated, config.metrics_are_public), (None, false, false));
        assert_eq!(channel(&loaded).breaker, Some(Breaker::default()));
        assert_eq!(channel(&loaded).rests.channel, Duration::ZERO);
    }
}

#[test]
fn settings_in_the_wrong_place_or_by_another_name_are_recognised() {
    let loaded = tuned("{rate_limit: 5, circuit_breaker: off, deadline: 5}", "{request_timeout: 5, Cooldown: 1}");
    for part in [
        "providers[1].preferences.rate_limit: unknown key, it is ignored, did you mean \"api_key_rate_limit\"?",
        "providers[1].preferences.circuit_breaker: unknown key, it is ignored, did you mean \"breaker\"?",
        "providers[1].preferences.deadline: unknown key, it is ignored",
        "preferences.request_timeout: unknown key, it is ignored, did you mean \"deadline\"?",
        "preferences.Cooldown: unknown key, it is ignored, did you mean \"cooldown_period\"?",
    ] {
        loaded.says(part);
    }
}

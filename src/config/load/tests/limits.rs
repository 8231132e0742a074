//! Rate limits, of client keys and of everybody.

use super::*;
use crate::config::{ByModel, Rate, RateLimit};

fn limit(text: &str) -> RateLimit {
    text.parse().unwrap()
}

/// The limit of a client key with these preferences.
fn of_key(preferences: &str) -> (Loaded, Option<ByModel<RateLimit>>) {
    let loaded = with_key(&format!("api: k\npreferences: {preferences}"));
    let limit = loaded.config().client_keys.find(b"k").map(|key| key.rate_limit.clone());
    (loaded, limit)
}

#[test]
fn a_key_without_a_limit_has_sixty_requests_a_minute() {
    for preferences in ["", "{}", "{RATE_LIMIT: }", "{AUTO_RETRY: true}"] {
        assert_eq!(of_key(preferences).1, Some(ByModel::same(RateLimit::per_minute(60))), "{preferences}");
    }
}

#[test]
fn a_limit_goes_by_two_names_and_several_forms() {
    for (written, meant) in [
        ("2/min", "2/min"),
        ("2", "2/min"),
        ("'2'", "2/min"),
        ("'15 / Min, 1500/days'", "15/min,1500/day"),
        ("[15/min, 1500/day]", "15/min,1500/day"),
        ("[15, [1500/day, '1/s,9/tpr']]", "15/min,1500/day,1/s,9/tpr"),
    ] {
        for key in ["RATE_LIMIT", "rate_limit"] {
            let (loaded, of_key) = of_key(&format!("{{{key}: {written}}}"));
            assert_eq!((of_key, loaded.lines()), (Some(ByModel::same(limit(meant))), vec![]), "{written}");
        }
    }
}

#[test]
fn of_two_limits_the_one_in_small_letters_counts() {
    let (loaded, of_key) = of_key("{RATE_LIMIT: 2/min, rate_limit: 5/hour}");
    assert_eq!(of_key, Some(ByModel::same(limit("5/hour"))));
    assert_eq!(loaded.diagnostics.len(), 1);
    loaded.says("warning: api_keys[1].preferences.RATE_LIMIT: rate_limit is there as well, and that one counts");
}

#[test]
fn models_may_have_limits_of_their_own() {
    let (loaded, of_key) = of_key("\n  rate_limit:\n    gpt-4o: 5/min\n    4: [1/s, 2/h]\n    default: 60");
    assert_eq!(loaded.lines(), [""; 0]);
    let named = vec![("gpt-4o".into(), limit("5/min")), ("4".into(), limit("1/s,2/h"))];
    assert_eq!(of_key, Some(ByModel { named, others: Some(limit("60")) }));
    let (_, of_key) = self::of_key("{rate_limit: {gpt-4o: 5/min}}");
    assert_eq!(of_key.map(|limit| limit.others), Some(None), "the rest has no limit");
}

#[test]
fn a_mistake_in_a_limit_switches_the_key_off() {
    for (written, message) in [
        ("often", "RATE_LIMIT: expected a rate such as 60/min, or several of them; this key"),
        ("''", "RATE_LIMIT: expected a rate such as"),
        ("-5", "RATE_LIMIT: expected a rate such as 60/min, or several of them, found a number; this key"),
        ("1.5", "RATE_LIMIT: expected a rate such as 60/min, or several of them, found a number; this key"),
        ("true", "RATE_LIMIT: expected a rate such as 60/min, or several of them, found true or false; this key"),
        ("0/min", "RATE_LIMIT: a rate of zero allows nothing; to block something, take away the rule"),
        ("0", "RATE_LIMIT: a rate of zero"),
        ("5/minuets", "unknown unit, did you mean minute?; there are s, min, hour, day, month, year, tpr; this key"),
        ("[5/min, 5/lightyear]", "RATE_LIMIT[1]: unknown unit; there are"),
        ("[]", "RATE_LIMIT: expected a rate such as"),
        ("{}", "RATE_LIMIT: expected at least one line `model: value`"),
        ("{gpt-4o: [5/min, x]}", "RATE_LIMIT.gpt-4o[1]: expected a rate such as"),
        ("{gpt-4o: }", "RATE_LIMIT.gpt-4o: expected a rate such as 60/min, or several of them, found nothing"),
        ("{gpt-4o: {default: 5}}", "RATE_LIMIT.gpt-4o: expected a rate such as"),
    ] {
        let (loaded, of_key) = of_key(&format!("{{RATE_LIMIT: {written}}}"));
        assert_eq!(of_key, None, "{written}");
        loaded.says(&format!(
            "error: api_keys[1].preferences.{}",
            if message.starts_with("RATE") { message } else { "RATE_LIMIT: " }
        ));
        loaded.says(message);
    }
}

#[test]
fn half_of_a_limit_is_not_ignored() {
    let (loaded, of_key) = of_key("{RATE_LIMIT: 15/min,1500/day}");
    assert_eq!(of_key, None);
    loaded.says("error: api_keys[1].preferences.1500/day: looks like half of a rate; between braces, a comma in it");
}

#[test]
fn a_good_limit_does_not_hide_a_mistake_in_the_other() {
    let (loaded, of_key) = of_key("{RATE_LIMIT: often, rate_limit: 5/min}");
    assert_eq!(of_key, None);
    loaded.says("error: api_keys[1].preferences.RATE_LIMIT: expected a rate");
}

#[test]
fn all_clients_together_have_a_limit_if_one_is_written() {
    let with = |written: &str| load(&format!("{MINIMAL}preferences: {{rate_limit: {written}}}\n"));
    assert!(load(MINIMAL).config().rate_limit.is_empty());
    let loaded = with("[1000/min]");
    let thousand = Rate { requests: 1000, window: Duration::from_secs(60) };
    assert_eq!(loaded.config().rate_limit.others.as_ref().map(|limit| limit.rates.clone()), Some(vec![thousand]));
    assert_eq!(loaded.lines(), [""; 0]);
    let loaded = with("{gpt-4o: 5, default: 9}");
    assert_eq!(loaded.config().rate_limit.named, [("gpt-4o".into(), limit("5"))]);
    let loaded = with("lots");
    loaded.says(
        "error: preferences.rate_limit: expected a rate such as 60/min, or several of them; there is no limit for all \
         clients together",
    );
    assert!(loaded.config().rate_limit.is_empty());
}

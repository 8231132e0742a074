//! Who is first how often, and who comes after, through the actors alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use uni_api::actors::{Decision, Outcome, Purpose, Ticket};
use uni_api::canon::Operation;
use uni_api::canon::{Failure, FailureKind, Next};

use crate::support::{FakeUpstream, Gateway, KEY, Setup, channel};

/// So many requests each of which is answered by the first channel it is sent to, …
const ANSWERED: usize = 10_000;
/// … and so many that fail everywhere.
const FAILED: usize = 2_000;

/// Channels `a`, `b` and `c` for a client key with these rules and this schedule. Nobody is asked anything.
async fn scheduled(rules: Value, schedule: &str) -> (FakeUpstream, Gateway) {
    let upstream = FakeUpstream::start().await;
    let key = json!({"api": KEY, "model": rules, "preferences": {"SCHEDULING_ALGORITHM": schedule}});
    let setup = Setup::new(["a", "b", "c"].map(|name| channel(name, &upstream))).api_keys(json!([key]));
    let gateway = setup.preferences(json!({"breaker": "off"})).start().await;
    (upstream, gateway)
}

fn weighted() -> Value {
    json!([{"a/*": 5}, {"b/*": 3}, {"c/*": 2}])
}

fn plain() -> Value {
    json!(["a/*", "b/*", "c/*"])
}

fn ticket(gateway: &Gateway) -> Ticket {
    let config = gateway.control.config();
    let client = config.client_keys.iter().next().unwrap();
    Ticket::new(Arc::clone(client), "gpt-4o".into(), Purpose::Answer { operation: Operation::Chat, stream: false })
}

/// The channels that a request is sent to until one answers, in order.
async fn order(gateway: &Gateway, is_answered: bool) -> String {
    let mut ticket = ticket(gateway);
    let mut order = String::new();
    loop {
        let verdict = gateway.control.next(ticket).await.unwrap();
        ticket = verdict.ticket;
        let Decision::Granted(lease) = verdict.decision else { return order };
        order.push_str(&lease.channel().name);
        if is_answered {
            lease.settle(Outcome::Succeeded);
            return order;
        }
        let failure = Failure::new(FailureKind::UpstreamStatus, "");
        ticket.failed(&lease, &failure, Next::Channel, gateway.control.now());
        lease.failed(&failure);
    }
}

/// The orders of requests that come one after the other.
async fn orders(rules: Value, schedule: &str, requests: usize) -> Vec<String> {
    let (_upstream, gateway) = scheduled(rules, schedule).await;
    let mut orders = Vec::with_capacity(requests);
    for _ in 0..requests {
        orders.push(order(&gateway, requests == ANSWERED).await);
    }
    gateway.stop().await;
    orders
}

fn counts(orders: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    orders.iter().for_each(|order| *counts.entry(order.as_str()).or_default() += 1);
    counts
}

/// Whether each order came as often as its chance says, within five standard deviations.
fn assert_chances(orders: &[String], chances: &[(&str, f64)]) {
    let counts = counts(orders);
    let real = |count: usize| f64::from(u32::try_from(count).unwrap());
    assert_eq!(counts.len(), chances.len(), "{counts:?}");
    for (order, chance) in chances {
        let requests = real(orders.len());
        let (expected, deviation) = (requests * chance, (requests * chance * (1.0 - chance)).sqrt());
        let count = real(counts.get(order).copied().unwrap_or_default());
        assert!((count - expected).abs() <= 5.0 * deviation, "{order}: {count} instead of {expected}");
    }
}

#[actix_web::test]
async fn round_robin_is_exact() {
    let first = orders(plain(), "round_robin", ANSWERED).await;
    assert!(first.chunks_exact(3).all(|three| three == ["a", "b", "c"]));
}

#[actix_web::test]
async fn round_robin_goes_on_round_after_a_failure() {
    let all = orders(plain(), "round_robin", FAILED).await;
    assert!(all.chunks_exact(3).all(|three| three == ["abc", "bca", "cab"]));
}

#[actix_web::test]
async fn fixed_priority_is_fixed() {
    let first = orders(plain(), "fixed_priority", ANSWERED).await;
    assert!(first.iter().all(|order| order == "a"));
    let all = orders(plain(), "fixed_priority", FAILED).await;
    assert!(all.iter().all(|order| order == "abc"));
}

#[actix_web::test]
async fn weighted_round_robin_is_exact_in_every_ten() {
    let first = orders(weighted(), "weighted_round_robin", ANSWERED).await;
    for ten in first.windows(10) {
        assert_eq!(counts(ten), [("a", 5), ("b", 3), ("c", 2)].into(), "{ten:?}");
    }
}

#[actix_web::test]
async fn weighted_round_robin_goes_on_by_weight_after_a_failure() {
    let all = orders(weighted(), "weighted_round_robin", FAILED).await;
    for ten in all.windows(10) {
        assert_eq!(counts(ten), [("abc", 5), ("bac", 3), ("cab", 2)].into(), "{ten:?}");
    }
}

#[actix_web::test]
async fn a_lottery_is_won_by_weight() {
    let first = orders(weighted(), "lottery", ANSWERED).await;
    assert_chances(&first, &[("a", 0.5), ("b", 0.3), ("c", 0.2)]);
}

#[actix_web::test]
async fn a_lottery_goes_on_among_the_others_after_a_failure() {
    let all = orders(weighted(), "lottery", FAILED).await;
    let chance = |first: f64, second: f64| first / 10.0 * second / (10.0 - first);
    let [a, b, c] = [5.0, 3.0, 2.0];
    assert_chances(
        &all,
        &[
            ("abc", chance(a, b)),
            ("acb", chance(a, c)),
            ("bac", chance(b, a)),
            ("bca", chance(b, c)),
            ("cab", chance(c, a)),
            ("cba", chance(c, b)),
        ],
    );
}

#[actix_web::test]
async fn at_random_every_order_is_as_likely() {
    let first = orders(plain(), "random", ANSWERED).await;
    assert_chances(&first, &["a", "b", "c"].map(|order| (order, 1.0 / 3.0)));
    let all = orders(plain(), "random", FAILED).await;
    assert_chances(&all, &["abc", "acb", "bac", "bca", "cab", "cba"].map(|order| (order, 1.0 / 6.0)));
}

//! Lets clients in as often as they may: the limit of each client key, and that of all together.

use std::sync::Arc;
use std::time::Duration;

use crate::canon::{Failure, FailureKind};
use crate::config::{ByModel, ClientKey, RateLimit};

use super::rate_window::{Buckets, Quota};

/// Counts the requests of clients. Memory is bounded by the configuration: a limit has one bucket
/// for each client key and each of its entries, however many models there are.
#[derive(Default)]
pub struct Gate {
    /// By client key and by the entry of its limit.
    clients: Buckets<(usize, Option<Arc<str>>)>,
    /// By the entry of the limit of all.
    all: Buckets<Option<Arc<str>>>,
}

/// Who wants in, and for what.
#[derive(Clone, Copy)]
pub struct Asks<'a> {
    /// The client.
    pub client: &'a ClientKey,
    /// The alias it asks for.
    pub model: &'a str,
    /// The tokens of its prompt, as estimated.
    pub prompt_tokens: Option<u64>,
}

impl Gate {
    /// Counts a request, unless a limit is reached: then none counts it. Tells what is left of the
    /// tightest limit, if there is one, in either case.
    ///
    /// # Errors
    ///
    /// `LimitReached`, with the time until the next request is let in; `BodyTooLarge` for a prompt
    /// of too many tokens.
    pub fn admit(
        &mut self,
        asks: Asks<'_>,
        of_all: &ByModel<RateLimit>,
        now: Duration,
    ) -> (Option<Quota>, Result<(), Failure>) {
        let own = asks.client.rate_limit.find(&[asks.model]);
        let own = own.map(|(entry, limit)| ((asks.client.id, entry.cloned()), limit));
        let all = of_all.find(&[asks.model]).map(|(entry, limit)| (entry.cloned(), limit));
        let limits = own.iter().map(|(_, limit)| *limit).chain(all.iter().map(|(_, limit)| *limit));
        for most in limits.filter_map(|limit| limit.tokens_per_request) {
            if let Some(tokens) = asks.prompt_tokens.filter(|tokens| *tokens > most) {
                return (None, Err(too_long(tokens, most)));
            }
        }
        let left = own.as_ref().and_then(|(key, limit)| self.clients.look(key, &limit.rates, now));
        if let Some(quota) = left.filter(Quota::is_spent) {
            return (Some(quota), Err(reached("this key", quota)));
        }
        let left = all.as_ref().and_then(|(key, limit)| self.all.look(key, &limit.rates, now));
        if let Some(quota) = left.filter(Quota::is_spent) {
            return (Some(quota), Err(reached("this gateway", quota)));
        }
        let of_client = own.and_then(|(key, limit)| self.clients.take(&key, &limit.rates, now).ok()?);
        let of_all = all.and_then(|(key, limit)| self.all.take(&key, &limit.rates, now).ok()?);
        (of_client.into_iter().chain(of_all).reduce(Quota::tighter), Ok(()))
    }
}

fn too_long(tokens: u64, most: u64) -> Failure {
    let message = format!("this prompt has about {tokens} tokens, and {most} are allowed; send a shorter one");
    Failure::new(FailureKind::BodyTooLarge, message).at("messages")
}

fn reached(whose: &str, quota: Quota) -> Failure {
    let seconds = quota.wait.as_secs_f64().ceil();
    let message = format!("{whose} has reached its limit of {} requests; try again in {seconds} s", quota.limit);
    Failure { retry_after: Some(quota.wait), ..Failure::new(FailureKind::LimitReached, message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Schedule;
    use crate::routing::tests::client;

    const NOW: Duration = Duration::from_secs(100);

    fn limited(limit: ByModel<RateLimit>) -> ClientKey {
        ClientKey { rate_limit: limit, ..client(0, Schedule::RoundRobin) }
    }

    fn per_minute(requests: u32) -> ByModel<RateLimit> {
        ByModel::same(RateLimit::per_minute(requests))
    }

    /// How many of ten requests are let in.
    fn let_in(gate: &mut Gate, client: &ClientKey, of_all: &ByModel<RateLimit>, model: &str) -> usize {
        let asks = Asks { client, model, prompt_tokens: Some(100) };
        (0..10).filter(|_| gate.admit(asks, of_all, NOW).1.is_ok()).count()
    }

    #[test]
    fn a_single_limit_counts_all_models_and_a_mapping_each_of_its_entries() {
        let none = ByModel::default();
        let (mut gate, client) = (Gate::default(), limited(per_minute(3)));
        assert_eq!(let_in(&mut gate, &client, &none, "a"), 3);
        assert_eq!(let_in(&mut gate, &client, &none, "b"), 0);

        let named = vec![("claude".into(), RateLimit::per_minute(2))];
        let (mut gate, client) = (Gate::default(), limited(ByModel { named, others: Some(RateLimit::per_minute(4)) }));
        assert_eq!(let_in(&mut gate, &client, &none, "claude-3"), 2);
        assert_eq!(let_in(&mut gate, &client, &none, "claude-4"), 0);
        assert_eq!(let_in(&mut gate, &client, &none, "gpt"), 4);
    }

    #[test]
    fn the_limit_of_all_holds_for_all_together_and_nothing_is_counted_that_it_refuses() {
        let mut gate = Gate::default();
        let (one, other) = (limited(per_minute(4)), ClientKey { id: 1, ..limited(per_minute(4)) });
        assert_eq!(let_in(&mut gate, &one, &per_minute(6), "m"), 4);
        assert_eq!(let_in(&mut gate, &other, &per_minute(6), "m"), 2);
        let asks = Asks { client: &other, model: "m", prompt_tokens: None };
        let (quota, refused) = gate.admit(asks, &per_minute(6), NOW);
        assert!(refused.unwrap_err().message.starts_with("this gateway"));
        assert_eq!(quota.map(|quota| (quota.limit, quota.remaining)), Some((6, 0)));
        assert_eq!(let_in(&mut gate, &other, &per_minute(100), "m"), 2, "two of four were counted");
    }

    #[test]
    fn what_is_left_of_the_tightest_limit_is_told() {
        let mut gate = Gate::default();
        let client = limited(per_minute(5));
        let asks = Asks { client: &client, model: "m", prompt_tokens: None };
        let (quota, _) = gate.admit(asks, &per_minute(3), NOW);
        assert_eq!(quota.map(|quota| (quota.limit, quota.remaining)), Some((3, 2)));
        let (quota, _) =
            Gate::default().admit(Asks { client: &limited(ByModel::default()), ..asks }, &ByModel::default(), NOW);
        assert_eq!(quota, None);
    }

    #[test]
    fn a_prompt_of_too_many_tokens_is_refused_and_not_counted() {
        let limit = RateLimit { tokens_per_request: Some(99), ..RateLimit::per_minute(3) };
        let (mut gate, client) = (Gate::default(), limited(ByModel::same(limit)));
        let asks = |tokens| Asks { client: &client, model: "m", prompt_tokens: Some(tokens) };
        for _ in 0..5 {
            let (_, refused) = gate.admit(asks(100), &ByModel::default(), NOW);
            assert_eq!(refused.unwrap_err().kind, FailureKind::BodyTooLarge);
        }
        assert!(gate.admit(asks(99), &ByModel::default(), NOW).1.is_ok());
    }

    #[test]
    fn a_refused_request_is_told_when_to_come_again() {
        let (mut gate, client) = (Gate::default(), limited(per_minute(1)));
        let asks = Asks { client: &client, model: "m", prompt_tokens: None };
        assert!(gate.admit(asks, &ByModel::default(), NOW).1.is_ok());
        let later = NOW + Duration::from_secs(20);
        let refused = gate.admit(asks, &ByModel::default(), later).1.unwrap_err();
        assert_eq!((refused.status(), refused.retry_after), (429, Some(Duration::from_secs(40))));
    }
}

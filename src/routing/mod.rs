//! Pure decision logic: which channels may answer a request, in what order, with which key.
//!
//! Nothing in here knows a clock, a socket or an actor: times count from any fixed moment, and
//! chance is an argument. The Router actor holds a [`Switchboard`], each ProviderActor a [`KeyRing`]
//! or [`Regions`].

mod breaker;
mod condition;
mod gate;
mod key_ring;
mod plan;
mod pool;
mod rate_window;
mod regions;
mod rests;
mod retry_budget;
mod rules;
mod switchboard;

pub use breaker::Verdict;
pub use condition::{Condition, verdict};
pub use gate::{Asks, Gate};
pub use key_ring::KeyRing;
pub use plan::{Attempted, Candidate, Plan, Rest, Situation, Step, Why};
pub use pool::{Entry, Member, Pool};
pub use rate_window::{Buckets, Quota};
pub use regions::Regions;
pub use rests::{Cause, Rests, limited_for, not_at_once};
pub use retry_budget::RetryBudget;
pub use rules::Usable;
pub use switchboard::{Line, Switchboard};

#[cfg(test)]
mod tests {
    use crate::config::{ClientKey, Retries, Rule, RuleTarget, Schedule, Secret};

    /// A client key that may use everything.
    pub(super) fn client(id: usize, schedule: Schedule) -> ClientKey {
        ClientKey {
            id,
            secret: Secret::new(format!("sk-client-{id}")),
            label: "sk-client".into(),
            is_admin: false,
            rules: vec![Rule { target: RuleTarget::Everything, weight: None }],
            schedule,
            retries: Retries::UntilExhausted,
            rate_limit: Default::default(),
            is_moderated: false,
        }
    }
}

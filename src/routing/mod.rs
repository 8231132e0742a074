//! Pure decision logic: which channels may answer a request, in what order, with which key.
//!
//! Nothing in here knows a clock, a socket or an actor. The Router actor holds a [`Switchboard`],
//! each ProviderActor a [`KeyRing`] or [`Regions`].

mod breaker;
mod key_ring;
mod plan;
mod rate_window;
mod regions;
mod retry_budget;
mod rules;
mod switchboard;

pub use breaker::{Admission, CircuitBreaker, Verdict};
pub use key_ring::KeyRing;
pub use plan::{Attempted, Candidate, Plan};
pub use rate_window::{Buckets, Quota};
pub use regions::Regions;
pub use retry_budget::RetryBudget;
pub use switchboard::Switchboard;

//! The actors: short wrappers around [`routing`](crate::routing) and [`stats`](crate::stats).
//!
//! A worker asks [`Control`] for a [`Lease`]. The [`Router`](router::Router) owns all scheduling
//! state and forwards the [`Dispatch`](messages::Dispatch), reply channel inside, to the
//! [`ProviderActor`](provider::ProviderActor) of a channel, which answers the worker. The lease
//! reports one outcome back when it is settled or dropped. [`StatsActor`](stats::StatsActor) writes
//! what happened.

mod access;
pub mod control;
mod google;
pub mod health;
mod keys;
pub mod lease;
pub mod messages;
mod outbox;
pub mod provider;
pub mod router;
mod slot;
pub mod standing;
pub mod stats;
mod targets;

pub use control::Control;
pub use lease::{Lease, Outcome};
pub use messages::{Decision, Purpose, Ticket, Verdict};
pub use standing::{Standing, Trouble};
pub use stats::{Place, StatsQueue};

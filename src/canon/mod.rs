//! Plain data that every room understands: how a request failed, and what an answer used.

mod failure;
mod usage;

pub use failure::{Failure, FailureKind, Next, Origin};
pub use usage::Usage;

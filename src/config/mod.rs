//! `api.yaml` becomes a validated, immutable [`Config`].
//!
//! `raw` mirrors what the user typed, `resolved` is what the program uses, `load` is the only way
//! from one to the other and the only file that knows the YAML crate.

pub mod resolved;
pub mod secret;

pub use resolved::{
    Channel, ChannelId, ClientKey, ClientKeys, Config, Dialect, ModelName, ModelSource, Retries, Rule, RuleTarget,
    Schedule, TimeLimits,
};
pub use secret::{Fingerprint, Secret};

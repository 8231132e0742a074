//! `api.yaml` becomes a validated, immutable [`Config`].
//!
//! `raw` mirrors what the user typed, `resolved` is what the program uses, `load` is the only way
//! from one to the other and the only file that knows the YAML crate.

mod by_model;
mod client_keys;
mod cloudflare;
mod connections;
pub mod diagnostic;
mod expand;
mod headers;
mod infer;
pub mod load;
mod nested;
mod outbound;
mod overrides;
mod path;
mod preferences;
mod provider_preferences;
mod providers;
mod proxies;
mod rate;
mod raw;
mod reach;
mod resolve;
pub mod resolved;
mod rules;
mod seconds;
pub mod secret;
mod service_account;
mod setting;
pub mod source;
mod stats;
mod succession;
mod suggest;
pub mod table;
mod typed;
mod vertex;
mod vocabulary;

pub use by_model::ByModel;
pub use connections::ConnectionLimits;
pub use diagnostic::{Diagnostic, Severity};
pub use load::{Loaded, parse};
pub use outbound::{Authorities, Login, Outbound, Proxy, ProxyProtocol};
pub use overrides::{Overrides, Patch};
pub use proxies::TrustedProxies;
pub use rate::{InvalidRate, Rate, RateLimit};
pub use resolved::{
    Breaker, Channel, ChannelId, ClientKey, ClientKeys, Config, Dialect, KeySchedule, MODERATION_MODELS, MediaFetch,
    ModelName, ModelSource, Rests, Retries, Rule, RuleTarget, Schedule, SwitchedOff, TimeLimits, Vertex,
};
pub use secret::{Fingerprint, Secret};
pub use service_account::{ServiceAccount, SigningKey};
pub use source::{Source, SourceError, find_source, read_file, without_credentials};
pub use stats::StatsSettings;
pub use suggest::{did_you_mean, shown};
pub use table::{aligned, rule_name, table};

//! The subcommands: `serve` (the default), `check`, `diff`, `explain`, `demo`, `health` and `stats`.

pub mod check;
pub mod demo;
pub mod diff;
pub mod environment;
pub mod explain;
pub mod health;
pub mod logging;
mod reload;
pub mod serve;
pub mod signals;
pub mod stats;

/// Exit code of what cannot start: a configuration or an environment that is wrong.
pub const CANNOT_START: u8 = 2;

//! The subcommands: `serve` (the default) and `check`.

pub mod check;
pub mod environment;
pub mod serve;

/// Exit code of what cannot start: a configuration or an environment that is wrong.
pub const CANNOT_START: u8 = 2;

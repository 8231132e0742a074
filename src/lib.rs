//! uni-api: many LLM providers behind one OpenAI-compatible API.
//!
//! # Layout
//!
//! - [`cli`] has the subcommands; [`app`] builds everything from a configuration, for them and for
//!   the tests.
//! - [`http`] has the routes, [`relay`] takes one request to upstreams and back.
//! - [`actors`] own the state: the Router, one ProviderActor per channel, the StatsActor.
//! - [`upstream`] is the only room that sees sockets, [`dialect`] the only one that sees wire formats.
//! - [`routing`] decides, [`stats`] records, [`metrics`] counts; [`config`] and [`canon`] are what all of them share.
//!
//! Rooms use each other downwards only:
//! `http -> relay -> {actors, upstream, dialect} -> {routing, stats, metrics} -> {config, canon}`.

pub mod actors;
pub mod app;
pub mod canon;
pub mod cli;
pub mod config;
pub mod dialect;
pub mod http;
pub mod metrics;
pub mod relay;
pub mod routing;
pub mod stats;
pub mod upstream;

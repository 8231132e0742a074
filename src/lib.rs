//! uni-api: many LLM providers behind one OpenAI-compatible API.

pub mod actors;
pub mod canon;
pub mod config;
pub mod dialect;
pub mod routing;
pub mod stats;
pub mod upstream;

//! uni-api: many LLM providers behind one OpenAI-compatible API.

pub mod cli;
pub mod config;

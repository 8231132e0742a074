//! uni-api: many LLM providers behind one OpenAI-compatible API.

pub mod config;

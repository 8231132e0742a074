//! Wire formats. Pure: no clock, no network, no actors.
//!
//! `openai_chat` reads what OpenAI-format providers answer; `passthrough` is the journey of a
//! request whose client and upstream both speak it, where bytes stay as they are; `sse` cuts an
//! event stream into events.

pub mod openai_chat;
pub mod passthrough;
pub mod sse;

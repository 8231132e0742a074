//! Anthropic messages, the format of Claude models.
//!
//! Source: Anthropic's API reference, "Create a message", "Streaming messages", "Extended thinking",
//! "Adaptive thinking", "Structured outputs", "Prompt caching"; Google's documentation, "Claude on
//! Vertex AI", for what differs there.

mod answer;
mod blocks;
mod models;
mod request;
mod schema;

pub use answer::{AnswerReader, read_answer};
pub use request::write_request;

/// Who hosts the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Anthropic, or a server that speaks like it.
    Anthropic,
    /// Google's Vertex AI: the address names the model, and nothing is fetched from addresses.
    Vertex,
}

/// The tool that models without structured output are made to call in its place. Its arguments are
/// the answer's text.
const JSON_TOOL: &str = "uni_api_json_answer";

/// Whether the upstream fetches what is at this address: Anthropic does, over https only; Vertex AI
/// never.
pub fn takes_url(url: &str, host: Host) -> bool {
    let is_https = url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    host == Host::Anthropic && is_https
}

//! Gemini's `generateContent`, the format of Gemini models.
//!
//! Source: Google's API reference of the Gemini API, "Generating content", "Caching" (`Content`,
//! `Part`, `Schema`, `Tool`), and its guides "Function calling", "Thinking", "Thought signatures",
//! "Structured outputs", "Combine tools", "OpenAI compatibility"; the reference of Vertex AI,
//! "GenerateContentRequest", for what differs there. [`embeddings`] has its own.

mod answer;
mod contents;
pub mod embeddings;
mod image_size;
pub mod imagen;
pub mod images;
mod media;
mod models;
mod request;
mod schema;
#[cfg(test)]
mod tests;
mod thinking;

pub use answer::{AnswerReader, read_answer};
pub use media::takes_url;
pub use request::write_request;

/// Who hosts the model, and in which version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The Gemini API in its version `v1beta`, or a server that speaks like it.
    AiStudio,
    /// The Gemini API in its version `v1`, which knows a conversation and sampling, and nothing of
    /// system text, tools, schemas or thinking.
    AiStudioV1,
    /// Google's Vertex AI.
    Vertex,
}

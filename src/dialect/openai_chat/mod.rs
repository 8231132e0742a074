//! OpenAI chat completions, the format of every client.
//!
//! Source: OpenAI's API reference, "Chat completions" (the request, the chat completion object, the
//! chat completion chunk object) and "Error codes"; variations as compatible providers send them.

mod answer;
mod chunk;
mod chunk_writer;
mod error;
mod message;
mod request;
mod usage;

pub use super::refusal::error_in_answer;
pub use answer::{AnswerHead, write_answer};
pub use chunk::{ChunkFacts, needs_reading, read_answer, read_chunk};
pub use chunk_writer::ChunkWriter;
pub use error::write_error;
pub use request::read_request;

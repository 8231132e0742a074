//! Plain data that every room understands: what a client asks of a model, what the model answers,
//! how a request failed; and the table of [`Operation`]s.
//!
//! [`ChatRequest`] and [`ChatEvent`] are the hub between wire formats: every format converts to and
//! from them, none to another. So are [`EmbeddingRequest`] and [`Embeddings`], [`RerankRequest`] and
//! [`Ranking`] for what they name.

mod chat;
mod embedding;
mod event;
mod failure;
mod image;
mod operation;
mod request_id;
mod rerank;
mod usage;

pub use chat::{
    Block, CacheHint, ChatRequest, Content, Effort, Function, Issuer, Json, Reasoning, ResponseFormat, Role, Sampling,
    Signature, Source, Text, Tool, ToolCall, ToolChoice, ToolResult, Turn,
};
pub use embedding::{EmbeddingRequest, Embeddings, Encoding};
pub use event::{ChatEvent, FinishReason};
pub use failure::{Failure, FailureKind, Next, Origin};
pub use image::{Dimensions, Image, ImageRequest, ImageUsage, Images};
pub use operation::{AnswerKind, BodyKind, Operation, Row};
pub use request_id::RequestId;
pub use rerank::{Document, Ranked, Ranking, RerankRequest};
pub use usage::Usage;

//! Texts as vectors of numbers.

use serde_json::value::RawValue;

use super::chat::{Json, Text};
use super::usage::Usage;

/// The texts that a client wants as vectors. The model's own name is not in here: each channel has
/// another.
#[derive(Clone, Debug, Default)]
pub struct EmbeddingRequest<'a> {
    /// At least one, none of them empty.
    pub texts: Vec<Text<'a>>,
    /// How many numbers a vector has; otherwise the model decides.
    pub dimensions: Option<u32>,
    /// How the client wants a vector written.
    pub encoding: Encoding,
    /// Fields that the hub has no name for, in their order; a dialect sends on the ones that its
    /// format knows.
    pub extra: Vec<(Text<'a>, Json<'a>)>,
}

impl<'a> EmbeddingRequest<'a> {
    /// The field with one of these names among the ones that the hub has no name for.
    pub fn extra(&self, names: &[&str]) -> Option<&Json<'a>> {
        self.extra.iter().find(|(name, _)| names.contains(&name.as_ref())).map(|(_, value)| value)
    }
}

/// How a vector is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// A list of numbers.
    #[default]
    Float,
    /// The bytes of its numbers, four each and the lowest first, in base64.
    Base64,
}

/// The vectors of texts.
#[derive(Clone, Debug)]
pub struct Embeddings<'a> {
    /// One for each text, in their order: lists of numbers, written as the upstream did.
    pub vectors: Vec<&'a RawValue>,
    /// What they cost; nothing but tokens of the request.
    pub usage: Usage,
}

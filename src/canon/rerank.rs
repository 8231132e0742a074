//! Documents in the order of how much they have to do with a query.

use serde_json::value::RawValue;

use super::chat::{Json, Text};
use super::usage::Usage;

/// What a client wants ranked. The model's own name is not in here: each channel has another.
#[derive(Clone, Debug, Default)]
pub struct RerankRequest<'a> {
    /// What the documents are compared with.
    pub query: Text<'a>,
    /// At least one.
    pub documents: Vec<Document<'a>>,
    /// How many of them the answer has at most.
    pub top_n: Option<u32>,
    /// Whether the answer repeats them.
    pub return_documents: bool,
    /// Fields that the hub has no name for, in their order; a dialect sends on the ones that its
    /// format knows.
    pub extra: Vec<(Text<'a>, Json<'a>)>,
}

/// One of the documents.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    /// What is compared.
    pub text: Text<'a>,
    /// The whole of it, where the client sent an object.
    pub object: Option<&'a RawValue>,
}

/// The documents that have most to do with the query.
#[derive(Clone, Debug)]
pub struct Ranking<'a> {
    /// The answer's name at the upstream.
    pub id: Option<Text<'a>>,
    /// The best one first.
    pub results: Vec<Ranked<'a>>,
    /// What the upstream says of its version and its bill.
    pub meta: Option<&'a RawValue>,
    /// What it cost, where it is counted in tokens.
    pub usage: Usage,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Ranked<'a> {
    /// Its place in the request, from zero.
    pub index: usize,
    /// A number, written as the upstream did.
    pub relevance_score: &'a RawValue,
}

//! Every operation but chat: one request, one answer.
//!
//! A [`Call`] is what a client asks for. To an upstream that speaks like OpenAI its bytes go on as
//! they are, with only the model rewritten; [`read_answer`] and [`TypedStream`] look at what comes
//! back and pass it on. For other upstreams there is a [`Translation`].

mod answer;
mod events;
mod json;
mod translation;
mod usage;

use std::sync::Arc;

use bytes::Bytes;

use crate::canon::{Failure, Operation};

pub use answer::{Told, read_answer};
pub use events::TypedStream;
pub use translation::Translation;

use json::{JsonBody, Said};

/// A client's request for anything but chat.
pub struct Call {
    /// What is asked for.
    pub operation: Operation,
    /// The alias of the model.
    pub model: Arc<str>,
    /// Whether the answer is to be streamed as events.
    pub stream: bool,
    /// How many choices or images the answer has (`n`).
    pub choices: usize,
    body: JsonBody,
}

impl Call {
    /// Reads a JSON body.
    ///
    /// # Errors
    ///
    /// `InvalidRequest`, with what is wrong or missing.
    pub fn from_json(operation: Operation, body: Bytes) -> Result<Self, Failure> {
        let Said { body, model, stream, choices } = JsonBody::parse(body, operation)?;
        Ok(Self { operation, model, stream, choices, body })
    }

    /// The JSON as the client sent it.
    pub fn body(&self) -> &str {
        self.body.text()
    }

    /// What goes to an upstream that speaks like the client, where the model has this name.
    pub fn for_upstream(&self, model: &str) -> Bytes {
        self.body.with_model(model)
    }

    /// The user's words, if the operation has any. Read anew each time.
    pub fn words(&self) -> Option<String> {
        self.body.words(self.operation.row().words?)
    }

    /// How many characters count for limits of tokens. Counted anew each time.
    pub fn chars(&self) -> usize {
        self.body.chars(self.operation.row().measured)
    }
}

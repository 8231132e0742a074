//! Every operation but chat: one request, one answer.
//!
//! A [`Call`] is what a client asks for. To an upstream that speaks like OpenAI its bytes go on as
//! they are, with only the model rewritten; [`read_answer`] and [`TypedStream`] look at what comes
//! back and pass it on. For other upstreams there is a [`Translation`].

mod answer;
mod events;
mod form;
mod json;
mod translation;
mod usage;

use std::sync::Arc;

use bytes::Bytes;

use crate::canon::{Failure, Operation};
use crate::dialect::form::Form;

pub use answer::{Told, read_answer};
pub use events::TypedStream;
pub use translation::Translation;

use form::FormBody;
use json::JsonBody;

/// A client's request for anything but chat.
pub struct Call {
    /// What is asked for.
    pub operation: Operation,
    /// The alias of the model.
    pub model: Arc<str>,
    /// Whether the answer is to be streamed as events.
    pub stream: bool,
    /// How many choices or images the answer has.
    pub choices: usize,
    body: Body,
}

/// A body, as it is written.
enum Body {
    Json(JsonBody),
    Form(FormBody),
}

/// What a body says.
struct Said<B> {
    body: B,
    model: Arc<str>,
    stream: bool,
    choices: usize,
}

/// A body for an upstream.
pub struct Payload {
    /// Its bytes, one segment behind the other.
    pub segments: Vec<Bytes>,
    /// What it is, unless it is JSON.
    pub content_type: Option<String>,
}

impl Call {
    /// Reads a JSON body.
    ///
    /// # Errors
    ///
    /// `InvalidRequest`, with what is wrong or missing.
    pub fn from_json(operation: Operation, body: Bytes) -> Result<Self, Failure> {
        Ok(Self::new(operation, JsonBody::parse(body, operation)?, Body::Json))
    }

    /// Reads a form. It is sent on with this boundary, which has to be drawn anew for it.
    ///
    /// # Errors
    ///
    /// `InvalidRequest`, with what is missing.
    pub fn from_form(operation: Operation, form: Form, boundary: String) -> Result<Self, Failure> {
        Ok(Self::new(operation, FormBody::parse(form, operation, boundary)?, Body::Form))
    }

    fn new<B>(operation: Operation, said: Said<B>, body: impl FnOnce(B) -> Body) -> Self {
        Self { operation, model: said.model, stream: said.stream, choices: said.choices, body: body(said.body) }
    }

    /// The JSON as the client sent it; nothing if it sent a form.
    pub fn body(&self) -> &str {
        match &self.body {
            Body::Json(json) => json.text(),
            Body::Form(_) => "",
        }
    }

    /// The form that the client sent, if it did.
    pub fn form(&self) -> Option<&Form> {
        match &self.body {
            Body::Json(_) => None,
            Body::Form(form) => Some(form.form()),
        }
    }

    /// What goes to an upstream that speaks like the client, where the model has this name.
    pub fn for_upstream(&self, model: &str) -> Payload {
        match &self.body {
            Body::Json(json) => Payload { segments: vec![json.with_model(model)], content_type: None },
            Body::Form(form) => form.with_model(model),
        }
    }

    /// The user's words, if the operation has any. Read anew each time.
    pub fn words(&self) -> Option<String> {
        self.text(self.operation.row().words?)
    }

    /// The field that should have the user's words, if it has something else in it, such as tokens.
    pub fn wordless(&self) -> Option<&'static str> {
        let field = self.operation.row().words?;
        match &self.body {
            Body::Json(json) if !json.is_of_words(field) => Some(field),
            Body::Json(_) | Body::Form(_) => None,
        }
    }

    /// The text of a field, or the texts of a list. Read anew each time.
    pub fn text(&self, field: &str) -> Option<String> {
        match &self.body {
            Body::Json(json) => json.words(field),
            Body::Form(form) => form.words(field),
        }
    }

    /// How many characters count for limits of tokens. Counted anew each time.
    pub fn chars(&self) -> usize {
        let fields = self.operation.row().measured;
        match &self.body {
            Body::Json(json) => json.chars(fields),
            Body::Form(form) => form.chars(fields),
        }
    }
}

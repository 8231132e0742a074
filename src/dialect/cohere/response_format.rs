//! The form of the answer's text; alike in both versions but for the name of the schema's field.

use std::borrow::Cow;

use serde::Serialize;

use crate::canon::{ChatRequest, Json, ResponseFormat};

/// How a request asks for the form.
#[derive(Default)]
pub(super) struct Form<'r> {
    /// `response_format`.
    pub field: Option<WireForm<'r>>,
    /// A sentence for the system, where tools are there as well: the field is refused then.
    pub instruction: Option<String>,
}

/// `response_format`: any JSON object, or one of a schema.
#[derive(Serialize)]
pub(super) struct WireForm<'r> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Version 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<Json<'r>>,
    /// Version 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Json<'r>>,
}

/// The version of the format.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// The form that a request asks for.
pub(super) fn form<'r>(request: &'r ChatRequest<'_>, version: Version) -> Form<'r> {
    let schema = match &request.response_format {
        None | Some(ResponseFormat::Text) => return Form::default(),
        Some(ResponseFormat::JsonObject) => None,
        Some(ResponseFormat::JsonSchema { schema, .. }) => schema.as_deref(),
    };
    if !request.tools.is_empty() {
        let mut instruction = "Give the final answer to the user as one JSON object and nothing else.".to_owned();
        if let Some(schema) = schema {
            instruction.push_str(" It obeys this JSON Schema: ");
            instruction.push_str(schema.get());
        }
        return Form { instruction: Some(instruction), field: None };
    }
    let schema = schema.map(Cow::Borrowed);
    let (json_schema, schema) = if version == Version::Two { (schema, None) } else { (None, schema) };
    Form { field: Some(WireForm { kind: "json_object", json_schema, schema }), instruction: None }
}

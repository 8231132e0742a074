//! The form of the answer's text; alike in both versions but for the name of the schema's field.

use serde_json::{Map, Value};

use crate::canon::{ChatRequest, ResponseFormat};

/// How a request asks for the form.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Form {
    /// `response_format`.
    pub field: Option<Value>,
    /// A sentence for the system, where tools are there as well: the field is refused then.
    pub instruction: Option<String>,
}

/// The form that a request asks for. `schema_field` is the name of the schema in `response_format`.
pub(super) fn form(request: &ChatRequest<'_>, schema_field: &str) -> Form {
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
    let mut field = Map::new();
    field.insert("type".to_owned(), "json_object".into());
    if let Some(schema) = schema {
        field.insert(schema_field.to_owned(), serde_json::from_str(schema.get()).unwrap_or_default());
    }
    Form { field: Some(Value::Object(field)), instruction: None }
}

//! Describes functions as version 1 does: not by JSON Schema, but by a Python type for each
//! parameter.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::canon::{Function, Json};

#[derive(Serialize)]
pub(super) struct WireTool<'r> {
    name: &'r str,
    /// Must be there.
    description: &'r str,
    parameter_definitions: Map<String, Value>,
}

#[derive(Serialize)]
struct Definition {
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(rename = "type")]
    kind: String,
    required: bool,
}

/// The description of a function.
pub(super) fn tool<'r>(function: &'r Function<'_>) -> WireTool<'r> {
    WireTool {
        name: &function.name,
        description: function.description.as_deref().unwrap_or_default(),
        parameter_definitions: function.parameters.as_ref().map(definitions).unwrap_or_default(),
    }
}

fn definitions(schema: &Json<'_>) -> Map<String, Value> {
    let schema: Value = serde_json::from_str(schema.get()).unwrap_or_default();
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let required: HashSet<&str> = required.filter_map(Value::as_str).collect();
    let definition = |(name, property): (&String, &Value)| {
        let definition = Definition {
            description: description(property, &schema),
            kind: python_type(property),
            required: required.contains(name.as_str()),
        };
        (name.clone(), serde_json::to_value(definition).unwrap_or_default())
    };
    schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(definition).collect()
}

/// What a parameter is for. What its Python type cannot say follows as JSON Schema.
fn description(property: &Value, schema: &Value) -> String {
    let mut text = property.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    if is_told_by_its_type(property) {
        return text;
    }
    let mut rest = property.clone();
    if let Value::Object(fields) = &mut rest {
        fields.shift_remove("description");
        let definitions = ["$defs", "definitions"].into_iter().filter_map(|name| Some((name, schema.get(name)?)));
        if rest_refers(property) {
            fields.extend(definitions.map(|(name, schemas)| (name.to_owned(), schemas.clone())));
        }
    }
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str("JSON Schema: ");
    text.push_str(&rest.to_string());
    text
}

fn rest_refers(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.contains_key("$ref") || fields.values().any(rest_refers),
        Value::Array(items) => items.iter().any(rest_refers),
        _ => false,
    }
}

fn is_told_by_its_type(schema: &Value) -> bool {
    let Some(fields) = schema.as_object() else { return schema.is_boolean() };
    fields.iter().all(|(name, value)| match name.as_str() {
        "description" | "title" => true,
        "type" => value.is_string(),
        "items" | "additionalProperties" => is_told_by_its_type(value),
        _ => false,
    })
}

fn python_type(schema: &Value) -> String {
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().find(|kind| *kind != "null"),
        kind => kind,
    };
    let of = |outer: &str, inner: Option<&Value>| match inner.filter(|inner| inner.get("type").is_some()) {
        Some(inner) if outer == "List" => format!("List[{}]", python_type(inner)),
        Some(inner) => format!("Dict[str, {}]", python_type(inner)),
        None => outer.to_owned(),
    };
    match kind.and_then(Value::as_str) {
        Some("string") => "str".to_owned(),
        Some("integer") => "int".to_owned(),
        Some("number") => "float".to_owned(),
        Some("boolean") => "bool".to_owned(),
        Some("array") => of("List", schema.get("items")),
        Some("object") => of("Dict", schema.get("additionalProperties")),
        _ => "Any".to_owned(),
    }
}

//! Makes a JSON Schema one that is accepted: by structured output, and for a tool.
//!
//! Source: Anthropic's documentation, "Structured outputs", part "JSON Schema limitations": objects
//! must be closed, alternatives are called `anyOf`, and limits of numbers, strings and lists are
//! refused. A tool's schema must be of type object, without alternatives at its root.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::canon::Json;
use crate::dialect::json::{Fields, raw};

/// What a tool's schema must not have at its root.
const ALTERNATIVES: [&str; 3] = ["anyOf", "oneOf", "allOf"];

/// Keywords that are refused. What they ask for is left to the model's good will.
const REFUSED: [&str; 15] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
    "discriminator",
    "$schema",
];

/// The schema with closed objects and without refused keywords.
pub(super) fn accepted(mut schema: Value) -> Value {
    clean(&mut schema);
    schema
}

/// A tool's schema as it is, if it may stay so.
pub(super) fn of_tool<'r>(schema: Option<&'r Json<'_>>) -> Json<'r> {
    let Some(schema) = schema else { return raw(&json!({ "type": "object", "properties": {} })) };
    let Ok(Fields(fields)) = serde_json::from_str::<Fields<'_>>(schema.get()) else { return Cow::Borrowed(&**schema) };
    let has = |name: &str| fields.iter().any(|(key, _)| key == name);
    if has("type") && !ALTERNATIVES.iter().any(|word| has(word)) {
        return Cow::Borrowed(&**schema);
    }
    let mut fields: Map<String, Value> = serde_json::from_str(schema.get()).unwrap_or_default();
    let branches: Vec<Value> =
        ALTERNATIVES.iter().filter_map(|word| fields.shift_remove(*word)).filter_map(list).flatten().collect();
    fields.insert("type".to_owned(), "object".into());
    let properties = fields.entry("properties").or_insert_with(|| json!({}));
    for branch in branches {
        if let (Some(known), Some(Value::Object(more))) = (properties.as_object_mut(), branch.get("properties")) {
            for (name, schema) in more {
                known.entry(name.clone()).or_insert_with(|| schema.clone());
            }
        }
    }
    raw(&fields)
}

fn list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn clean(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    fields.retain(|key, value| match key.as_str() {
        "minItems" => value.as_u64().is_some_and(|least| least <= 1),
        key => !REFUSED.contains(&key),
    });
    if let Some(branches) = fields.shift_remove("oneOf") {
        fields.entry("anyOf").or_insert(branches);
    }
    let is_object = fields.contains_key("properties") || fields.get("type").is_some_and(|kind| kind == "object");
    if is_object {
        fields.insert("additionalProperties".to_owned(), false.into());
    }
    for (key, value) in fields.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(schemas)) => schemas.values_mut().for_each(clean),
            ("anyOf" | "allOf" | "prefixItems", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(clean);
            }
            ("items", schema) => clean(schema),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tools_schema_is_an_object_without_alternatives_at_its_root() {
        let of = |schema: Value| {
            let schema = raw(&schema);
            serde_json::from_str::<Value>(of_tool(Some(&schema)).get()).unwrap()
        };
        let plain = json!({"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}]}}});
        assert_eq!(of(plain.clone()), plain);
        assert_eq!(of(json!({"properties": {}})), json!({"properties": {}, "type": "object"}));
        let branch =
            |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
        assert_eq!(
            of(json!({"anyOf": [branch("a"), branch("b"), {"type": "null"}]})),
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}})
        );
    }

    #[test]
    fn alternatives_have_one_word() {
        let schema = json!({
            "oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}}}, {"type": "null"}],
            "discriminator": {"propertyName": "kind"},
        });
        let object = json!({"type": "object", "properties": {"kind": {"const": "a"}}, "additionalProperties": false});
        assert_eq!(accepted(schema), json!({"anyOf": [object, {"type": "null"}]}));
    }

    #[test]
    fn objects_are_closed_and_limits_dropped_at_every_depth() {
        let schema = json!({
            "type": "object",
            "properties": {
                "minimum": {"type": "integer", "minimum": 1},
                "tags": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "object", "properties": {}}},
            },
            "$defs": {"d": {"type": "object", "additionalProperties": true}},
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "minimum": {"type": "integer"},
                "tags": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "object", "properties": {}, "additionalProperties": false},
                },
            },
            "$defs": {"d": {"type": "object", "additionalProperties": false}},
            "additionalProperties": false,
        });
        assert_eq!(accepted(schema), expected);
    }
}

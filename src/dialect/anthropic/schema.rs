//! Makes a JSON Schema one that structured output accepts.
//!
//! Source: Anthropic's documentation, "Structured outputs", part "JSON Schema limitations": objects
//! must be closed, limits of numbers, strings and lists are refused, and of the words for alternatives
//! only `anyOf` is known.

use serde_json::Value;

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

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::schema::{Form, cleaned, parameters};

fn raw(schema: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(schema).unwrap()
}

fn openapi(schema: &Value) -> Value {
    cleaned(&raw(schema), Form::Schema)
}

fn arguments(schema: &Value) -> Option<Value> {
    parameters(&raw(schema))
}

/// Every schema of the corpus with its name.
fn corpus() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schemas");
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let schema = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), schema)
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(found.len() >= 25, "the corpus has {} schemas", found.len());
    found
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// Panics when the Gemini API would refuse this `Schema` object.
fn check_schema(schema: &Value, at: &str) {
    let fields = schema.as_object().unwrap_or_else(|| panic!("{at}: {schema}"));
    if let Some(branches) = fields.get("anyOf") {
        assert_eq!(fields.len(), 1, "{at}: something stands beside anyOf: {schema}");
        let branches = branches.as_array().unwrap();
        assert!(branches.len() > 1, "{at}: {schema}");
        for branch in branches {
            assert!(branch.get("anyOf").is_none(), "{at}: a union in a union");
            check_schema(branch, &format!("{at}|"));
        }
        return;
    }
    let name = fields.get("type").and_then(Value::as_str).unwrap_or_else(|| panic!("{at}: no type in {schema}"));
    for (keyword, value) in fields {
        match (name, keyword.as_str()) {
            ("STRING" | "NUMBER" | "INTEGER" | "BOOLEAN" | "ARRAY" | "OBJECT", "type") => {}
            (_, "description") => assert!(!value.as_str().unwrap().is_empty(), "{at}"),
            (_, "nullable") => assert_eq!(value, true, "{at}"),
            ("STRING", "enum") => assert!(!value.as_array().unwrap().is_empty() && !texts(value).contains(&""), "{at}"),
            ("STRING", "format") => assert_eq!(value, "date-time", "{at}"),
            ("STRING", "pattern") => assert!(value.is_string(), "{at}"),
            ("STRING", "minLength" | "maxLength") | ("ARRAY", "minItems" | "maxItems") => {
                assert!(value.is_u64(), "{at}")
            }
            ("NUMBER" | "INTEGER", "minimum" | "maximum") => assert!(value.is_number(), "{at}"),
            ("NUMBER", "format") => assert!(["float", "double"].contains(&value.as_str().unwrap()), "{at}"),
            ("INTEGER", "format") => assert!(["int32", "int64"].contains(&value.as_str().unwrap()), "{at}"),
            ("ARRAY", "items") => check_schema(value, &format!("{at}[]")),
            ("OBJECT", "properties") => {
                assert!(!value.as_object().unwrap().is_empty(), "{at}");
                value
                    .as_object()
                    .unwrap()
                    .iter()
                    .for_each(|(key, schema)| check_schema(schema, &format!("{at}.{key}")));
            }
            ("OBJECT", "required") => {
                let properties = fields["properties"].as_object().unwrap();
                let names = texts(value);
                assert!(!names.is_empty() && names.iter().all(|name| properties.contains_key(*name)), "{at}");
            }
            _ => panic!("{at}: {name} has {keyword}"),
        }
    }
    assert_eq!(name == "ARRAY", fields.contains_key("items"), "{at}: {schema}");
}

/// Panics when a keyword is not one that the reference lists for `responseJsonSchema`.
fn check_json_schema(schema: &Value, at: &str) {
    for (keyword, value) in schema.as_object().unwrap_or_else(|| panic!("{at}: {schema}")) {
        match keyword.as_str() {
            "type" => {
                let is_name = |name: &Value| {
                    let names = ["string", "number", "integer", "boolean", "object", "array", "null"];
                    names.contains(&name.as_str().unwrap())
                };
                assert!(value.as_array().map_or_else(|| is_name(value), |names| names.iter().all(is_name)), "{at}");
            }
            "description" | "format" => assert!(value.is_string(), "{at}"),
            "enum" => assert!(value.as_array().unwrap().iter().all(|value| value.is_string() || value.is_number())),
            "minItems" | "maxItems" | "minimum" | "maximum" => assert!(value.is_number(), "{at}"),
            "required" => {
                let properties = schema["properties"].as_object().unwrap();
                assert!(texts(value).iter().all(|name| properties.contains_key(*name)), "{at}");
            }
            "anyOf" => value.as_array().unwrap().iter().for_each(|branch| check_json_schema(branch, &format!("{at}|"))),
            "items" => check_json_schema(value, &format!("{at}[]")),
            "additionalProperties" if value.is_boolean() => {}
            "additionalProperties" => check_json_schema(value, &format!("{at}{{}}")),
            "properties" => {
                value.as_object().unwrap().iter().for_each(|(key, own)| check_json_schema(own, &format!("{at}.{key}")));
            }
            other => panic!("{at}: {other}"),
        }
    }
}

#[test]
fn every_schema_of_the_corpus_becomes_one_that_gemini_has() {
    for (name, schema) in corpus() {
        check_schema(&openapi(&schema), &name);
        if let Some(parameters) = arguments(&schema) {
            assert_eq!(parameters["type"], "OBJECT", "{name}");
            check_schema(&parameters, &name);
        }
        check_json_schema(&cleaned(&raw(&schema), Form::JsonSchema), &name);
    }
}

#[test]
fn no_property_of_the_corpus_is_lost_or_moved() {
    for (name, schema) in corpus() {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { continue };
        let expected: Vec<_> = properties.keys().collect();
        let cleaned = arguments(&schema);
        let found: Vec<_> =
            cleaned.iter().filter_map(|schema| schema["properties"].as_object()).flat_map(Map::keys).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn references_are_replaced_and_what_stands_beside_them_is_kept() {
    let schema = json!({
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/Place", "description": "where"}},
        "required": ["at", "gone"],
        "$defs": {"Place": {
            "title": "Place", "type": "object", "description": "a place", "additionalProperties": false,
            "properties": {"lat": {"type": "number"}}, "required": ["lat"],
        }},
    });
    let expected = json!({
        "type": "OBJECT",
        "properties": {"at": {
            "type": "OBJECT", "properties": {"lat": {"type": "NUMBER"}}, "required": ["lat"], "description": "where",
        }},
        "required": ["at"],
    });
    assert_eq!(openapi(&schema), expected);
}

#[test]
fn schemas_that_apply_together_are_one() {
    let schema = json!({
        "allOf": [
            {"type": "object", "properties": {"kind": {"type": "string"}, "id": {"type": "integer"}}, "required": ["id"]},
            {"properties": {"kind": {"const": "order"}, "note": {"type": "string"}}, "required": ["kind"]},
        ],
    });
    let expected = json!({
        "type": "OBJECT",
        "properties": {
            "kind": {"type": "STRING", "enum": ["order"]},
            "id": {"type": "INTEGER"},
            "note": {"type": "STRING"},
        },
        "required": ["id", "kind"],
    });
    assert_eq!(openapi(&schema), expected);
}

#[test]
fn null_makes_nullable() {
    let nullable = json!({"type": "STRING", "nullable": true});
    assert_eq!(openapi(&json!({"type": ["string", "null"]})), nullable);
    assert_eq!(openapi(&json!({"anyOf": [{"type": "string"}, {"type": "null"}]})), nullable);
    assert_eq!(openapi(&json!({"type": "string", "nullable": true})), nullable);
    assert_eq!(openapi(&json!({"type": "null"})), nullable);
    let of_a_union = json!({"anyOf": [{"type": "STRING", "nullable": true}, {"type": "INTEGER"}]});
    assert_eq!(openapi(&json!({"type": ["null", "string", "integer"]})), of_a_union);
    let json_schema = |schema: Value| cleaned(&raw(&schema), Form::JsonSchema);
    assert_eq!(json_schema(json!({"type": ["string", "null"]})), json!({"type": ["string", "null"]}));
    let twice = json!({"anyOf": [{"type": ["string", "null"]}, {"type": "null"}]});
    assert_eq!(json_schema(twice.clone()), json!({"type": ["string", "null"]}));
    assert_eq!(openapi(&twice), nullable);
    let of_a_union = json!({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]});
    assert_eq!(json_schema(json!({"type": ["null", "string", "integer"]})), of_a_union);
}

#[test]
fn only_texts_are_listed_and_other_values_are_said() {
    assert_eq!(openapi(&json!({"const": "a"})), json!({"type": "STRING", "enum": ["a"]}));
    assert_eq!(openapi(&json!({"enum": ["", "a", "a"]})), json!({"type": "STRING", "enum": ["a"]}));
    assert_eq!(
        openapi(&json!({"type": "integer", "enum": [1, 2], "description": "How many."})),
        json!({"type": "INTEGER", "description": "How many. (one of: 1, 2)"})
    );
    assert_eq!(openapi(&json!({"type": "boolean", "const": true}))["description"], "one of: true");
    assert_eq!(openapi(&json!({"type": "string", "enum": [10, 20]}))["enum"], json!(["10", "20"]));
    assert_eq!(
        openapi(&json!({"type": "object", "additionalProperties": {"type": "string"}, "default": 1})),
        json!({"type": "OBJECT", "description": "a map whose values are of type string; default: 1"})
    );
    let listed = cleaned(&raw(&json!({"type": "integer", "enum": [1, 2]})), Form::JsonSchema);
    assert_eq!(listed, json!({"type": "integer", "enum": [1, 2]}));
    let listed = cleaned(&raw(&json!({"enum": ["a", null]})), Form::JsonSchema);
    assert_eq!(listed, json!({"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}));
}

#[test]
fn texts_of_several_alternatives_go_together() {
    let schema = json!({"oneOf": [{"const": "a"}, {"const": "b", "title": "B"}, {"const": "c"}], "description": "d"});
    assert_eq!(openapi(&schema), json!({"type": "STRING", "enum": ["a", "b", "c"], "description": "d"}));
}

#[test]
fn alternatives_take_over_what_stands_beside_them() {
    let schema = json!({
        "description": "one of two",
        "type": "object",
        "properties": {"id": {"type": "string"}},
        "required": ["id"],
        "oneOf": [
            {"properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "description": "the other"},
        ],
    });
    let expected = json!({"anyOf": [
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING"}, "id": {"type": "STRING"}},
            "required": ["a", "id"],
            "description": "one of two",
        },
        {
            "type": "OBJECT",
            "properties": {"b": {"type": "STRING"}, "id": {"type": "STRING"}},
            "required": ["id"],
            "description": "the other",
        },
    ]});
    assert_eq!(openapi(&schema), expected);
}

#[test]
fn alternatives_that_only_require_are_no_types() {
    let schema = json!({
        "type": "object",
        "properties": {"text": {"type": "string"}, "blocks": {"type": "array", "items": {"type": "string"}}},
        "anyOf": [{"required": ["text"]}, {"required": ["blocks"]}],
    });
    assert!(openapi(&schema)["anyOf"].is_null());
    assert_eq!(openapi(&schema)["properties"].as_object().unwrap().len(), 2);
}

#[test]
fn arguments_are_one_object() {
    let union = json!({"anyOf": [
        {"type": "object", "properties": {"op": {"const": "get"}, "id": {"type": "string"}}, "required": ["op", "id"]},
        {"type": "object", "properties": {"op": {"const": "list"}}, "required": ["op"]},
    ]});
    let expected = json!({
        "type": "OBJECT",
        "properties": {"op": {"type": "STRING", "enum": ["get", "list"]}, "id": {"type": "STRING"}},
        "required": ["op"],
    });
    assert_eq!(arguments(&union).unwrap(), expected);
    for nothing in [json!({"type": "object", "properties": {}}), json!({}), json!(null), json!({"type": "string"})] {
        assert_eq!(arguments(&nothing), None, "{nothing}");
    }
}

#[test]
fn numbers_keep_their_bounds_and_texts_a_plain_pattern() {
    assert_eq!(
        openapi(&json!({"type": "integer", "exclusiveMinimum": 0, "maximum": 9, "format": "int32"})),
        json!({"type": "INTEGER", "minimum": 1, "maximum": 9, "format": "int32"})
    );
    assert_eq!(openapi(&json!({"type": "number", "exclusiveMinimum": 0})), json!({"type": "NUMBER"}));
    assert_eq!(openapi(&json!({"type": "string", "format": "uuid"})), json!({"type": "STRING"}));
    let pattern = |pattern: &str| openapi(&json!({"type": "string", "pattern": pattern}))["pattern"].clone();
    assert_eq!(pattern(r"^\d+\.\d+$"), r"^\d+\.\d+$");
    assert_eq!(pattern(r"^(?!a)"), Value::Null);
    assert_eq!(pattern(r"(a)\1"), Value::Null);
}

#[test]
fn a_recursion_ends_in_an_object_of_any_kind() {
    let schema = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}},
    });
    let mut node = openapi(&schema);
    let mut depth = 0;
    while let Some(items) = node.pointer_mut("/properties/children/items") {
        node = items.take();
        depth += 1;
    }
    assert_eq!((depth, node), (3, json!({"type": "OBJECT"})));
}

/// Each definition names the next one this many times.
fn bomb(levels: usize, keyword: &str, times: usize) -> Value {
    let mut definitions = Map::new();
    for level in 0..levels {
        let next = json!({"$ref": format!("#/$defs/{}", level + 1)});
        let schema = match keyword {
            "properties" => {
                let properties: Map<_, _> = (0..times).map(|index| (format!("p{index}"), next.clone())).collect();
                json!({"type": "object", "properties": properties})
            }
            keyword => json!({ keyword: vec![next; times] }),
        };
        definitions.insert(level.to_string(), schema);
    }
    definitions.insert(levels.to_string(), json!({"type": "string", "description": "x".repeat(1000)}));
    json!({"$ref": "#/$defs/0", "$defs": definitions})
}

#[test]
fn a_schema_that_would_grow_without_end_is_cut() {
    for keyword in ["properties", "anyOf", "oneOf", "allOf", "prefixItems"] {
        for (levels, times) in [(30, 2), (5, 100), (3, 5000), (5000, 1)] {
            let schema = bomb(levels, keyword, times);
            let source = schema.to_string().len();
            for form in [Form::Schema, Form::JsonSchema] {
                let result = cleaned(&raw(&schema), form).to_string().len();
                assert!(result <= 64 * source + 16_384, "{keyword} {levels} {times}: {source} became {result}");
            }
        }
    }
}

#[test]
fn a_schema_that_is_nested_too_deep_describes_anything() {
    let deep = format!("{}{}", r#"{"items":"#.repeat(500), "{}".to_owned() + &"}".repeat(500));
    let deep = RawValue::from_string(deep).unwrap();
    assert_eq!(cleaned(&deep, Form::Schema)["anyOf"].as_array().unwrap().len(), 4);
    assert_eq!(parameters(&deep), None);
}

fn any_json() -> impl Strategy<Value = Value> {
    let keywords = prop::sample::select(vec![
        "type",
        "properties",
        "items",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "$defs",
        "enum",
        "const",
        "required",
        "nullable",
        "format",
        "pattern",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "minItems",
        "prefixItems",
        "additionalProperties",
        "description",
        "default",
        "not",
        "a",
        "b",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "string",
            "number",
            "integer",
            "boolean",
            "object",
            "array",
            "null",
            "any",
            "#",
            "#/$defs/a",
            "#/items",
            "#/properties/a",
            "date-time",
            "int32",
            "",
            "a",
            "(?=x)",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((keywords.clone(), inner), 0..6).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_comes_becomes_a_schema(schema in any_json()) {
        let source = schema.to_string().len();
        let openapi = openapi(&schema);
        check_schema(&openapi, "");
        check_json_schema(&cleaned(&raw(&schema), Form::JsonSchema), "");
        if let Some(parameters) = arguments(&schema) {
            check_schema(&parameters, "");
        }
        prop_assert!(openapi.to_string().len() <= 64 * source + 16_384);
    }
}

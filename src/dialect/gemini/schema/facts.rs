//! What several schemas together say of one node.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::Form;

/// Keywords that only say which of the values that a schema describes are good ones.
const CONSTRAINTS: [&str; 12] = [
    "required",
    "not",
    "if",
    "then",
    "else",
    "title",
    "description",
    "$comment",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
];

/// Keywords that tell a type that is not named.
const TELLING: [(&str, &[&str]); 4] = [
    ("object", &["properties", "additionalProperties", "patternProperties", "propertyNames", "required"]),
    ("array", &["items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"]),
    ("string", &["pattern", "minLength", "maxLength", "format", "contentEncoding"]),
    ("number", &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]),
];

/// Texts that are longer than this say little to a model, in bytes.
const MAX_HINT: usize = 100;
const MAX_PATTERN: usize = 100;
const MAX_FORMAT: usize = 32;

/// Whether a schema describes no values of its own.
pub(super) fn is_constraint_only(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.keys().all(|key| CONSTRAINTS.contains(&key.as_str())),
        _ => true,
    }
}

/// How long these texts are together.
pub(super) fn bytes(values: &[Value]) -> usize {
    values.iter().map(|value| 8 + value.as_str().map_or(0, str::len)).sum()
}

/// The schemas that apply to a node; what an earlier one says goes before what a later one does.
#[derive(Default)]
pub(super) struct Layers<'s>(Vec<&'s Map<String, Value>>);

impl<'s> Layers<'s> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, fields: &'s Map<String, Value>) {
        self.0.push(fields);
    }

    /// Adds those of another node; false when they become more than this.
    pub(super) fn append(&mut self, other: &Self, most: usize) -> bool {
        self.0.extend_from_slice(&other.0);
        self.0.len() <= most
    }

    /// How much there is to go through.
    pub(super) fn weight(&self) -> usize {
        self.0.iter().map(|fields| weight(fields)).sum()
    }

    /// What the first schema that has the keyword says.
    pub(super) fn first(&self, keyword: &str) -> Option<&'s Value> {
        self.0.iter().find_map(|fields| fields.get(keyword))
    }

    /// The lists that stand under a keyword.
    fn lists(&self, keyword: &str) -> impl Iterator<Item = &'s Vec<Value>> {
        self.0.iter().filter_map(move |fields| fields.get(keyword).and_then(Value::as_array))
    }

    fn own(&self, own: usize) -> impl Iterator<Item = &'s Map<String, Value>> {
        self.0.iter().take(own).copied()
    }

    pub(super) fn description(&self, own: usize) -> Option<&'s str> {
        let text = self.own(own).find_map(|fields| fields.get("description").and_then(Value::as_str));
        text.filter(|text| !text.is_empty())
    }

    pub(super) fn is_nullable(&self, own: usize) -> bool {
        self.own(own).any(|fields| fields.get("nullable") == Some(&Value::Bool(true)))
            || self.values().is_some_and(|values| values.contains(&&Value::Null))
    }

    /// What the node may be instead.
    pub(super) fn alternatives(&self, own: usize) -> &'s [Value] {
        let of = |fields: &'s Map<String, Value>| {
            let list = |keyword| fields.get(keyword).and_then(Value::as_array).filter(|list| !list.is_empty());
            list("anyOf").or_else(|| list("oneOf"))
        };
        self.own(own).find_map(of).map(Vec::as_slice).unwrap_or_default()
    }

    /// Names of types, told or inferred; none when the node may be anything.
    pub(super) fn types(&self) -> Vec<&'static str> {
        let told = match self.first("type") {
            Some(Value::String(name)) => known(name).into_iter().collect(),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).filter_map(known).collect(),
            _ => Vec::new(),
        };
        if !told.is_empty() {
            return told;
        }
        if let Some(values) = self.values() {
            let mut types: Vec<&str> = values.into_iter().map(type_of).collect();
            types.sort_unstable();
            types.dedup();
            return types;
        }
        let tells = |keywords: &[&str]| keywords.iter().any(|keyword| self.first(keyword).is_some());
        TELLING.iter().filter(|(_, keywords)| tells(keywords)).map(|(name, _)| *name).take(1).collect()
    }

    /// The only values, if they are listed; of several lists the shortest.
    fn values(&self) -> Option<Vec<&'s Value>> {
        let constants = self.0.iter().filter_map(|fields| fields.get("const")).map(|value| vec![value]);
        let lists = self.lists("enum").filter(|list| !list.is_empty()).map(|list| list.iter().collect());
        constants.chain(lists).min_by_key(Vec::len)
    }

    /// The only values of a type; `None` when the schemas list none.
    pub(super) fn values_of(&self, name: &str) -> Option<Vec<Value>> {
        let types = self.types();
        let values = self.values()?;
        let fits = |value: &Value, name: &str| {
            let own = type_of(value);
            own == name || (own == "integer" && name == "number")
        };
        if !values.iter().any(|value| types.iter().any(|name| fits(value, name))) {
            // Numbers that are listed for a text are meant as texts.
            let texts = values.into_iter().filter(|value| value.is_number()).map(|value| value.to_string().into());
            return (name == "string").then(|| texts.collect()).filter(|texts: &Vec<Value>| !texts.is_empty());
        }
        let mut seen = HashSet::new();
        let fitting = values.into_iter().filter(|value| fits(value, name));
        // An empty text is refused.
        let fitting = fitting.filter(|value| value.as_str().is_none_or(|text| !text.is_empty() && seen.insert(text)));
        Some(fitting.cloned().collect())
    }

    /// The properties of an object with all that is said of each.
    pub(super) fn properties(&self) -> Vec<(&'s str, Vec<&'s Value>)> {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut properties: Vec<(&'s str, Vec<&'s Value>)> = Vec::new();
        let all = self.0.iter().filter_map(|fields| fields.get("properties").and_then(Value::as_object)).flatten();
        for (name, schema) in all {
            let place = *places.entry(name).or_insert(properties.len());
            match properties.get_mut(place) {
                Some((_, schemas)) => schemas.push(schema),
                None => properties.push((name, vec![schema])),
            }
        }
        properties
    }

    /// The properties that have to be there, among those that may.
    pub(super) fn required(&self, mut may: impl FnMut(&str) -> bool) -> Vec<Value> {
        let mut seen = HashSet::new();
        let names = self.lists("required").flatten().filter_map(Value::as_str);
        names.filter(|name| seen.insert(*name) && may(name)).map(Value::from).collect()
    }

    /// What is said of every item of an array.
    pub(super) fn items(&self) -> Vec<&'s Value> {
        self.0.iter().filter_map(|fields| fields.get("items")).filter(|items| items.is_object()).collect()
    }

    /// What is said of each item of an array by its place.
    pub(super) fn tuple(&self) -> &'s [Value] {
        let list = self.lists("prefixItems").chain(self.lists("items")).find(|list| !list.is_empty());
        list.map(Vec::as_slice).unwrap_or_default()
    }

    /// Keywords with which this type may be limited.
    pub(super) fn limits(&self, name: &str, form: Form) -> impl Iterator<Item = (&'static str, Value)> {
        let count = |keyword| (keyword, self.first(keyword).filter(|count| count.is_u64()).cloned());
        let limits: [(&'static str, Option<Value>); 4] = match (name, form) {
            ("string", Form::Schema) => {
                let pattern = self.first("pattern").and_then(Value::as_str).filter(|pattern| is_plain(pattern));
                [
                    count("minLength"),
                    count("maxLength"),
                    ("pattern", pattern.map(Value::from)),
                    ("format", self.format(|format| format == "date-time")),
                ]
            }
            ("string", Form::JsonSchema) => {
                [("format", self.format(|format| format.len() <= MAX_FORMAT)), ("", None), ("", None), ("", None)]
            }
            ("integer" | "number", form) => {
                let formats = if name == "integer" { ["int32", "int64"] } else { ["float", "double"] };
                let format = self.format(|format| form == Form::Schema && formats.contains(&format));
                let (least, most) = self.range(name == "integer");
                [("minimum", least), ("maximum", most), ("format", format), ("", None)]
            }
            ("array", _) => [count("minItems"), count("maxItems"), ("", None), ("", None)],
            _ => Default::default(),
        };
        limits.into_iter().filter_map(|(keyword, value)| Some((keyword, value?)))
    }

    fn format(&self, is_known: impl Fn(&str) -> bool) -> Option<Value> {
        self.first("format").and_then(Value::as_str).filter(|format| is_known(format)).map(Value::from)
    }

    /// The least and the greatest number. A bound that a whole number must not reach is moved by one.
    fn range(&self, is_whole: bool) -> (Option<Value>, Option<Value>) {
        let bound = |keyword, open, step: i64| {
            let given = self.first(keyword).filter(|bound| bound.is_number()).cloned();
            let beside = || self.first(open).and_then(Value::as_i64).filter(|_| is_whole)?.checked_add(step);
            given.or_else(|| beside().map(Value::from))
        };
        (bound("minimum", "exclusiveMinimum", 1), bound("maximum", "exclusiveMaximum", -1))
    }

    /// What a `Schema` object has no keyword for, in words.
    pub(super) fn hints(&self, own: usize) -> Vec<String> {
        let mut hints = Vec::new();
        let values = self.values().filter(|_| self.alternatives(own).is_empty() && !self.types().contains(&"string"));
        if let Some(values) = values.filter(|values| values.iter().any(|value| !value.is_null())) {
            let list = values.iter().take(MAX_HINT).map(ToString::to_string).collect::<Vec<_>>().join(", ");
            hints.push(format!("one of: {list}"));
        }
        let of_values = self.first("additionalProperties").and_then(|schema| schema.get("type"));
        if let (None, Some(Value::String(name))) = (self.first("properties"), of_values) {
            hints.extend(known(name).map(|name| format!("a map whose values are of type {name}")));
        }
        let default = self.own(own).find_map(|fields| fields.get("default"));
        if let Some(default @ (Value::Bool(_) | Value::Number(_) | Value::String(_))) = default {
            let text = default.to_string();
            hints.extend((text.len() <= MAX_HINT).then(|| format!("default: {text}")));
        }
        hints
    }
}

/// How much there is to go through in a schema beside its properties.
pub(super) fn weight(fields: &Map<String, Value>) -> usize {
    let lists = ["enum", "required", "anyOf", "oneOf", "type", "prefixItems", "items"];
    lists.iter().filter_map(|keyword| fields.get(*keyword).and_then(Value::as_array)).map(Vec::len).sum()
}

fn known(name: &str) -> Option<&'static str> {
    const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "object", "array", "null"];
    TYPES.iter().find(|known| known.eq_ignore_ascii_case(name)).copied()
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Patterns are matched by an engine without look-around and back-references.
fn is_plain(pattern: &str) -> bool {
    let mut escaped = false;
    let has_reference = pattern.chars().any(|c| {
        let is_reference = escaped && c.is_ascii_digit();
        escaped = c == '\\' && !escaped;
        is_reference
    });
    pattern.len() <= MAX_PATTERN && !pattern.contains("(?") && !has_reference
}

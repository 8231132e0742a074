//! Makes a JSON Schema one that Gemini accepts.
//!
//! Google's API reference has two kinds: its `Schema` object, a subset of OpenAPI's, for arguments of
//! functions and for answers of older models; and a subset of JSON Schema for answers of newer ones.
//! Beyond what the reference says, a request is refused when a type is missing, a keyword does not
//! belong to its type, an array says nothing of its items, an object requires what it does not have,
//! only strings may have an `enum`, without an empty one, and nothing may stand beside `anyOf`.
//!
//! References are replaced by what they refer to. As schemas come from anybody, the length of the
//! result is bounded by that of the source; what is left out by that, and what a recursion would go on
//! with, is an object of any kind.

use std::collections::HashSet;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use facts::{Layers, is_constraint_only};

mod facts;

/// What becomes of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A `Schema` object.
    Schema,
    /// A JSON Schema.
    JsonSchema,
}

/// How many times as long as the source a result may be, and what it may have beside that, in bytes.
const GROWTH: usize = 16;
const ALLOWANCE: usize = 4096;
/// How long a node is beside its texts, and what one of the schemas that apply to it costs, in bytes.
const NODE: usize = 64;
const LAYER: usize = 16;
/// Nodes may be nested this deep.
const MAX_DEPTH: usize = 32;
/// This many schemas may apply to one node.
const MAX_LAYERS: usize = 64;
/// A reference is followed this often within itself.
const MAX_UNROLLED: usize = 2;
/// A node has this many alternatives; the first ones stand for the others.
const MAX_BRANCHES: usize = 256;

/// What any value is, as far as there is a word for it.
const ANY: [&str; 4] = ["string", "number", "boolean", "object"];

/// The schema of an answer.
pub(super) fn cleaned(schema: &RawValue, form: Form) -> Value {
    let root = read(schema);
    Cleaner::new(&root, schema.get().len(), form).clean(&[&root], 0)
}

/// The schema of a function's arguments, an object; nothing when there are none.
pub(super) fn parameters(schema: &RawValue) -> Option<Value> {
    let mut root = cleaned(schema, Form::Schema);
    if let Some(Value::Array(branches)) = root.get_mut("anyOf") {
        root = merged(std::mem::take(branches));
    }
    let Value::Object(fields) = &mut root else { return None };
    fields.shift_remove("nullable");
    fields.contains_key("properties").then_some(root)
}

fn read(schema: &RawValue) -> Value {
    // One that is nested too deep to be read describes anything.
    serde_json::from_str(schema.get()).unwrap_or(Value::Null)
}

/// One object for several: it has what any of them has, and requires what all of them require.
fn merged(branches: Vec<Value>) -> Value {
    let mut properties: Map<String, Value> = Map::new();
    let mut required: Option<Vec<Value>> = None;
    for mut branch in branches {
        let Some(Value::Object(own)) = branch.get_mut("properties").map(Value::take) else { continue };
        let must = branch.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        required = Some(match required {
            None => must,
            Some(so_far) => so_far.into_iter().filter(|name| must.contains(name)).collect(),
        });
        for (name, schema) in own {
            let so_far = properties.get_mut(&name).map(Value::take);
            let schema = union(Form::Schema, so_far.into_iter().chain([schema]).collect(), None, false);
            properties.insert(name, schema);
        }
    }
    let mut object = Map::new();
    object.insert("type".to_owned(), "OBJECT".into());
    if !properties.is_empty() {
        object.insert("properties".to_owned(), properties.into());
    }
    if let Some(required) = required.filter(|required| !required.is_empty()) {
        object.insert("required".to_owned(), required.into());
    }
    Value::Object(object)
}

/// Cleans one schema.
struct Cleaner<'s> {
    root: &'s Value,
    form: Form,
    /// How much longer the result may become, in bytes.
    budget: usize,
    /// The references that lead to the node that is cleaned.
    trail: Vec<&'s str>,
}

impl<'s> Cleaner<'s> {
    fn new(root: &'s Value, source_bytes: usize, form: Form) -> Self {
        let budget = source_bytes.saturating_mul(GROWTH).saturating_add(ALLOWANCE);
        Self { root, form, budget, trail: Vec::new() }
    }

    fn spend(&mut self, cost: usize) -> bool {
        let rest = self.budget.checked_sub(cost);
        self.budget = rest.unwrap_or(0);
        rest.is_some()
    }

    /// The node that all these schemas describe together.
    fn clean(&mut self, schemas: &[&'s Value], depth: usize) -> Value {
        let outside = self.trail.len();
        let mut layers = Layers::default();
        let is_whole =
            depth < MAX_DEPTH && self.spend(NODE) && schemas.iter().all(|schema| self.gather(schema, &mut layers));
        let node = if is_whole { self.node(&layers, layers.len(), depth) } else { of_type(self.form, "object") };
        self.trail.truncate(outside);
        node
    }

    /// Adds a schema and those that it includes. False: there is no end to them.
    fn gather(&mut self, schema: &'s Value, layers: &mut Layers<'s>) -> bool {
        let Value::Object(fields) = schema else { return true };
        if layers.len() >= MAX_LAYERS || !self.spend(LAYER + facts::weight(fields)) {
            return false;
        }
        layers.push(fields);
        if let Some(Value::String(reference)) = fields.get("$ref") {
            if self.trail.iter().filter(|passed| *passed == reference).count() >= MAX_UNROLLED {
                return false;
            }
            self.trail.push(reference);
            if self.target(reference).is_some_and(|target| !self.gather(target, layers)) {
                return false;
            }
        }
        let included = fields.get("allOf").and_then(Value::as_array);
        included.into_iter().flatten().all(|schema| self.gather(schema, layers))
    }

    /// What a reference within the document refers to.
    fn target(&self, reference: &str) -> Option<&'s Value> {
        let pointer = reference.strip_prefix('#')?;
        if !pointer.contains('%') {
            return self.root.pointer(pointer);
        }
        // It stands in an address, where some characters are written in another way.
        let decoded = percent_decode(pointer.as_bytes());
        self.root.pointer(std::str::from_utf8(&decoded).ok()?)
    }

    /// A node. Only the first `own` layers may tell it apart; the others are those of the node whose
    /// alternative it is.
    fn node(&mut self, layers: &Layers<'s>, own: usize, depth: usize) -> Value {
        let mut is_nullable = layers.is_nullable(own);
        let mut branches: Vec<&'s Value> = layers.alternatives(own).iter().take(MAX_BRANCHES).collect();
        if branches.iter().all(|branch| is_constraint_only(branch)) {
            branches.clear();
        }
        let nodes: Vec<Value> = if branches.is_empty() {
            let types = layers.types();
            is_nullable |= types.contains(&"null");
            let types: Vec<&str> = types.into_iter().filter(|name| *name != "null").collect();
            let types = if types.is_empty() && !is_nullable { ANY.to_vec() } else { types };
            types.into_iter().filter_map(|name| self.typed(name, layers, depth)).collect()
        } else {
            branches.retain(|branch| {
                let is_null = branch.get("type").is_some_and(|name| name == "null");
                is_nullable |= is_null;
                !is_null
            });
            branches.into_iter().map(|branch| self.branch(branch, layers, depth)).collect()
        };
        let description = self.description(layers, own);
        union(self.form, nodes, description, is_nullable)
    }

    /// An alternative of a node, with all that the node itself says.
    fn branch(&mut self, branch: &'s Value, of: &Layers<'s>, depth: usize) -> Value {
        let outside = self.trail.len();
        let mut layers = Layers::default();
        let is_whole = depth + 1 < MAX_DEPTH && self.spend(NODE + of.weight()) && self.gather(branch, &mut layers);
        let own = layers.len();
        let node = if is_whole && layers.append(of, MAX_LAYERS) {
            self.node(&layers, own, depth + 1)
        } else {
            of_type(self.form, "object")
        };
        self.trail.truncate(outside);
        node
    }

    fn description(&mut self, layers: &Layers<'s>, own: usize) -> Option<String> {
        let hints = if self.form == Form::Schema { layers.hints(own).join("; ") } else { String::new() };
        let text = match layers.description(own) {
            None => hints,
            Some(text) if hints.is_empty() => text.to_owned(),
            Some(text) => format!("{text} ({hints})"),
        };
        (!text.is_empty() && self.spend(text.len())).then_some(text)
    }

    /// The node as far as it has this type; nothing when none of its values has.
    fn typed(&mut self, name: &str, layers: &Layers<'s>, depth: usize) -> Option<Value> {
        let Value::Object(mut node) = of_type(self.form, name) else { return None };
        match name {
            "object" => self.object(layers, depth, &mut node),
            "array" => self.array(layers, depth, &mut node),
            _ => {
                let values = layers.values_of(name);
                if values.as_ref().is_some_and(Vec::is_empty) {
                    return None;
                }
                let may_list = name == "string" || (name != "boolean" && self.form == Form::JsonSchema);
                let values = values.filter(|_| may_list);
                if let Some(values) = values.filter(|values| self.spend(facts::bytes(values))) {
                    node.insert("enum".to_owned(), values.into());
                }
                node.extend(layers.limits(name, self.form).map(|(key, value)| (key.to_owned(), value)));
            }
        }
        Some(Value::Object(node))
    }

    fn object(&mut self, layers: &Layers<'s>, depth: usize, node: &mut Map<String, Value>) {
        let mut properties = Map::new();
        for (name, schemas) in layers.properties() {
            if !self.spend(name.len()) {
                break;
            }
            let schema = self.clean(&schemas, depth + 1);
            properties.insert(name.to_owned(), schema);
        }
        let required = layers.required(|name| properties.contains_key(name) && self.spend(LAYER + name.len()));
        if !properties.is_empty() {
            node.insert("properties".to_owned(), properties.into());
        }
        if !required.is_empty() {
            node.insert("required".to_owned(), required.into());
        }
        if self.form == Form::JsonSchema {
            match layers.first("additionalProperties") {
                Some(closed @ Value::Bool(_)) => {
                    node.insert("additionalProperties".to_owned(), closed.clone());
                }
                Some(schema @ Value::Object(_)) => {
                    node.insert("additionalProperties".to_owned(), self.clean(&[schema], depth + 1));
                }
                _ => {}
            }
        }
    }

    fn array(&mut self, layers: &Layers<'s>, depth: usize, node: &mut Map<String, Value>) {
        let items = layers.items();
        let tuple = layers.tuple();
        let items = if items.is_empty() && !tuple.is_empty() {
            let nodes = tuple.iter().take(MAX_BRANCHES).map(|schema| self.clean(&[schema], depth + 1)).collect();
            union(self.form, nodes, None, false)
        } else {
            self.clean(&items, depth + 1)
        };
        node.insert("items".to_owned(), items);
        node.extend(layers.limits("array", self.form).map(|(key, value)| (key.to_owned(), value)));
    }
}

/// One of several nodes.
fn union(form: Form, nodes: Vec<Value>, description: Option<String>, is_nullable: bool) -> Value {
    let mut branches: Vec<Value> = Vec::with_capacity(nodes.len());
    for node in nodes {
        // A union of a union is one of all.
        match node {
            Value::Object(mut fields) if fields.contains_key("anyOf") => {
                if let Some(Value::Array(inner)) = fields.get_mut("anyOf").map(Value::take) {
                    inner.into_iter().for_each(|node| add(&mut branches, node));
                }
            }
            node => add(&mut branches, node),
        }
    }
    if branches.is_empty() {
        branches.push(of_type(form, "string"));
    }
    if let Some(Value::Object(first)) = branches.first_mut() {
        describe(first, description);
        if is_nullable && form == Form::Schema {
            first.insert("nullable".to_owned(), true.into());
        }
    }
    let is_nullable = is_nullable && form == Form::JsonSchema;
    match (branches.pop(), branches.is_empty()) {
        (Some(Value::Object(mut only)), true) if !(is_nullable && only.contains_key("enum")) => {
            match only.get_mut("type") {
                Some(name) if is_nullable && name.is_string() => *name = json!([name.take(), "null"]),
                _ => {}
            }
            Value::Object(only)
        }
        (last, _) => {
            branches.extend(last);
            branches.extend(is_nullable.then(|| json!({ "type": "null" })));
            json!({ "anyOf": branches })
        }
    }
}

fn of_type(form: Form, name: &str) -> Value {
    match form {
        Form::Schema => json!({ "type": name.to_ascii_uppercase() }),
        Form::JsonSchema => json!({ "type": name }),
    }
}

fn percent_decode(mut bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    while let Some((first, rest)) = bytes.split_first() {
        let hex = rest.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes = if byte.is_some() { rest.get(2..).unwrap_or_default() } else { rest };
        decoded.push(byte.unwrap_or(*first));
    }
    decoded
}

/// Adds an alternative. One that is there already adds nothing, and texts to choose from go together.
fn add(branches: &mut Vec<Value>, mut node: Value) {
    let is_choice = |node: &Value| node.get("type").is_some_and(|name| name == "STRING" || name == "string");
    if branches.contains(&node) {
        return;
    }
    let before = branches.last_mut().filter(|before| is_choice(before) && is_choice(&node));
    let before = before.and_then(|before| before.get_mut("enum"));
    match (before, node.get_mut("enum")) {
        (Some(Value::Array(before)), Some(Value::Array(more))) => {
            let known: HashSet<&str> = before.iter().filter_map(Value::as_str).collect();
            more.retain(|text| text.as_str().is_some_and(|text| !known.contains(text)));
            before.append(more);
        }
        _ => branches.push(node),
    }
}

/// Puts a description before the one that is there.
fn describe(node: &mut Map<String, Value>, description: Option<String>) {
    let Some(mut text) = description else { return };
    if let Some(Value::String(own)) = node.get("description") {
        text.push(' ');
        text.push_str(own);
    }
    node.insert("description".to_owned(), text.into());
}

//! Requests of version 1.

use serde_json::{Value, json};
use uni_api::canon::Role;
use uni_api::dialect::Format;

use crate::client::text;
use crate::exchange::{Call, Piece, Request, Turn};
use crate::native::Native;

use super::{settings, v1_answers, wanted};

pub const V1: Native = Native {
    name: "cohere, version 1",
    format: Format::CohereV1,
    model: "command-r-plus",
    read_request,
    normalised: Value::clone,
    carried,
    given: v1_answers::given,
    read_answer: v1_answers::read,
    read_stream: v1_answers::read_stream,
    write_answer: v1_answers::write,
    write_stream: v1_answers::write_stream,
};

/// What stands for ids, which the format does not have: the place among all calls.
fn place(number: usize) -> String {
    format!("call {number}")
}

fn carried(mut request: Request) -> Option<Request> {
    let demands_a_call =
        |choice: &Value| choice.is_object() && choice["allowed_tools"]["mode"] != "auto" || choice == "required";
    if request.settings.get("tool_choice").is_some_and(demands_a_call) {
        return None;
    }
    super::carried(&mut request);
    request.system = joined(texts(&request.system)?);
    let mut ids: Vec<String> = Vec::new();
    for turn in &mut request.turns {
        let is_calling = turn.pieces.iter().any(|piece| matches!(piece, Piece::Call(_)));
        let (mut said, mut kept) = (Vec::new(), Vec::new());
        for piece in turn.pieces.drain(..) {
            match piece {
                Piece::Text(text) if text.trim().is_empty() => {}
                Piece::Text(text) => said.push(text),
                Piece::Thought { text, .. } if is_calling && !text.is_empty() => said.push(text),
                Piece::Thought { .. } => {}
                Piece::Call(call) => {
                    ids.push(call.id.clone());
                    kept.push(Piece::Call(Call { id: place(ids.len()), ..call }));
                }
                Piece::Result { id, pieces, is_error } => {
                    kept.extend(joined(std::mem::take(&mut said)));
                    let number = 1 + ids.iter().position(|own| *own == id).unwrap();
                    kept.push(result(place(number), texts(&pieces)?, is_error));
                }
                _ => return None,
            }
        }
        let said = joined(said);
        let at = if turn.role == Role::Assistant { 0 } else { kept.len() };
        kept.splice(at..at, said);
        turn.pieces = kept;
    }
    let ends_with_results = |turn: &Turn| matches!(turn.pieces.last(), Some(Piece::Result { .. }));
    let choice = request.settings.remove("tool_choice");
    if choice.is_some_and(|choice| choice == "none") && !request.turns.last().is_some_and(ends_with_results) {
        request.tools.clear();
    }
    request.tools = request.tools.iter().map(tool).collect();
    Some(request)
}

fn texts(pieces: &[Piece]) -> Option<Vec<String>> {
    let texts = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => Some(text.clone()),
        _ => None,
    });
    let texts: Option<Vec<_>> = texts.collect();
    Some(texts?.into_iter().filter(|text| !text.trim().is_empty()).collect())
}

fn joined(texts: Vec<String>) -> Vec<Piece> {
    if texts.is_empty() { Vec::new() } else { vec![Piece::Text(texts.join("\n"))] }
}

/// A result is a list of objects; text that is none is inside one.
fn result(id: String, texts: Vec<String>, is_error: bool) -> Piece {
    let (mut pieces, mut is_told) = (Vec::new(), texts.is_empty());
    for text in texts {
        let is_object = |value: &Value| value.is_object();
        match serde_json::from_str::<Value>(&text) {
            Ok(object @ Value::Object(_)) => pieces.push(Piece::Text(object.to_string())),
            Ok(Value::Array(objects)) if !objects.is_empty() && objects.iter().all(is_object) => {
                pieces.extend(objects.iter().map(|object| Piece::Text(object.to_string())));
            }
            _ => {
                is_told = true;
                pieces.push(Piece::Text(text));
            }
        }
    }
    Piece::Result { id, pieces, is_error: is_error && is_told }
}

/// A function with its parameters: what they are for, of what shape they are, and whether they must be there.
fn tool(tool: &Value) -> Value {
    let function = &tool["function"];
    let mut parameters = json!({});
    for (name, property) in function["parameters"]["properties"].as_object().into_iter().flatten() {
        let required = function["parameters"]["required"].as_array();
        let is_required = required.is_some_and(|names| names.iter().any(|own| own == name));
        let description = property["description"].as_str().unwrap_or_default();
        parameters[name] =
            json!({ "description": description, "shape": shape(property.clone()), "required": is_required });
    }
    let description = function["description"].as_str().unwrap_or_default();
    json!({ "name": function["name"], "description": description, "parameters": parameters })
}

fn read_tool(tool: &Value) -> Value {
    let mut parameters = json!({});
    for (name, definition) in tool["parameter_definitions"].as_object().unwrap() {
        let text = definition["description"].as_str().unwrap_or_default();
        let (description, schema) = match text.rsplit_once("JSON Schema: ") {
            Some((text, schema)) => (text.trim_end_matches(' '), serde_json::from_str(schema).unwrap()),
            None => (text, of_python(definition["type"].as_str().unwrap())),
        };
        parameters[name] =
            json!({ "description": description, "shape": shape(schema), "required": definition["required"] });
    }
    json!({ "name": tool["name"], "description": tool["description"], "parameters": parameters })
}

/// The schema that a Python type stands for.
fn of_python(kind: &str) -> Value {
    let inner = |beginning: &str| kind.strip_prefix(beginning).and_then(|rest| rest.strip_suffix(']'));
    match kind {
        "str" => json!({ "type": "string" }),
        "int" => json!({ "type": "integer" }),
        "float" => json!({ "type": "number" }),
        "bool" => json!({ "type": "boolean" }),
        "List" => json!({ "type": "array" }),
        "Dict" => json!({ "type": "object" }),
        "Any" => json!({}),
        _ => match (inner("List["), inner("Dict[str, ")) {
            (Some(inner), _) => json!({ "type": "array", "items": of_python(inner) }),
            (_, Some(inner)) => json!({ "type": "object", "additionalProperties": of_python(inner) }),
            _ => panic!("no Python type: {kind}"),
        },
    }
}

/// A schema without what only explains it.
fn shape(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            fields.retain(|name, value| match name.as_str() {
                "description" | "title" => !value.is_string(),
                "additionalProperties" => !value.is_boolean(),
                "$defs" => false,
                _ => true,
            });
            fields.values_mut().for_each(|value| *value = shape(value.take()));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| *value = shape(value.take())),
        _ => {}
    }
    schema
}

fn read_request(body: &Value) -> Result<Request, String> {
    let tools = body["tools"].as_array().into_iter().flatten().map(read_tool).collect();
    let mut request = Request { tools, ..Request::default() };
    let mut settings = settings(body, "schema");
    let mut system = body["preamble"].as_str().unwrap_or_default();
    if let Some((rest, format)) = wanted(system) {
        system = rest.strip_suffix('\n').unwrap_or(rest);
        settings["response_format"] = format;
    }
    request.system = joined(Some(system.to_owned()).filter(|system| !system.is_empty()).into_iter().collect());
    let mut calls: Vec<Call> = Vec::new();
    // The calls of the latest answer that have no result yet.
    let mut open: Vec<Call> = Vec::new();
    for entry in body["chat_history"].as_array().into_iter().flatten() {
        let mut pieces = said(&entry["message"]);
        let role = if entry["role"] == "CHATBOT" { Role::Assistant } else { Role::User };
        if role == Role::Assistant {
            open.clear();
        }
        for made in entry["tool_calls"].as_array().into_iter().flatten() {
            let (name, arguments) = (text(&made["name"]).unwrap(), made["parameters"].clone());
            let call = Call { id: place(calls.len() + 1), name, arguments, proof: None };
            calls.push(call.clone());
            open.push(call.clone());
            pieces.push(Piece::Call(call));
        }
        pieces.extend(results(&entry["tool_results"], &mut open));
        request.turns.push(Turn { role, pieces });
    }
    let mut last = said(&body["message"]);
    last.extend(results(&body["tool_results"], &mut open));
    request.turns.push(Turn { role: Role::User, pieces: last });
    request.settings = settings.as_object().unwrap().clone();
    Ok(request)
}

fn said(message: &Value) -> Vec<Piece> {
    joined(message.as_str().filter(|text| !text.is_empty()).map(str::to_owned).into_iter().collect())
}

/// Each result repeats its call; of calls that are alike, the first without a result is meant.
fn results(results: &Value, open: &mut Vec<Call>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for result in results.as_array().into_iter().flatten() {
        let is_meant =
            |call: &Call| result["call"]["name"] == *call.name && result["call"]["parameters"] == call.arguments;
        let id = open.remove(open.iter().position(is_meant).expect("a call for the result")).id;
        let (mut outputs, mut is_error) = (Vec::new(), false);
        for output in result["outputs"].as_array().unwrap() {
            let fields: Vec<_> = output.as_object().unwrap().iter().collect();
            match fields[..] {
                [(name, Value::String(text))] if name == "output" || name == "error" => {
                    is_error |= name == "error";
                    outputs.extend(joined(Some(text.clone()).filter(|text| !text.is_empty()).into_iter().collect()));
                }
                _ => outputs.push(Piece::Text(output.to_string())),
            }
        }
        pieces.push(Piece::Result { id, pieces: outputs, is_error });
    }
    pieces
}

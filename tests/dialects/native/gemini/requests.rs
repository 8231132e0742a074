//! Requests.

use serde_json::{Value, json};
use uni_api::canon::Role;

use crate::client::text;
use crate::exchange::{Call, GOOGLE, Kind, Media, Piece, Proof, Request, Turn, put};

use super::place;

/// What Google gives out for calls that no Gemini model made.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

const JSON_WANTED: &str = "Answer with one JSON object and nothing else.";
const SCHEMA_WANTED: &str = "Answer with JSON that obeys this JSON Schema, and nothing else: ";

/// Google takes its own names in both spellings, and does not care for the case of types.
pub fn camel(value: &Value) -> Value {
    let spelled = |name: &str| {
        let mut words = name.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |name, word| {
            let (head, rest) = word.split_at(word.len().min(1));
            name + &head.to_uppercase() + rest
        })
    };
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let name = spelled(name);
                // What is the client's own stays as it is.
                let is_own =
                    matches!(name.as_str(), "args" | "response" | "labels" | "properties" | "responseJsonSchema");
                (name, if is_own { value.clone() } else { camel(value) })
            };
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(values) => values.iter().map(camel).collect(),
        other => other.clone(),
    }
}

/// What a schema says of the shape of values and what they are for, whatever the kind of schema: references followed,
/// and without what only some kinds have a keyword for and others tell in words.
pub fn shape(schema: &Value) -> Value {
    fn shaped(node: &Value, root: &Value) -> Value {
        let Value::Object(fields) = node else { return node.clone() };
        if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
            return shaped(root.pointer(reference.trim_start_matches('#')).unwrap(), root);
        }
        let mut shape = json!({});
        for (name, value) in fields {
            match name.as_str() {
                "type" => shape["type"] = value.as_str().unwrap().to_lowercase().into(),
                "const" => {
                    shape["type"] = if value.is_string() { "string".into() } else { Value::Null };
                    shape["enum"] = json!([value]);
                }
                "enum" => shape["enum"] = value.clone(),
                "required" if *value != json!([]) => shape["required"] = value.clone(),
                "properties" if *value != json!({}) => {
                    let own = value.as_object().unwrap().iter();
                    shape["properties"] =
                        Value::Object(own.map(|(name, node)| (name.clone(), shaped(node, root))).collect());
                }
                "items" => shape["items"] = shaped(value, root),
                "anyOf" | "any_of" => {
                    shape["anyOf"] = value.as_array().unwrap().iter().map(|node| shaped(node, root)).collect();
                }
                "description" => put(&mut shape, "description", without_hints(value.as_str().unwrap())),
                _ => {}
            }
        }
        shape
    }
    shaped(schema, schema)
}

/// A description without what is told there for want of a keyword.
fn without_hints(text: &str) -> Option<&str> {
    let hints = ["default: ", "one of: ", "a map whose values are of type "];
    let end = hints.iter().filter_map(|hint| text.find(hint)).min().unwrap_or(text.len());
    text.get(..end).map(|text| text.strip_suffix(" (").unwrap_or(text)).filter(|text| !text.is_empty())
}

/// A function; one that takes nothing has no parameters.
pub fn function(name: &Value, description: &str, parameters: Value) -> Value {
    let parameters =
        Some(shape(&parameters)).filter(|schema| schema["properties"].as_object().is_some_and(|own| !own.is_empty()));
    let mut function = json!({ "name": name, "description": description });
    put(&mut function, "parameters", parameters);
    json!({ "type": "function", "function": function })
}

pub fn read(body: &Value) -> Result<Request, String> {
    let body = camel(body);
    let mut request = Request::default();
    let mut calls = Calls::default();
    request.system = calls.pieces(&body["systemInstruction"]["parts"])?;
    for content in body["contents"].as_array().unwrap() {
        let role = if content["role"] == "model" { Role::Assistant } else { Role::User };
        if role == Role::Assistant {
            calls.open.clear();
        }
        request.turns.push(Turn { role, pieces: calls.pieces(&content["parts"])? });
    }
    let mut settings = generation_config(&body["generationConfig"]);
    for (name, value) in body.as_object().unwrap() {
        if !matches!(
            name.as_str(),
            "systemInstruction" | "contents" | "tools" | "toolConfig" | "generationConfig" | "safetySettings"
        ) {
            settings[name] = value.clone();
        }
    }
    for tool in body["tools"].as_array().into_iter().flatten() {
        let Some(functions) = tool["functionDeclarations"].as_array() else {
            request.tools.push(tool.clone());
            continue;
        };
        for own in functions {
            let parameters = own.get("parameters").or_else(|| own.get("parametersJsonSchema")).cloned();
            let description = own["description"].as_str().unwrap_or_default();
            request.tools.push(function(&own["name"], description, parameters.unwrap_or_default()));
        }
    }
    let is_mixed = body["tools"].as_array().is_some_and(|tools| tools.len() > 1);
    if body["toolConfig"]["includeServerSideToolInvocations"] == true && !is_mixed {
        return Err("includeServerSideToolInvocations".to_owned());
    }
    let calling = &body["toolConfig"]["functionCallingConfig"];
    let named = |name: &Value| json!({ "type": "function", "function": { "name": name } });
    match (calling["mode"].as_str(), calling["allowedFunctionNames"].as_array().map(Vec::as_slice)) {
        (Some(mode @ "VALIDATED"), _) => return Err(format!("function calling in mode {mode}")),
        (Some("AUTO"), _) => settings["tool_choice"] = "auto".into(),
        (Some("NONE"), _) => settings["tool_choice"] = "none".into(),
        (Some("ANY"), None) => settings["tool_choice"] = "required".into(),
        (Some("ANY"), Some([one])) => settings["tool_choice"] = named(one),
        (Some("ANY"), Some(several)) => {
            let tools: Vec<_> = several.iter().map(named).collect();
            settings["tool_choice"] =
                json!({ "type": "allowed_tools", "allowed_tools": { "mode": "required", "tools": tools } });
        }
        _ => {}
    }
    let first = request.turns.first_mut().map(|turn| &mut turn.pieces);
    for pieces in [&mut request.system].into_iter().chain(first) {
        if let Some((at, format)) = pieces.iter().enumerate().find_map(|(at, piece)| Some((at, wanted(piece)?))) {
            pieces.remove(at);
            settings["response_format"] = format;
        }
    }
    request.settings = settings.as_object().unwrap().clone();
    Ok(request)
}

/// The form of the answer that a text asks for.
fn wanted(piece: &Piece) -> Option<Value> {
    let Piece::Text(text) = piece else { return None };
    if text == JSON_WANTED {
        return Some(json!({ "type": "json_object" }));
    }
    Some(json_schema(&serde_json::from_str(text.strip_prefix(SCHEMA_WANTED)?).unwrap()))
}

fn json_schema(schema: &Value) -> Value {
    json!({ "type": "json_schema", "json_schema": { "schema": shape(schema) } })
}

fn generation_config(config: &Value) -> Value {
    let mut settings = json!({});
    for (name, value) in config.as_object().into_iter().flatten() {
        match name.as_str() {
            "topP" => settings["top_p"] = value.clone(),
            "topK" => settings["top_k"] = value.clone(),
            "maxOutputTokens" => settings["max_tokens"] = value.clone(),
            "stopSequences" => settings["stop"] = value.clone(),
            "presencePenalty" => settings["presence_penalty"] = value.clone(),
            "frequencyPenalty" => settings["frequency_penalty"] = value.clone(),
            "responseLogprobs" => settings["logprobs"] = value.clone(),
            "logprobs" => settings["top_logprobs"] = value.clone(),
            "responseMimeType" => {
                let schema = config.get("responseJsonSchema").or_else(|| config.get("responseSchema"));
                let any = json!({ "type": "json_object" });
                settings["response_format"] = schema.map_or(any, json_schema);
            }
            "thinkingConfig" => {
                put(&mut settings, "reasoning_budget", value.get("thinkingBudget").cloned());
                put(
                    &mut settings,
                    "reasoning_shown",
                    value.get("includeThoughts").filter(|shown| **shown == true).cloned(),
                );
            }
            "responseJsonSchema" | "responseSchema" | "responseModalities" => {}
            // Temperature and the like.
            name => settings[name] = value.clone(),
        }
    }
    settings
}

/// Calls, and those of them that have no result yet.
#[derive(Default)]
struct Calls {
    made: usize,
    open: Vec<Call>,
}

impl Calls {
    fn pieces(&mut self, parts: &Value) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        for part in parts.as_array().into_iter().flatten() {
            let proof = text(&part["thoughtSignature"]).filter(|value| value != NO_SIGNATURE);
            let proof = proof.map(|value| Proof::new(GOOGLE, &value));
            let kind = part.as_object().unwrap().keys().find(|name| !name.starts_with("thought")).unwrap().as_str();
            match kind {
                "text" if part["thought"] == true => {
                    pieces.push(Piece::Thought { text: text(&part["text"]).unwrap(), proof });
                }
                "text" => {
                    // The signature of a text is told as one without a thought before it.
                    pieces.extend(proof.map(|proof| Piece::Thought { text: String::new(), proof: Some(proof) }));
                    pieces.push(Piece::Text(text(&part["text"]).unwrap()));
                }
                "functionCall" => pieces.push(self.call(&part["functionCall"], proof)),
                "functionResponse" => {
                    let result = self.result(&part["functionResponse"]);
                    pieces.push(result);
                }
                "inlineData" | "fileData" => pieces.push(media(part)),
                kind => return Err(format!("a part of type {kind}")),
            }
        }
        // What a result says of a file behind it is ours.
        pieces.retain(|piece| *piece != Piece::Text("See the attached file.".to_owned()));
        Ok(pieces)
    }

    fn call(&mut self, call: &Value, proof: Option<Proof>) -> Piece {
        self.made += 1;
        let id = text(&call["id"]).unwrap_or_else(|| place(self.made));
        let call = Call { id, name: text(&call["name"]).unwrap(), arguments: call["args"].clone(), proof };
        self.open.push(call.clone());
        Piece::Call(call)
    }

    /// A result without an id is that of the first call of its function that has none yet.
    fn result(&mut self, result: &Value) -> Piece {
        let id = text(&result["id"]).unwrap_or_else(|| {
            let at = self.open.iter().position(|call| result["name"] == *call.name);
            self.open.remove(at.expect("a call for the result")).id
        });
        let response = &result["response"];
        let (said, is_error) = match (&response["result"], &response["error"]) {
            (Value::String(text), Value::Null) => (text.clone(), false),
            (Value::Null, Value::String(text)) => (text.clone(), true),
            _ if *response == json!({}) => (String::new(), false),
            _ => (response.to_string(), false),
        };
        let said = Some(said).filter(|said| !said.is_empty() && said != "See the attached file.").map(Piece::Text);
        let inside = result["parts"].as_array().into_iter().flatten().map(media);
        Piece::Result { id, pieces: said.into_iter().chain(inside).collect(), is_error }
    }
}

fn media(part: &Value) -> Piece {
    if let Some(blob) = part.get("inlineData") {
        let (media_type, data) = (blob["mimeType"].as_str().unwrap(), blob["data"].as_str().unwrap());
        return Piece::Media(Media::new(Kind::of(media_type), format!("data:{media_type};base64,{data}")));
    }
    Piece::Media(Media::new(Kind::File, part["fileData"]["fileUri"].as_str().unwrap()))
}

/// What one of them says at a time. Files of the API have their type there; unsigned thoughts are not sent back.
fn said(contents: &[Value]) -> Value {
    let mut merged: Vec<Value> = Vec::new();
    for content in contents {
        let mut parts = content["parts"].as_array().unwrap().clone();
        parts.retain(|part| part["thought"] != true || part.get("thoughtSignature").is_some());
        for file in parts.iter_mut().filter_map(|part| part.get_mut("fileData")) {
            if file["fileUri"].as_str().unwrap().contains("generativelanguage.googleapis.com") {
                file.as_object_mut().unwrap().remove("mimeType");
            }
        }
        match merged.last_mut() {
            Some(last) if last["role"] == content["role"] => last["parts"].as_array_mut().unwrap().append(&mut parts),
            _ => merged.push(json!({ "role": content["role"], "parts": parts })),
        }
    }
    merged.into()
}

/// Names in one spelling, schemas by their shape; nothing that is the default.
pub fn normalised(body: &Value) -> Value {
    let mut body = camel(body);
    let fields = body.as_object_mut().unwrap();
    fields.remove("safetySettings");
    fields.entry("contents").and_modify(|contents| *contents = said(contents.as_array().unwrap()));
    if let Some(system) = fields.get_mut("systemInstruction") {
        system.as_object_mut().unwrap().remove("role");
    }
    for tool in fields.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten() {
        for own in tool.get_mut("functionDeclarations").and_then(Value::as_array_mut).into_iter().flatten() {
            let parameters =
                own.get("parameters").or_else(|| own.get("parametersJsonSchema")).cloned().unwrap_or_default();
            *own = function(&own["name"], own["description"].as_str().unwrap_or_default(), parameters);
        }
    }
    let config = fields.entry("generationConfig").or_insert(json!({})).as_object_mut().unwrap();
    config.retain(|name, value| !(name == "responseModalities" && *value == json!(["TEXT"])));
    if let Some(thinking) = config.get_mut("thinkingConfig").and_then(Value::as_object_mut) {
        thinking.retain(|_, value| value != false);
    }
    config.retain(|_, value| *value != json!({}));
    for name in ["responseJsonSchema", "responseSchema"] {
        config.entry(name).and_modify(|schema| *schema = shape(schema));
    }
    body
}

//! Chat requests.

use serde_json::{Value, json};
use uni_api::canon::Role;

use crate::exchange::{Call, GOOGLE, Kind, Media, Piece, Proof, Request, Turn, arguments, cache_control, put};

/// The body of a request.
pub fn body(request: &Request, model: &str) -> Value {
    let mut messages = Vec::new();
    if !request.system.is_empty() {
        messages.push(json!({ "role": "system", "content": content(&request.system) }));
    }
    for turn in &request.turns {
        match turn.role {
            Role::Assistant => messages.push(message(&turn.pieces)),
            Role::User => user_messages(&turn.pieces, &mut messages),
        }
    }
    let mut body = json!({ "model": model, "messages": messages });
    put(&mut body, "tools", (!request.tools.is_empty()).then(|| request.tools.clone()));
    for (name, value) in &request.settings {
        match name.as_str() {
            "reasoning_budget" => body["reasoning"]["max_tokens"] = value.clone(),
            "reasoning_shown" => body["reasoning"]["exclude"] = (!value.as_bool().unwrap()).into(),
            _ => body[name] = value.clone(),
        }
    }
    body
}

/// Results are messages of their own.
fn user_messages(pieces: &[Piece], messages: &mut Vec<Value>) {
    let is_result = |piece: &Piece| matches!(piece, Piece::Result { .. });
    let mut pieces = pieces;
    while let Some(first) = pieces.first() {
        if let Piece::Result { id, pieces: parts, is_error } = first {
            let mut message = json!({ "role": "tool", "tool_call_id": id, "content": content(parts) });
            put(&mut message, "is_error", is_error.then_some(true));
            pieces = &pieces[1..];
            if let Some(Piece::CacheHere(ttl)) = pieces.first() {
                message["cache_control"] = cache_control(ttl.as_deref());
                pieces = &pieces[1..];
            }
            messages.push(message);
        } else {
            let end = pieces.iter().position(is_result).unwrap_or(pieces.len());
            messages.push(json!({ "role": "user", "content": content(&pieces[..end]) }));
            pieces = &pieces[end..];
        }
    }
}

/// The message of an assistant.
fn message(pieces: &[Piece]) -> Value {
    let mut message = json!({ "role": "assistant" });
    let (mut said, mut calls, mut details): (Vec<Piece>, Vec<Value>, Vec<Value>) = Default::default();
    for piece in pieces {
        match piece {
            Piece::Call(call) => calls.push(tool_call(call)),
            Piece::Thought { text, proof: None } => message["reasoning_content"] = text.as_str().into(),
            Piece::Thought { text, proof: Some(proof) } => {
                details.push(json!({
                    "type": "reasoning.text", "text": text, "signature": proof.value, "format": proof.format,
                    "index": details.len(),
                }));
            }
            Piece::Redacted(proof) => {
                details.push(json!({
                    "type": "reasoning.encrypted", "data": proof.value, "format": proof.format, "index": details.len(),
                }));
            }
            Piece::CacheHere(ttl) if !calls.is_empty() => message["cache_control"] = cache_control(ttl.as_deref()),
            piece => said.push(piece.clone()),
        }
    }
    message["content"] = if said.is_empty() { Value::Null } else { content(&said) };
    put(&mut message, "tool_calls", (!calls.is_empty()).then_some(calls));
    put(&mut message, "reasoning_details", (!details.is_empty()).then_some(details));
    message
}

fn tool_call(call: &Call) -> Value {
    let function = json!({ "name": call.name, "arguments": call.arguments.to_string() });
    let mut wire = json!({ "id": call.id, "type": "function", "function": function });
    if let Some(proof) = &call.proof {
        wire["extra_content"] = json!({ "google": { "thought_signature": proof.value } });
    }
    wire
}

/// A string where one text is all there is, as most clients do.
fn content(pieces: &[Piece]) -> Value {
    if let [Piece::Text(text)] = pieces {
        return text.as_str().into();
    }
    let mut parts: Vec<Value> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => parts.push(json!({ "type": "text", "text": text })),
            Piece::CacheHere(ttl) => parts.last_mut().unwrap()["cache_control"] = cache_control(ttl.as_deref()),
            Piece::Media(shown) => parts.push(media(shown)),
            other => panic!("{other:?} is no part of a message"),
        }
    }
    parts.into()
}

fn media(Media { kind, place, name }: &Media) -> Value {
    match kind {
        Kind::Image => json!({ "type": "image_url", "image_url": { "url": place } }),
        Kind::Audio => {
            let (format, data) =
                place.strip_prefix("data:audio/").and_then(|rest| rest.split_once(";base64,")).unwrap();
            json!({ "type": "input_audio", "input_audio": { "data": data, "format": format.replace("mpeg", "mp3") } })
        }
        Kind::File => {
            let field = match place.get(..3) {
                Some("id:") => "file_id",
                Some("dat") => "file_data",
                _ => "file_url",
            };
            let mut file = json!({ field: place.strip_prefix("id:").unwrap_or(place) });
            put(&mut file, "filename", name.as_deref());
            json!({ "type": "file", "file": file })
        }
    }
}

/// What a recorded request says.
pub fn read(body: &Value) -> Request {
    let mut request = Request::default();
    for message in body["messages"].as_array().unwrap() {
        let mut pieces = parts(&message["content"]);
        let hint = message.get("cache_control").map(|control| Piece::CacheHere(text(&control["ttl"])));
        match message["role"].as_str().unwrap() {
            "system" | "developer" => request.system.extend(pieces.into_iter().chain(hint)),
            "user" => request.turns.push(Turn { role: Role::User, pieces: pieces.into_iter().chain(hint).collect() }),
            "tool" => {
                let (id, is_error) = (text(&message["tool_call_id"]).unwrap(), message["is_error"] == true);
                let result = Piece::Result { id, pieces, is_error };
                request.turns.push(Turn { role: Role::User, pieces: [result].into_iter().chain(hint).collect() });
            }
            "assistant" => {
                let thought = text(&message["reasoning_content"]).or_else(|| text(&message["reasoning"]));
                if let Some(text) = thought {
                    pieces.insert(0, Piece::Thought { text, proof: None });
                }
                let calls = message["tool_calls"].as_array().into_iter().flatten().map(call).map(Piece::Call);
                request.turns.push(Turn { role: Role::Assistant, pieces: pieces.into_iter().chain(calls).collect() });
            }
            role => panic!("a message of {role}"),
        }
    }
    request.tools = body["tools"].as_array().cloned().unwrap_or_default();
    for tool in request.tools.iter_mut().filter(|tool| tool.get("function").is_some()) {
        tool["type"] = "function".into();
    }
    for (name, value) in body.as_object().unwrap().iter().filter(|(_, value)| !value.is_null()) {
        match name.as_str() {
            "model" | "messages" | "tools" | "stream_options" | "store" | "metadata" => {}
            "stream" if value == false => {}
            "max_completion_tokens" => drop(request.settings.insert("max_tokens".to_owned(), value.clone())),
            name => drop(request.settings.insert(name.to_owned(), value.clone())),
        }
    }
    request
}

/// The string, if it is one.
pub fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub fn call(call: &Value) -> Call {
    let proof = text(&call["extra_content"]["google"]["thought_signature"]).map(|value| Proof::new(GOOGLE, &value));
    let arguments = arguments(call["function"]["arguments"].as_str().unwrap());
    Call { id: text(&call["id"]).unwrap(), name: text(&call["function"]["name"]).unwrap(), arguments, proof }
}

fn parts(content: &Value) -> Vec<Piece> {
    if let Some(text) = content.as_str() {
        return if text.is_empty() { Vec::new() } else { vec![Piece::Text(text.to_owned())] };
    }
    let mut pieces = Vec::new();
    for part in content.as_array().into_iter().flatten() {
        pieces.push(match part["type"].as_str().unwrap() {
            "text" => Piece::Text(text(&part["text"]).unwrap()),
            "image_url" => Piece::Media(Media::new(Kind::Image, part["image_url"]["url"].as_str().unwrap())),
            "file" => {
                let (file, name) = (&part["file"], text(&part["file"]["filename"]));
                Piece::Media(Media { name, ..Media::new(Kind::File, file["file_data"].as_str().unwrap()) })
            }
            // Mistral's.
            "thinking" => {
                let texts = part["thinking"].as_array().unwrap().iter().filter_map(|part| part["text"].as_str());
                Piece::Thought { text: texts.collect(), proof: None }
            }
            kind => panic!("a part of type {kind}"),
        });
        pieces.extend(part.get("cache_control").map(|control| Piece::CacheHere(text(&control["ttl"]))));
    }
    pieces
}

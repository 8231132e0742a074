//! Anthropic messages.

mod answers;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use uni_api::canon::Role;
use uni_api::dialect::{Format, anthropic::Host};

use crate::client::text;
use crate::exchange::{ANTHROPIC, Call, Kind, Media, Piece, Proof, Request, Turn, cache_control, put};

use super::Native;

/// A model without structured output.
pub const PLAIN: Native = Native {
    name: "anthropic, older model",
    format: Format::Anthropic(Host::Anthropic),
    model: "claude-3-5-haiku-20241022",
    read_request,
    normalised,
    carried: |request| Some(json_by_tool(carried(request, 8192))),
    given: answers::given,
    read_answer: answers::read,
    read_stream: answers::read_stream,
    write_answer: answers::write,
    write_stream: answers::write_stream,
};

/// A model with structured output.
pub const THINKING: Native = Native {
    name: "anthropic",
    model: "claude-sonnet-4-5-20250929",
    carried: |request| Some(carried(for_newer(request), 64_000)),
    ..PLAIN
};

/// The same on Vertex AI.
pub const VERTEX: Native = Native {
    name: "anthropic on vertex",
    format: Format::Anthropic(Host::Vertex),
    model: "claude-sonnet-4-5",
    ..THINKING
};

/// What models without structured output are made to call in its place.
const JSON_TOOL: &str = "uni_api_json_answer";
const JSON_WANTED: &str = "Answer with one JSON object and nothing else.";

fn carried(mut request: Request, max_tokens: u64) -> Request {
    // Blank text is refused, and so are the thoughts of others.
    request.retain(|piece| match piece {
        Piece::Text(text) => !text.trim().is_empty(),
        Piece::Thought { proof, .. } => proof.as_ref().is_some_and(|proof| proof.format == ANTHROPIC),
        Piece::Redacted(proof) => proof.format == ANTHROPIC,
        _ => true,
    });
    for piece in request.turns.iter_mut().flat_map(|turn| &mut turn.pieces) {
        if let Piece::Call(call) = piece {
            call.proof = None;
        }
    }
    allow(&mut request);
    for tool in request.tools.iter_mut().filter(|tool| tool.get("function").is_some()) {
        tool["function"].as_object_mut().unwrap().remove("strict");
        if tool["function"].get("parameters").is_none() {
            tool["function"]["parameters"] = json!({ "type": "object", "properties": {} });
        }
    }
    let has_tools = !request.tools.is_empty();
    let settings = &mut request.settings;
    settings.retain(|name, value| match name.as_str() {
        "temperature" | "top_p" | "top_k" | "max_tokens" | "user" | "stream" => true,
        "tool_choice" => has_tools,
        "parallel_tool_calls" => has_tools && value == false,
        "response_format" => value["type"] != "text",
        "stop" => {
            value.as_array_mut().unwrap().retain(|stop| !stop.as_str().unwrap().trim().is_empty());
            value != &json!([])
        }
        _ => false,
    });
    settings.entry("max_tokens").or_insert(max_tokens.into());
    if let Some(temperature) = settings.get_mut("temperature") {
        *temperature = temperature.as_f64().unwrap().clamp(0.0, 1.0).into();
    }
    if let Some(format) = settings.get_mut("response_format").filter(|format| format["type"] == "json_schema") {
        *format = json!({ "type": "json_schema", "json_schema": { "schema": format["json_schema"]["schema"] } });
    }
    if settings.contains_key("parallel_tool_calls") {
        settings.entry("tool_choice").or_insert("auto".into());
    }
    // Who may call nothing calls nothing in parallel.
    if settings.get("tool_choice").is_some_and(|choice| choice == "none") {
        settings.remove("parallel_tool_calls");
    }
    request
}

/// Tools that are not allowed are left out.
fn allow(request: &mut Request) {
    let Some(choice) = request.settings.get_mut("tool_choice") else { return };
    let Some(allowed) = choice.get("allowed_tools").cloned() else { return };
    *choice = allowed["mode"].clone();
    let is_allowed = |tool: &Value| {
        let mut names = allowed["tools"].as_array().unwrap().iter().map(|tool| &tool["function"]["name"]);
        names.any(|name| *name == tool["function"]["name"])
    };
    request.tools.retain(|tool| tool.get("function").is_none() || is_allowed(tool));
}

/// Structured output takes closed objects only.
fn closed(mut schema: Value) -> Value {
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(fields) => {
                if fields.get("type").is_some_and(|kind| kind == "object") {
                    fields.insert("additionalProperties".to_owned(), false.into());
                }
                fields.values_mut().for_each(close);
            }
            Value::Array(schemas) => schemas.iter_mut().for_each(close),
            _ => {}
        }
    }
    close(&mut schema);
    schema
}

/// Newer models close what they are to answer, and take temperature or top_p, and neither where they think.
fn for_newer(mut request: Request) -> Request {
    let settings = &mut request.settings;
    let thinks = settings.get("reasoning_effort").is_some_and(|effort| effort != "none");
    let format = settings.get_mut("response_format").and_then(|format| format.get_mut("json_schema"));
    if let Some(schema) = format.and_then(|format| format.get_mut("schema")) {
        *schema = closed(schema.take());
    }
    settings.retain(|name, _| !thinks || !matches!(name.as_str(), "temperature" | "top_p" | "top_k"));
    if settings.contains_key("temperature") {
        settings.remove("top_p");
    }
    request
}

/// A call of one more tool stands for the answer; only a call of a certain other one goes before it.
fn json_by_tool(mut request: Request) -> Request {
    let settings = &mut request.settings;
    if settings.get("response_format").is_some_and(|format| format["type"] == "json_schema") {
        let is_named = settings.get("tool_choice").is_some_and(|choice| choice.is_object());
        if !is_named {
            settings.remove("tool_choice");
        }
    }
    request
}

fn read_request(body: &Value) -> Result<Request, String> {
    let mut request = Request { system: pieces(&body["system"])?, ..Request::default() };
    for message in body["messages"].as_array().unwrap() {
        let role = match message["role"].as_str().unwrap() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            // Newer models take it there as well; the hub keeps it apart.
            "system" => {
                request.system.extend(pieces(&message["content"])?);
                continue;
            }
            role => panic!("a message of role {role}"),
        };
        request.turns.push(Turn { role, pieces: pieces(&message["content"])? });
    }
    let mut settings = json!({});
    for (name, value) in body.as_object().unwrap() {
        match name.as_str() {
            "model" | "anthropic_version" | "messages" | "system" | "tools" | "tool_choice" => {}
            "stop_sequences" => settings["stop"] = value.clone(),
            "metadata" => settings["user"] = value["user_id"].clone(),
            "thinking" if value["type"] == "enabled" => settings["reasoning_budget"] = value["budget_tokens"].clone(),
            "output_config" => {
                let schema = &value["format"]["schema"];
                settings["response_format"] = json!({ "type": "json_schema", "json_schema": { "schema": schema } });
            }
            "stream" => put(&mut settings, "stream", (value == true).then_some(true)),
            // Numbers of tokens, temperature and the like, and fields that only Anthropic has.
            name => settings[name] = value.clone(),
        }
    }
    for tool in body["tools"].as_array().into_iter().flatten() {
        match tool["name"].as_str() {
            Some(JSON_TOOL) => {
                let schema = &tool["input_schema"];
                settings["response_format"] = json!({ "type": "json_schema", "json_schema": { "schema": schema } });
            }
            _ => request.tools.push(read_tool(tool)),
        }
    }
    let choice = &body["tool_choice"];
    put(&mut settings, "parallel_tool_calls", (choice["disable_parallel_tool_use"] == true).then_some(false));
    let by_tool = body["tools"].as_array().is_some_and(|tools| tools.iter().any(|tool| tool["name"] == JSON_TOOL));
    match choice["type"].as_str() {
        Some("any") if !by_tool => settings["tool_choice"] = "required".into(),
        Some(word @ ("none" | "auto")) => settings["tool_choice"] = word.into(),
        Some("tool") if choice["name"] != JSON_TOOL => {
            settings["tool_choice"] = json!({ "type": "function", "function": { "name": choice["name"] } });
        }
        _ => {}
    }
    if request.system.last() == Some(&Piece::Text(JSON_WANTED.to_owned())) {
        request.system.pop();
        settings["response_format"] = json!({ "type": "json_object" });
    }
    request.settings = settings.as_object().unwrap().clone();
    Ok(request)
}

/// One text may be a string or a list; false is what is not said. System text inside the conversation stands before it.
fn normalised(body: &Value) -> Value {
    fn listed(content: &mut Value) {
        if let Some(text) = text(content) {
            *content = json!([{ "type": "text", "text": text }]);
        }
        for block in content.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            block.retain(|name, value| name != "is_error" || value == true);
            block.get_mut("content").into_iter().for_each(listed);
        }
    }
    let mut body = body.clone();
    body.get_mut("system").into_iter().for_each(listed);
    let mut inside = Vec::new();
    body["messages"].as_array_mut().unwrap().retain_mut(|message| {
        listed(&mut message["content"]);
        if message["role"] == "system" {
            inside.append(message["content"].as_array_mut().unwrap());
        }
        message["role"] != "system"
    });
    if !inside.is_empty() {
        body["system"].as_array_mut().unwrap().append(&mut inside);
    }
    body.as_object_mut().unwrap().retain(|name, value| name != "stream" || value == true);
    body
}

fn read_tool(tool: &Value) -> Value {
    if tool.get("type").is_some_and(|kind| kind != "custom") {
        return tool.clone();
    }
    let mut function = json!({ "name": tool["name"] });
    put(&mut function, "description", tool.get("description").cloned());
    function["parameters"] = tool["input_schema"].clone();
    let mut wire = json!({ "type": "function", "function": function });
    put(&mut wire, "cache_control", tool.get("cache_control").map(|control| cache_control(control["ttl"].as_str())));
    wire
}

fn pieces(content: &Value) -> Result<Vec<Piece>, String> {
    if let Some(text) = content.as_str() {
        return Ok(vec![Piece::Text(text.to_owned())]);
    }
    let mut pieces = Vec::new();
    for block in content.as_array().into_iter().flatten() {
        pieces.push(piece(block)?);
        pieces.extend(block.get("cache_control").map(|control| Piece::CacheHere(text(&control["ttl"]))));
    }
    Ok(pieces)
}

fn piece(block: &Value) -> Result<Piece, String> {
    let string = |name: &str| text(&block[name]).unwrap();
    Ok(match block["type"].as_str().unwrap() {
        "text" => Piece::Text(string("text")),
        "image" => Piece::Media(Media::new(Kind::Image, place(&block["source"]))),
        "document" => {
            Piece::Media(Media { name: text(&block["title"]), ..Media::new(Kind::File, place(&block["source"])) })
        }
        "tool_use" => Piece::Call(call(block)),
        "tool_result" => Piece::Result {
            id: string("tool_use_id"),
            pieces: pieces(&block["content"])?,
            is_error: block["is_error"] == true,
        },
        "thinking" => {
            Piece::Thought { text: string("thinking"), proof: Some(Proof::new(ANTHROPIC, &string("signature"))) }
        }
        "redacted_thinking" => Piece::Redacted(Proof::new(ANTHROPIC, &string("data"))),
        kind => return Err(format!("a block of type {kind}")),
    })
}

fn place(source: &Value) -> String {
    let string = |name: &str| source[name].as_str().unwrap();
    match string("type") {
        "base64" => format!("data:{};base64,{}", string("media_type"), string("data")),
        "text" => format!("data:{};base64,{}", string("media_type"), BASE64_STANDARD.encode(string("data"))),
        "url" => string("url").to_owned(),
        "file" => format!("id:{}", string("file_id")),
        kind => panic!("a source of type {kind}"),
    }
}

fn call(block: &Value) -> Call {
    let (id, name) = (text(&block["id"]).unwrap(), text(&block["name"]).unwrap());
    Call { id, name, arguments: block["input"].clone(), proof: None }
}

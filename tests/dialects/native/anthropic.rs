//! Anthropic messages.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use uni_api::canon::Role;
use uni_api::dialect::{Format, anthropic::Host};

use crate::client::text;
use crate::exchange::{ANTHROPIC, Answer, Call, Counts, Kind, Media, Piece, Proof, Request, Turn, cache_control, put};

use super::{Native, events, morsels};

/// A model without structured output.
pub const PLAIN: Native = Native {
    name: "anthropic, older model",
    format: Format::Anthropic(Host::Anthropic),
    model: "claude-3-5-haiku-20241022",
    proofs: Some(ANTHROPIC),
    read_request,
    normalised,
    carried: |request| json_by_tool(carried(request, 8192)),
    read_answer,
    read_stream,
    write_answer,
    write_stream,
};

/// A model with structured output.
pub const THINKING: Native = Native {
    name: "anthropic",
    model: "claude-sonnet-4-5-20250929",
    carried: |request| carried(for_newer(request), 64_000),
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

/// Blocks of tools that run at Anthropic say nothing to a client.
fn read_answer(body: &Value) -> Answer {
    let mut answer = Answer::default();
    for block in body["content"].as_array().unwrap() {
        match block["type"].as_str().unwrap() {
            "text" => {
                answer.text += block["text"].as_str().unwrap();
                let citations = block["citations"].as_array().into_iter().flatten();
                answer
                    .citations
                    .extend(citations.filter_map(|cited| Some((text(&cited["url"])?, text(&cited["title"])))));
            }
            "thinking" | "redacted_thinking" => {
                answer.thinking += block["thinking"].as_str().unwrap_or_default();
                answer.proofs.push(piece(block).unwrap());
            }
            "tool_use" => answer.calls.push(call(block)),
            _ => {}
        }
    }
    let finish = match body["stop_reason"].as_str().unwrap() {
        "end_turn" | "stop_sequence" | "pause_turn" => "stop",
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        reason => panic!("stop_reason {reason}"),
    };
    answer.finish = finish.to_owned();
    answer.usage = body.get("usage").map(|usage| {
        let count = |name: &str| usage[name].as_i64();
        let (cached, cache_written) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
        let prompt = count("input_tokens").unwrap() + cached.unwrap_or(0) + cache_written.unwrap_or(0);
        let completion = count("output_tokens").unwrap();
        let reasoning = usage["output_tokens_details"]["thinking_tokens"].as_i64();
        Counts { prompt, completion, total: prompt + completion, cached, cache_written, reasoning }
    });
    answer
}

/// Puts the message together that a stream tells piece by piece.
fn read_stream(stream: &str) -> Answer {
    let mut message = json!({});
    let mut blocks: BTreeMap<u64, Value> = BTreeMap::new();
    let mut inputs: BTreeMap<u64, String> = BTreeMap::new();
    for event in events(stream) {
        let index = event["index"].as_u64().unwrap_or_default();
        let delta = &event["delta"];
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => drop(blocks.insert(index, event["content_block"].clone())),
            "content_block_delta" => {
                let block = blocks.get_mut(&index).unwrap();
                let mut push = |name: &str| {
                    let joined = block[name].as_str().unwrap_or_default().to_owned() + delta[name].as_str().unwrap();
                    block[name] = joined.into();
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => push("text"),
                    "thinking_delta" => push("thinking"),
                    "signature_delta" => push("signature"),
                    "input_json_delta" => *inputs.entry(index).or_default() += delta["partial_json"].as_str().unwrap(),
                    "citations_delta" => {
                        let mut citations = block["citations"].as_array().cloned().unwrap_or_default();
                        citations.push(delta["citation"].clone());
                        block["citations"] = citations.into();
                    }
                    kind => panic!("a delta of type {kind}"),
                }
            }
            "message_delta" => {
                message["stop_reason"] = delta["stop_reason"].clone();
                for (name, count) in
                    event["usage"].as_object().into_iter().flatten().filter(|(_, count)| !count.is_null())
                {
                    message["usage"][name] = count.clone();
                }
            }
            "content_block_stop" | "message_stop" | "ping" => {}
            kind => panic!("an event of type {kind}"),
        }
    }
    for (index, input) in inputs.iter().filter(|(_, input)| !input.is_empty()) {
        blocks.get_mut(index).unwrap()["input"] = serde_json::from_str(input).unwrap();
    }
    message["content"] = blocks.into_values().collect();
    read_answer(&message)
}

fn write_answer(answer: &Answer) -> Value {
    let mut content = Vec::new();
    for thought in &answer.proofs {
        content.push(match thought {
            Piece::Thought { text, proof: Some(proof) } => {
                json!({ "type": "thinking", "thinking": text, "signature": proof.value })
            }
            Piece::Redacted(proof) => json!({ "type": "redacted_thinking", "data": proof.value }),
            other => panic!("{other:?} is no thought of a model"),
        });
    }
    if !answer.text.is_empty() {
        let cited = |(url, title): &(String, Option<String>)| json!({ "type": "web_search_result_location", "url": url, "title": title, "cited_text": "…" });
        let citations = (!answer.citations.is_empty()).then(|| answer.citations.iter().map(cited).collect::<Value>());
        content.push(json!({ "type": "text", "text": answer.text, "citations": citations }));
    }
    for Call { id, name, arguments, .. } in &answer.calls {
        content.push(json!({ "type": "tool_use", "id": id, "name": name, "input": arguments }));
    }
    let stop_reason = match answer.finish.as_str() {
        "stop" => "end_turn",
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        "content_filter" => "refusal",
        finish => panic!("no stop_reason for {finish}"),
    };
    let counts = answer.usage.unwrap();
    let mut usage = json!({
        "input_tokens": counts.prompt - counts.cached.unwrap_or(0) - counts.cache_written.unwrap_or(0),
        "output_tokens": counts.completion,
    });
    put(&mut usage, "cache_read_input_tokens", counts.cached);
    put(&mut usage, "cache_creation_input_tokens", counts.cache_written);
    put(&mut usage, "output_tokens_details", counts.reasoning.map(|count| json!({ "thinking_tokens": count })));
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content,
        "stop_reason": stop_reason, "stop_sequence": null, "usage": usage,
    })
}

fn write_stream(answer: &Answer) -> String {
    let mut stream = String::new();
    let mut event = |mut event: Value, kind: &str| {
        event["type"] = kind.into();
        stream += &format!("event: {kind}\ndata: {event}\n\n");
    };
    let whole = write_answer(answer);
    let mut message = whole.clone();
    (message["content"], message["stop_reason"]) = (json!([]), Value::Null);
    message["usage"]["output_tokens"] = 1.into();
    event(json!({ "message": message }), "message_start");
    event(json!({}), "ping");
    for (index, block) in whole["content"].as_array().unwrap().iter().enumerate() {
        let mut start = block.clone();
        let mut deltas = Vec::new();
        for (name, kind) in [("text", "text_delta"), ("thinking", "thinking_delta"), ("signature", "signature_delta")] {
            let Some(text) = text(&block[name]) else { continue };
            start[name] = "".into();
            let pieces = if name == "signature" { vec![text] } else { morsels(&text) };
            deltas.extend(pieces.into_iter().map(|piece| json!({ "type": kind, name: piece })));
        }
        for citation in block["citations"].as_array().into_iter().flatten() {
            start["citations"] = json!([]);
            deltas.push(json!({ "type": "citations_delta", "citation": citation }));
        }
        if let Some(input) = block.get("input") {
            start["input"] = json!({});
            let pieces = [String::new()].into_iter().chain(if *input == json!({}) {
                vec![]
            } else {
                morsels(&input.to_string())
            });
            deltas.extend(pieces.map(|piece| json!({ "type": "input_json_delta", "partial_json": piece })));
        }
        event(json!({ "index": index, "content_block": start }), "content_block_start");
        for delta in deltas {
            event(json!({ "index": index, "delta": delta }), "content_block_delta");
        }
        event(json!({ "index": index }), "content_block_stop");
    }
    let usage = json!({ "output_tokens": whole["usage"]["output_tokens"] });
    event(json!({ "delta": { "stop_reason": whole["stop_reason"] }, "usage": usage }), "message_delta");
    event(json!({}), "message_stop");
    stream
}

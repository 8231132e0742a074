//! Cohere chat, versions 2 and 1.

mod v1;
mod v1_answers;
mod v2;
mod v2_answers;

use serde_json::{Value, json};

use crate::exchange::{Answer, Counts, Piece, Request, put};

pub use v1::V1;
pub use v2::{V2, V2_THINKING};

/// What both versions say of a form of the answer where tools are there as well.
const JSON_WANTED: &str = "Give the final answer to the user as one JSON object and nothing else.";
const SCHEMA_WANTED: &str = " It obeys this JSON Schema: ";

/// What both versions can say of the settings and the tools.
fn carried(request: &mut Request) {
    request.retain(|piece| !matches!(piece, Piece::CacheHere(_) | Piece::Redacted(_)));
    for piece in request.turns.iter_mut().flat_map(|turn| &mut turn.pieces) {
        if let Piece::Call(call) = piece {
            call.proof = None;
        }
    }
    let has_tools = !request.tools.is_empty();
    // A function that must be called is the only one there is.
    if let Some(choice) = request.settings.get_mut("tool_choice") {
        let (allowed, word) = match (choice.get("allowed_tools"), choice.get("function")) {
            (Some(allowed), _) => (allowed["tools"].as_array().unwrap().clone(), allowed["mode"].clone()),
            (None, Some(_)) => (vec![choice.clone()], "required".into()),
            (None, None) => (request.tools.clone(), choice.clone()),
        };
        let is_allowed = |tool: &Value| allowed.iter().any(|own| own["function"]["name"] == tool["function"]["name"]);
        request.tools.retain(is_allowed);
        *choice = word;
    }
    let has_frequency = request.settings.get("frequency_penalty").is_some_and(|penalty| penalty.as_f64() > Some(0.0));
    request.settings.retain(|name, value| match name.as_str() {
        "max_tokens" | "stream" => true,
        "temperature" => clamp(value, 0.0, 1.0),
        "top_p" => clamp(value, 0.01, 0.99),
        "top_k" => clamp(value, 0.0, 500.0),
        "frequency_penalty" => value.as_f64() > Some(0.0) && clamp(value, 0.0, 1.0),
        "presence_penalty" => !has_frequency && value.as_f64() > Some(0.0) && clamp(value, 0.0, 1.0),
        "seed" => {
            *value = value.as_i64().unwrap().unsigned_abs().into();
            true
        }
        "stop" => {
            value.as_array_mut().unwrap().retain(|stop| stop != "");
            value != &json!([])
        }
        "tool_choice" => has_tools && value != "auto",
        "response_format" if value["type"] == "json_schema" => {
            *value = json!({ "type": "json_schema", "json_schema": { "schema": value["json_schema"]["schema"] } });
            true
        }
        "response_format" => value["type"] != "text",
        _ => false,
    });
}

fn clamp(value: &mut Value, least: f64, most: f64) -> bool {
    let number = value.as_f64().unwrap();
    if !(least..=most).contains(&number) {
        *value = number.clamp(least, most).into();
    }
    true
}

/// Settings that both versions name alike.
fn settings(body: &Value, schema_field: &str) -> Value {
    let mut settings = json!({});
    for (name, value) in body.as_object().unwrap() {
        let name = match name.as_str() {
            "p" => "top_p",
            "k" => "top_k",
            "stop_sequences" => "stop",
            "temperature" | "max_tokens" | "seed" | "frequency_penalty" | "presence_penalty" => name,
            "stream" if value == true => name,
            _ => continue,
        };
        settings[name] = value.clone();
    }
    if let Some(format) = body.get("response_format") {
        settings["response_format"] = json_format(format.get(schema_field).cloned());
    }
    settings
}

fn json_format(schema: Option<Value>) -> Value {
    match schema {
        Some(schema) => json!({ "type": "json_schema", "json_schema": { "schema": schema } }),
        None => json!({ "type": "json_object" }),
    }
}

/// The form of the answer that the last sentence of the system asks for, and the rest of what it says.
fn wanted(system: &str) -> Option<(&str, Value)> {
    let (rest, wish) = system.rsplit_once(JSON_WANTED)?;
    let schema = wish.strip_prefix(SCHEMA_WANTED).map(|schema| serde_json::from_str(schema).unwrap());
    Some((rest, json_format(schema)))
}

/// What both versions can tell of an answer.
fn given(mut answer: Answer) -> Answer {
    let thoughts = std::mem::take(&mut answer.proofs).into_iter();
    answer.thinking = thoughts
        .filter_map(|thought| match thought {
            Piece::Thought { text, .. } => Some(text),
            _ => None,
        })
        .collect();
    if !answer.calls.is_empty() {
        // Beside calls there is nothing but the plan for them.
        answer.text.clear();
    }
    if answer.text.is_empty() {
        answer.citations.clear();
    }
    for call in &mut answer.calls {
        call.proof = None;
    }
    answer.usage = answer.usage.map(|counts| Counts { cache_written: None, reasoning: None, ..counts });
    answer
}

fn counts(usage: &Value) -> Counts {
    let (prompt, completion) = (usage["tokens"]["input_tokens"].as_i64(), usage["tokens"]["output_tokens"].as_i64());
    let (prompt, completion, cached) = (prompt.unwrap(), completion.unwrap(), usage["cached_tokens"].as_i64());
    Counts { prompt, completion, total: prompt + completion, cached, ..Counts::default() }
}

/// In floating point, as Cohere counts.
fn usage(counts: Counts) -> Value {
    let tokens = json!({ "input_tokens": as_float(counts.prompt), "output_tokens": as_float(counts.completion) });
    let mut usage = json!({ "billed_units": { "input_tokens": 1.0, "output_tokens": 1.0 }, "tokens": tokens });
    put(&mut usage, "cached_tokens", counts.cached);
    usage
}

fn as_float(count: i64) -> Value {
    serde_json::from_str(&format!("{count}.0")).unwrap()
}

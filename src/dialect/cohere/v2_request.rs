//! Writes a request of version 2.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use crate::canon::{ChatRequest, Effort, Failure, Function, Json, ToolChoice};
use crate::dialect::json::{append_fields, raw, untranslatable};

use super::functions::functions;
use super::response_format::{Version, WireForm, form};
use super::sampling::{WireSampling, sampling};
use super::v2_messages::{Message, messages};

/// Fields of this format that a client may send by their own name.
const NATIVE: [&str; 5] = ["documents", "citation_options", "safety_mode", "raw_prompting", "priority"];

/// Models that are known to answer without thinking; `thinking` is not for them.
const UNTHINKING: [&str; 7] =
    ["command-r", "command-a-03", "command-a-vision", "command-a-translate", "command-light", "command-nightly", "aya"];

#[derive(Serialize)]
struct Wire<'r> {
    model: &'r str,
    messages: Vec<Message<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict_tools: Option<Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<WireForm<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(flatten)]
    sampling: WireSampling<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    stream: bool,
}

#[derive(Serialize)]
struct WireTool<'r> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: WireFunction<'r>,
}

#[derive(Serialize)]
struct WireFunction<'r> {
    name: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'r str>,
    parameters: Json<'r>,
}

/// The body of a request for this model.
///
/// # Errors
///
/// `Untranslatable` for sound, documents, several choices, and tools of other providers.
pub fn write_request(request: &ChatRequest<'_>, model: &str) -> Result<Vec<u8>, Failure> {
    let functions = functions(request)?;
    let form = form(request, Version::Two);
    let wire = Wire {
        model,
        messages: messages(request, form.instruction, thinks(model))?,
        tool_choice: tool_choice(request).filter(|_| !functions.is_empty()),
        strict_tools: strict_tools(request, &functions),
        tools: functions.into_iter().map(tool).collect(),
        response_format: form.field,
        thinking: thinking(request).filter(|_| thinks(model)),
        sampling: sampling(request)?,
        logprobs: request.sampling.logprobs,
        stream: request.stream,
    };
    let mut body = serde_json::to_vec(&wire).map_err(|_| untranslatable("the request cannot be written as JSON"))?;
    append_fields(&mut body, request.extra.iter().filter(|(name, _)| NATIVE.contains(&name.as_ref())));
    Ok(body)
}

fn tool<'r>(function: &'r Function<'_>) -> WireTool<'r> {
    let parameters = match &function.parameters {
        Some(schema) => Cow::Borrowed(&**schema),
        None => raw(&json!({ "type": "object", "properties": {} })),
    };
    let description = function.description.as_deref();
    WireTool { kind: "function", function: WireFunction { name: &function.name, description, parameters } }
}

fn tool_choice(request: &ChatRequest<'_>) -> Option<&'static str> {
    match request.tool_choice.as_ref()? {
        ToolChoice::Auto | ToolChoice::Allowed { required: false, .. } => None,
        ToolChoice::None => Some("NONE"),
        ToolChoice::Required | ToolChoice::Function(_) | ToolChoice::Allowed { required: true, .. } => Some("REQUIRED"),
    }
}

/// All functions are strict, or none is.
fn strict_tools<'r>(request: &'r ChatRequest<'_>, functions: &[&Function<'_>]) -> Option<Json<'r>> {
    if let Some(own) = request.extra("strict_tools") {
        return Some(Cow::Borrowed(&**own));
    }
    let all = !functions.is_empty() && functions.iter().all(|function| function.strict == Some(true));
    all.then(|| raw(&true))
}

fn thinks(model: &str) -> bool {
    model != "command" && !UNTHINKING.iter().any(|name| model.contains(name))
}

/// Models that can think do so by themselves, without limit.
fn thinking(request: &ChatRequest<'_>) -> Option<Value> {
    let reasoning = request.reasoning?;
    let budget = match (reasoning.budget_tokens, reasoning.effort) {
        (None, None) => return None,
        (Some(0), _) | (None, Some(Effort::None)) => return Some(json!({ "type": "disabled" })),
        (Some(budget), _) => budget,
        (None, Some(Effort::Minimal | Effort::Low)) => 1024,
        (None, Some(Effort::Medium)) => 4096,
        (None, Some(Effort::High | Effort::XHigh | Effort::Max)) => return Some(json!({ "type": "enabled" })),
    };
    Some(json!({ "type": "enabled", "token_budget": budget }))
}

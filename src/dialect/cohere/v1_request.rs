//! Writes a request of version 1, which takes text only.

use std::borrow::Cow;

use serde::Serialize;

use crate::canon::{ChatRequest, Failure, ToolChoice};
use crate::dialect::json::{append_fields, untranslatable};

use super::functions::functions;
use super::response_format::{Version, WireForm, form};
use super::sampling::{WireSampling, sampling};
use super::v1_history::{Entry, WireResult, history, texts};
use super::v1_tools::{WireTool, tool};

/// Fields of this format that a client may send by their own name.
const NATIVE: [&str; 10] = [
    "documents",
    "connectors",
    "citation_quality",
    "conversation_id",
    "force_single_step",
    "max_input_tokens",
    "prompt_truncation",
    "raw_prompting",
    "safety_mode",
    "search_queries_only",
];

#[derive(Serialize)]
struct Wire<'r> {
    model: &'r str,
    message: Cow<'r, str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    preamble: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    chat_history: Vec<Entry<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_results: Vec<WireResult<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<WireForm<'r>>,
    #[serde(flatten)]
    sampling: WireSampling<'r>,
    stream: bool,
}

/// The body of a request for this model.
///
/// # Errors
///
/// `Untranslatable` for everything but text, for a call that the model must make, for several
/// choices, and for a conversation in which the model spoke last.
pub fn write_request(request: &ChatRequest<'_>, model: &str) -> Result<Vec<u8>, Failure> {
    let form = form(request, Version::One);
    let mut chat_history = history(&request.turns)?;
    let mut system = texts(&request.system)?;
    // What is said last stands apart; a message and results exclude each other.
    let (message, tool_results) = match chat_history.pop() {
        Some(Entry::User { message }) => (message, Vec::new()),
        Some(Entry::Tool { tool_results }) => (Cow::Borrowed(""), tool_results),
        None => (Cow::Owned(std::mem::take(&mut system).join("\n")), Vec::new()),
        Some(Entry::Chatbot { .. }) => {
            let message = "this channel does not go on with what the assistant said; let the user speak last";
            return Err(untranslatable(message).at("messages"));
        }
    };
    system.extend(form.instruction.as_deref());
    let wire = Wire {
        model,
        message,
        preamble: system.join("\n"),
        chat_history,
        tools: tools(request, !tool_results.is_empty())?,
        tool_results,
        response_format: form.field,
        sampling: sampling(request)?,
        stream: request.stream,
    };
    let mut body = serde_json::to_vec(&wire).map_err(|_| untranslatable("the request cannot be written as JSON"))?;
    append_fields(&mut body, request.extra.iter().filter(|(name, _)| NATIVE.contains(&name.as_ref())));
    Ok(body)
}

/// The tools that the model may call. With results they have to be there.
fn tools<'r>(request: &'r ChatRequest<'_>, has_results: bool) -> Result<Vec<WireTool<'r>>, Failure> {
    match request.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Function(_) | ToolChoice::Allowed { required: true, .. }) => {
            let message = "this channel cannot make the model call a function; leave \"tool_choice\" out";
            Err(untranslatable(message).at("tool_choice"))
        }
        Some(ToolChoice::None) if !has_results => Ok(Vec::new()),
        _ => Ok(functions(request)?.into_iter().map(tool).collect()),
    }
}

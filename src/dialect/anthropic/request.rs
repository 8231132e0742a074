//! Writes a request.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Serialize;
use serde_json::{Value, json};

use crate::canon::{CacheHint, ChatRequest, Content, Effort, Failure, Json, ResponseFormat, Role, Tool, ToolChoice};
use crate::dialect::json::{append_fields, untranslatable};

use super::blocks::{Message, WireBlock, WireCache, messages, system};
use super::models::{Abilities, Thinking, abilities};
use super::{Host, JSON_TOOL, schema};

/// The least budget of thoughts, in tokens.
const MIN_BUDGET: u64 = 1024;

/// Fields of this format that a client may send by their own name.
const NATIVE: [&str; 6] = ["container", "context_management", "mcp_servers", "cache_control", "inference_geo", "speed"];

#[derive(Serialize)]
struct Wire<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anthropic_version: Option<&'static str>,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<WireBlock<'r>>,
    messages: Vec<Message<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<Json<'r>>,
    stream: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireTool<'r> {
    Function {
        name: &'r str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'r str>,
        input_schema: Json<'r>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<WireCache<'r>>,
    },
    Native(Json<'r>),
}

/// The body of a request for this model.
///
/// # Errors
///
/// `Untranslatable` for sound, for several choices, and for tools of other providers.
pub fn write_request(request: &ChatRequest<'_>, model: &str, host: Host) -> Result<Vec<u8>, Failure> {
    let able = abilities(model);
    if request.sampling.choices.is_some_and(|choices| choices > 1) {
        return Err(untranslatable("this channel gives one choice; leave \"n\" out").at("n"));
    }
    let mut tools = tools(request)?;
    let mut choice = tool_choice(request, &tools);
    let mut format = None;
    let mut instruction = None;
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonSchema { schema: Some(schema), .. }) if able.structured_output => {
            let schema = schema::accepted(serde_json::from_str(schema.get()).unwrap_or_default());
            format = Some(json!({ "type": "json_schema", "schema": schema }));
        }
        Some(ResponseFormat::JsonSchema { schema: Some(schema), description, .. }) => {
            let is_named = choice.as_ref().is_some_and(|choice| choice.get("name").is_some());
            if tools.is_empty() || request.tool_choice == Some(ToolChoice::None) {
                choice = Some(json!({ "type": "tool", "name": JSON_TOOL }));
            } else if !is_named {
                // With tools of the client beside it, the model chooses between them and the answer.
                let mut any = json!({ "type": "any" });
                if let (Value::Object(fields), Some(false)) = (&mut any, request.parallel_tool_calls) {
                    fields.insert("disable_parallel_tool_use".to_owned(), true.into());
                }
                choice = Some(any);
            }
            let description = description.as_deref().or(Some("Gives the answer to the user."));
            let (input_schema, cache_control) = (schema::of_tool(Some(schema)), None);
            tools.push(WireTool::Function { name: JSON_TOOL, description, input_schema, cache_control });
        }
        Some(ResponseFormat::JsonObject | ResponseFormat::JsonSchema { schema: None, .. }) => {
            instruction = Some("Answer with one JSON object and nothing else.");
        }
    }
    let is_forced =
        choice.as_ref().is_some_and(|choice| choice.get("type").is_some_and(|kind| kind == "any" || kind == "tool"));
    let max_tokens = request.sampling.max_tokens.unwrap_or(able.max_tokens);
    let (thinking, effort) = match is_forced {
        // The combination is refused.
        true => (None, None),
        false => thinking(request, able, max_tokens),
    };
    let thinks = thinking.as_ref().is_some_and(|thinking| thinking.get("type").is_some_and(|kind| kind != "disabled"));
    let sampling = &request.sampling;
    let temperature = sampling.temperature.filter(|_| able.sampling && !thinks).map(|value| value.clamp(0.0, 1.0));
    let top_p = sampling.top_p.filter(|_| able.sampling && !thinks);
    let wire = Wire {
        model: (host == Host::Anthropic).then_some(model),
        anthropic_version: (host == Host::Vertex).then_some("vertex-2023-10-16"),
        max_tokens,
        system: system(request, instruction),
        messages: messages(request)?,
        tools,
        tool_choice: choice,
        thinking,
        output_config: output_config(request, format, effort),
        temperature,
        top_p: top_p.filter(|_| able.both_of_sampling || temperature.is_none()),
        top_k: sampling.top_k.filter(|_| able.sampling && !thinks),
        // A blank one is refused.
        stop_sequences: request.stop.iter().map(AsRef::as_ref).filter(|stop: &&str| !stop.trim().is_empty()).collect(),
        metadata: request.user.as_ref().map(|user| json!({ "user_id": user })),
        service_tier: request.extra("service_tier").filter(|tier| is_service_tier(tier)).cloned(),
        stream: request.stream,
    };
    let mut body = serde_json::to_vec(&wire).map_err(|_| untranslatable("the request cannot be written as JSON"))?;
    append_fields(&mut body, request.extra.iter().filter(|(name, _)| NATIVE.contains(&name.as_ref())));
    Ok(body)
}

/// OpenAI has the field as well, with other words for it.
fn is_service_tier(tier: &Json<'_>) -> bool {
    matches!(tier.get(), "\"auto\"" | "\"standard_only\"")
}

pub(super) fn cache<'r>(hint: Option<&'r CacheHint<'_>>) -> Option<WireCache<'r>> {
    hint.map(|hint| WireCache { kind: "ephemeral", ttl: hint.ttl.as_deref() })
}

fn tools<'r>(request: &'r ChatRequest<'_>) -> Result<Vec<WireTool<'r>>, Failure> {
    let allowed = match &request.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) => Some(names.iter().map(AsRef::as_ref).collect::<HashSet<&str>>()),
        _ => None,
    };
    let is_allowed = |name: &str| allowed.as_ref().is_none_or(|names| names.contains(name));
    let mut tools = Vec::with_capacity(request.tools.len());
    for tool in &request.tools {
        match tool {
            Tool::Function(function) if is_allowed(&function.name) => {
                tools.push(WireTool::Function {
                    name: &function.name,
                    description: function.description.as_deref(),
                    input_schema: schema::of_tool(function.parameters.as_ref()),
                    cache_control: cache(function.cache.as_ref()),
                });
            }
            Tool::Function(_) => {}
            Tool::Native(tool) if is_native(tool) => tools.push(WireTool::Native(Cow::Borrowed(&**tool))),
            Tool::Native(_) => {
                return Err(untranslatable("this channel has functions and Anthropic's own tools only").at("tools"));
            }
        }
    }
    Ok(tools)
}

/// Anthropic's tools have a date in their type, such as `web_search_20250305`.
fn is_native(tool: &Json<'_>) -> bool {
    let tool: Value = serde_json::from_str(tool.get()).unwrap_or_default();
    let date = tool.get("type").and_then(Value::as_str).and_then(|kind| kind.rsplit('_').next());
    date.is_some_and(|date| date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()))
}

fn tool_choice(request: &ChatRequest<'_>, tools: &[WireTool<'_>]) -> Option<Value> {
    if tools.is_empty() {
        return None;
    }
    let mut choice = match &request.tool_choice {
        None if request.parallel_tool_calls.is_none_or(|parallel| parallel) => return None,
        None | Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) => json!({ "type": "auto" }),
        Some(ToolChoice::None) => return Some(json!({ "type": "none" })),
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => json!({ "type": "any" }),
        Some(ToolChoice::Function(name)) => json!({ "type": "tool", "name": name }),
    };
    if let (Value::Object(fields), Some(parallel)) = (&mut choice, request.parallel_tool_calls) {
        fields.insert("disable_parallel_tool_use".to_owned(), (!parallel).into());
    }
    Some(choice)
}

/// `thinking`, and the effort that goes with it.
fn thinking(request: &ChatRequest<'_>, able: Abilities, max_tokens: u64) -> (Option<Value>, Option<&'static str>) {
    let Some(reasoning) = request.reasoning else { return (None, None) };
    let effort = match (reasoning.budget_tokens, reasoning.effort) {
        (None, None) => return (None, None),
        (Some(0), _) | (None, Some(Effort::None)) => {
            return (able.thinks_by_default.then(|| json!({ "type": "disabled" })), None);
        }
        (None, Some(effort)) => effort,
        (Some(..=2048), _) => Effort::Low,
        (Some(..=8192), _) => Effort::Medium,
        (Some(_), _) => Effort::High,
    };
    match able.thinking {
        Thinking::Never => (None, None),
        Thinking::Either if reasoning.budget_tokens.is_none() => {
            (Some(json!({ "type": "adaptive" })), Some(effort_word(effort, able)))
        }
        Thinking::Adaptive => {
            let display = if reasoning.shown == Some(false) { "omitted" } else { "summarized" };
            (Some(json!({ "type": "adaptive", "display": display })), Some(effort_word(effort, able)))
        }
        Thinking::Budget | Thinking::Either => {
            let wanted = reasoning.budget_tokens.unwrap_or(budget(effort)).max(MIN_BUDGET);
            // Both thoughts and answer count against max_tokens; half of it is left for the answer,
            // unless the client says otherwise.
            let budget = match reasoning.budget_tokens {
                Some(_) if wanted < max_tokens => wanted,
                _ => wanted.min(max_tokens / 2),
            };
            let is_possible = budget >= MIN_BUDGET && !is_unsigned_loop(request);
            (is_possible.then(|| json!({ "type": "enabled", "budget_tokens": budget })), None)
        }
    }
}

fn budget(effort: Effort) -> u64 {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => 1024,
        Effort::Medium => 4096,
        Effort::High => 8192,
        Effort::XHigh => 16_384,
        Effort::Max => 32_768,
    }
}

fn effort_word(effort: Effort, able: Abilities) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::XHigh if able.xhigh => "xhigh",
        Effort::XHigh => "high",
        Effort::Max => "max",
    }
}

/// Whether the model is in the middle of calling tools, and the client has dropped the thoughts
/// before its calls. With thinking on that would be refused.
fn is_unsigned_loop(request: &ChatRequest<'_>) -> bool {
    let last = request.turns.iter().rev().find(|turn| turn.role == Role::Assistant);
    last.is_some_and(|turn| {
        let calls = turn.blocks.iter().any(|block| matches!(block.content, Content::ToolCall(_)));
        let is_thought = |content: &Content<'_>| super::blocks::thought(content).is_some();
        calls && !turn.blocks.first().is_some_and(|block| is_thought(&block.content))
    })
}

fn output_config(request: &ChatRequest<'_>, format: Option<Value>, effort: Option<&str>) -> Option<Value> {
    let mut config: Value =
        request.extra("output_config").and_then(|own| serde_json::from_str(own.get()).ok()).unwrap_or(Value::Null);
    if format.is_none() && effort.is_none() {
        return Some(config).filter(|config| !config.is_null());
    }
    if !config.is_object() {
        config = json!({});
    }
    if let Value::Object(fields) = &mut config {
        fields.extend(format.map(|format| ("format".to_owned(), format)));
        fields.extend(effort.map(|effort| ("effort".to_owned(), effort.into())));
    }
    Some(config)
}

//! Reads the chat request of a client.
//!
//! Beside OpenAI's own fields it takes what clients of gateways are used to send: `cache_control`
//! on messages, parts and tools; `reasoning` and `thinking`; `reasoning_content`,
//! `reasoning_details` (OpenRouter's API reference, "Reasoning tokens") and `thinking_blocks` on
//! messages; `extra_content.google.thought_signature` on tool calls (Google's documentation, "Thought
//! signatures", part on the OpenAI-compatible API); the older `functions` and `function_call`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canon::{
    CacheHint, ChatRequest, Effort, Failure, Function, Reasoning, ResponseFormat, Text, Tool, ToolChoice,
};
use crate::dialect::json::{Fields, Str, field, invalid, untranslatable};

use super::message::read_messages;

/// Reads a request body.
///
/// # Errors
///
/// `InvalidRequest` that names the field, for what OpenAI would refuse as well; `Untranslatable` for
/// what no other format has.
pub fn read_request(body: &str) -> Result<ChatRequest<'_>, Failure> {
    let Fields(fields) = serde_json::from_str(body).map_err(|_| invalid("the body is no JSON object"))?;
    let mut request = ChatRequest::default();
    for (name, value) in fields {
        if value.get() == "null" {
            continue;
        }
        let sampling = &mut request.sampling;
        match name.as_ref() {
            "model" | "stream_options" | "store" | "metadata" => {}
            "messages" => read_messages(value, &mut request)?,
            "tools" => request.tools.extend(read_tools(value)?),
            "functions" => request.tools.extend(field::<Vec<WireFunction>>(value, "functions")?.into_iter().map(tool)),
            "tool_choice" | "function_call" => request.tool_choice = Some(read_tool_choice(value)?),
            "parallel_tool_calls" => request.parallel_tool_calls = field(value, "parallel_tool_calls")?,
            "temperature" => sampling.temperature = field(value, "temperature")?,
            "top_p" => sampling.top_p = field(value, "top_p")?,
            "top_k" => sampling.top_k = field(value, "top_k")?,
            "max_tokens" => sampling.max_tokens = sampling.max_tokens.or(field(value, "max_tokens")?),
            "max_completion_tokens" => sampling.max_tokens = field(value, "max_completion_tokens")?,
            "presence_penalty" => sampling.presence_penalty = field(value, "presence_penalty")?,
            "frequency_penalty" => sampling.frequency_penalty = field(value, "frequency_penalty")?,
            "seed" => sampling.seed = field(value, "seed")?,
            "n" => sampling.choices = field(value, "n")?,
            "logprobs" => sampling.logprobs = field(value, "logprobs")?,
            "top_logprobs" => sampling.top_logprobs = field(value, "top_logprobs")?,
            "stop" => request.stop = read_stop(value)?,
            "response_format" => request.response_format = Some(read_response_format(value)?),
            "reasoning_effort" => reasoning(&mut request).effort = Some(effort(value)?),
            "reasoning" => read_reasoning(value, reasoning(&mut request))?,
            "thinking" => read_thinking(value, reasoning(&mut request))?,
            "stream" => request.stream = field(value, "stream")?,
            "user" => request.user = Some(field::<Str>(value, "user")?.0),
            _ => request.extra.push((name, Cow::Borrowed(value))),
        }
    }
    Ok(request)
}

fn reasoning<'r>(request: &'r mut ChatRequest<'_>) -> &'r mut Reasoning {
    request.reasoning.get_or_insert_default()
}

fn effort(value: &RawValue) -> Result<Effort, Failure> {
    let Str(word) = field(value, "reasoning_effort")?;
    Effort::ALL.iter().find(|(_, name)| *name == word).map(|(effort, _)| *effort).ok_or_else(|| {
        let known: Vec<_> = Effort::ALL.iter().map(|(_, name)| *name).collect();
        // Some provider of this very format may know another word.
        untranslatable(format!("this channel takes one of {} as \"reasoning_effort\"", known.join(", ")))
            .at("reasoning_effort")
    })
}

/// OpenRouter's `reasoning`.
fn read_reasoning(value: &RawValue, reasoning: &mut Reasoning) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        effort: Option<&'a RawValue>,
        max_tokens: Option<u64>,
        enabled: Option<bool>,
        exclude: Option<bool>,
    }
    let wire: Wire<'_> = field(value, "reasoning")?;
    if let Some(word) = wire.effort.filter(|word| word.get() != "null") {
        reasoning.effort = Some(effort(word)?);
    }
    match wire.enabled {
        Some(false) => reasoning.effort = Some(Effort::None),
        Some(true) if reasoning.effort.is_none() && wire.max_tokens.is_none() => {
            reasoning.effort = Some(Effort::Medium);
        }
        _ => {}
    }
    reasoning.budget_tokens = wire.max_tokens.or(reasoning.budget_tokens);
    reasoning.shown = wire.exclude.map(|exclude| !exclude).or(reasoning.shown);
    Ok(())
}

/// Anthropic's `thinking`, and Cohere's.
fn read_thinking(value: &RawValue, reasoning: &mut Reasoning) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<Str<'a>>,
        #[serde(alias = "token_budget")]
        budget_tokens: Option<u64>,
    }
    let wire: Wire<'_> = field(value, "thinking")?;
    match wire.kind.as_ref().map(|Str(kind)| kind.as_ref()) {
        Some("disabled") => reasoning.effort = Some(Effort::None),
        // Without a budget, as Cohere and others have it, the model thinks as much as it likes.
        Some("adaptive" | "enabled") if wire.budget_tokens.is_none() && reasoning.effort.is_none() => {
            reasoning.effort = Some(Effort::High);
        }
        _ => reasoning.budget_tokens = wire.budget_tokens.or(reasoning.budget_tokens),
    }
    Ok(())
}

fn read_stop(value: &RawValue) -> Result<Vec<Text<'_>>, Failure> {
    if value.get().starts_with('"') {
        return Ok(vec![field::<Str>(value, "stop")?.0]);
    }
    Ok(field::<Vec<Str>>(value, "stop")?.into_iter().map(|Str(text)| text).collect())
}

fn read_response_format(value: &RawValue) -> Result<ResponseFormat<'_>, Failure> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow, rename = "type")]
        kind: Str<'a>,
        #[serde(borrow)]
        json_schema: Option<Schema<'a>>,
    }
    #[derive(Deserialize)]
    struct Schema<'a> {
        #[serde(borrow)]
        name: Option<Str<'a>>,
        #[serde(borrow)]
        description: Option<Str<'a>>,
        #[serde(borrow)]
        schema: Option<&'a RawValue>,
        strict: Option<bool>,
    }
    let wire: Wire<'_> = field(value, "response_format")?;
    match (wire.kind.0.as_ref(), wire.json_schema) {
        ("text", _) => Ok(ResponseFormat::Text),
        ("json_object", _) => Ok(ResponseFormat::JsonObject),
        ("json_schema", Some(schema)) => Ok(ResponseFormat::JsonSchema {
            name: schema.name.map_or(Cow::Borrowed("response"), |Str(name)| name),
            description: schema.description.map(|Str(text)| text),
            schema: schema.schema.map(Cow::Borrowed),
            strict: schema.strict,
        }),
        ("json_schema", None) => {
            Err(invalid("\"response_format\" of type json_schema needs \"json_schema\"").at("response_format"))
        }
        _ => Err(invalid("\"response_format\" must have type text, json_object or json_schema").at("response_format")),
    }
}

#[derive(Deserialize)]
pub(super) struct WireCache<'a> {
    #[serde(borrow)]
    ttl: Option<Str<'a>>,
}

pub(super) fn cache(wire: Option<WireCache<'_>>) -> Option<CacheHint<'_>> {
    wire.map(|wire| CacheHint { ttl: wire.ttl.map(|Str(ttl)| ttl) })
}

#[derive(Deserialize)]
struct WireFunction<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    description: Option<Str<'a>>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
    #[serde(borrow)]
    cache_control: Option<WireCache<'a>>,
}

fn tool(function: WireFunction<'_>) -> Tool<'_> {
    Tool::Function(Function {
        name: function.name.0,
        description: function.description.map(|Str(text)| text),
        parameters: function.parameters.filter(|schema| schema.get() != "null").map(Cow::Borrowed),
        strict: function.strict,
        cache: cache(function.cache_control),
    })
}

fn read_tools(value: &RawValue) -> Result<Vec<Tool<'_>>, Failure> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        function: Option<WireFunction<'a>>,
        #[serde(borrow)]
        cache_control: Option<WireCache<'a>>,
    }
    let entries: Vec<&RawValue> = field(value, "tools")?;
    let mut tools = Vec::with_capacity(entries.len());
    for entry in entries {
        tools.push(match field(entry, "tools")? {
            Wire { function: Some(function), cache_control } => match (tool(function), cache(cache_control)) {
                (Tool::Function(function), Some(hint)) => Tool::Function(Function { cache: Some(hint), ..function }),
                (tool, _) => tool,
            },
            Wire { function: None, .. } => Tool::Native(Cow::Borrowed(entry)),
        });
    }
    Ok(tools)
}

fn read_tool_choice(value: &RawValue) -> Result<ToolChoice<'_>, Failure> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Str<'a>,
    }
    #[derive(Deserialize)]
    struct Entry<'a> {
        #[serde(borrow)]
        function: Option<Named<'a>>,
        #[serde(borrow)]
        name: Option<Str<'a>>,
    }
    #[derive(Deserialize)]
    struct Allowed<'a> {
        #[serde(borrow)]
        mode: Option<Str<'a>>,
        #[serde(borrow, default)]
        tools: Vec<Entry<'a>>,
    }
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        function: Option<Named<'a>>,
        #[serde(borrow)]
        name: Option<Str<'a>>,
        #[serde(borrow)]
        allowed_tools: Option<Allowed<'a>>,
    }
    fn name<'a>(function: Option<Named<'a>>, name: Option<Str<'a>>) -> Option<Text<'a>> {
        function.map(|Named { name }| name.0).or_else(|| name.map(|Str(name)| name))
    }
    let unknown = || invalid("\"tool_choice\" must be auto, none, required, or name a function").at("tool_choice");
    if value.get().starts_with('"') {
        return match field::<Str>(value, "tool_choice")?.0.as_ref() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            // What Anthropic calls it, and what other gateways take.
            "required" | "any" => Ok(ToolChoice::Required),
            _ => Err(unknown()),
        };
    }
    let wire: Wire<'_> = field(value, "tool_choice")?;
    if let Some(allowed) = wire.allowed_tools {
        let required = allowed.mode.is_some_and(|Str(mode)| mode == "required");
        return Ok(ToolChoice::Allowed {
            required,
            names: allowed.tools.into_iter().filter_map(|entry| name(entry.function, entry.name)).collect(),
        });
    }
    name(wire.function, wire.name).map(ToolChoice::Function).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::{Content, FailureKind};

    #[test]
    fn a_mistake_is_told_without_the_value() {
        for (body, told) in [
            (r#"{"stream":"as expected by my secret"}"#, r#""stream" must be a boolean"#),
            (r#"{"n":"two"}"#, r#""n" must be u64"#),
            (r#"{"messages":[{"role":"user","content":true}]}"#, r#"messages[0]: "content" must be a sequence"#),
        ] {
            let failure = read_request(body).unwrap_err();
            assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::InvalidRequest, told), "{body}");
        }
    }

    #[test]
    fn thinking_needs_no_budget() {
        let reasoning = |thinking: &str| read_request(&format!(r#"{{"thinking":{thinking}}}"#)).unwrap().reasoning;
        let effort = |effort| Some(Reasoning { effort: Some(effort), ..Reasoning::default() });
        assert_eq!(reasoning(r#"{"type":"enabled"}"#), effort(Effort::High));
        assert_eq!(reasoning(r#"{"type":"adaptive"}"#), effort(Effort::High));
        assert_eq!(reasoning(r#"{"type":"disabled"}"#), effort(Effort::None));
        let budget = Some(Reasoning { budget_tokens: Some(9), ..Reasoning::default() });
        assert_eq!(reasoning(r#"{"type":"enabled","budget_tokens":9}"#), budget);
    }

    #[test]
    fn calls_without_ids_are_answered_in_their_order() {
        let body = r#"{"messages":[
            {"role":"assistant","tool_calls":[{"id":"","function":{"name":"f"}},{"id":"","function":{"name":"g"}}]},
            {"role":"tool","tool_call_id":"","content":"1"},
            {"role":"tool","tool_call_id":"","content":"2"}
        ]}"#;
        let request = read_request(body).unwrap();
        let ids = request.turns.iter().flat_map(|turn| &turn.blocks).map(|block| match &block.content {
            Content::ToolCall(call) => call.id.as_ref(),
            Content::ToolResult(result) => result.call_id.as_ref(),
            other => panic!("{other:?}"),
        });
        assert_eq!(ids.collect::<Vec<_>>(), ["call_1", "call_2", "call_1", "call_2"]);
        assert!(read_request(r#"{"messages":[{"role":"tool","content":"1"}]}"#).is_err());
    }
}

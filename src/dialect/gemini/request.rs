//! Writes a request.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::canon::{ChatRequest, Failure, Json, ResponseFormat, Tool, ToolChoice};
use crate::dialect::json::{Str, raw, untranslatable};

use super::Host;
use super::contents::{Said, WireContent, said};
use super::models::{Abilities, JsonOutput, abilities};
use super::schema::{Form, cleaned, parameters};
use super::thinking::thinking_config;

/// So many texts may end an answer.
const MAX_STOPS: usize = 5;

/// Google's own tools, without the underscores that some spell them with.
const NATIVE: [&str; 8] = [
    "googlesearch",
    "googlesearchretrieval",
    "codeexecution",
    "urlcontext",
    "googlemaps",
    "filesearch",
    "computeruse",
    "enterprisewebsearch",
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<WireContent<'r>>,
    contents: Vec<WireContent<'r>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<Value>,
    generation_config: GenerationConfig<'r>,
    safety_settings: Json<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_content: Option<Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_schema: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    response_modalities: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_config: Option<Json<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<Json<'r>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum WireTool<'r> {
    FunctionDeclarations(Vec<Declaration<'r>>),
    #[serde(untagged)]
    Native(Json<'r>),
}

#[derive(Serialize)]
struct Declaration<'r> {
    name: &'r str,
    description: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
}

/// What Google's OpenAI-compatible API takes as `extra_body.google`.
#[derive(Default, Deserialize)]
struct Google<'r> {
    #[serde(borrow)]
    thinking_config: Option<&'r RawValue>,
    #[serde(borrow)]
    cached_content: Option<&'r RawValue>,
}

/// The body of a request for this model.
///
/// # Errors
///
/// `Untranslatable` for several choices, for tools and files of other providers, and for tools where
/// the model has none.
pub fn write_request(request: &ChatRequest<'_>, model: &str, host: Host) -> Result<Vec<u8>, Failure> {
    let able = abilities(model, host);
    if request.sampling.choices.is_some_and(|choices| choices > 1) {
        return Err(untranslatable("this channel gives one choice; leave \"n\" out").at("n"));
    }
    let google = google(request);
    let tools = tools(request, able)?;
    let mut generation_config = sampling(request, able)?;
    generation_config.thinking_config = match google.thinking_config {
        Some(own) => Some(Cow::Borrowed(own)),
        None => {
            request.reasoning.and_then(|reasoning| thinking_config(reasoning, able.thinking)).map(|config| raw(&config))
        }
    };
    let instruction = json_output(request, able, tools.is_empty(), &mut generation_config);
    let Said { system, contents } = said(request, instruction, able, host)?;
    let own = |snake: &str, camel: &str| request.extra(snake).or_else(|| request.extra(camel)).cloned();
    let wire = Wire {
        system_instruction: system,
        contents,
        tool_config: tool_config(request, &tools, host),
        tools,
        generation_config,
        safety_settings: own("safety_settings", "safetySettings").unwrap_or_else(|| raw(&safety_settings(able, host))),
        cached_content: own("cached_content", "cachedContent").or(google.cached_content.map(Cow::Borrowed)),
        labels: request.extra("labels").filter(|_| host == Host::Vertex).cloned(),
        service_tier: request.extra("service_tier").filter(|_| host == Host::AiStudio).and_then(service_tier),
    };
    serde_json::to_vec(&wire).map_err(|_| untranslatable("the request cannot be written as JSON"))
}

fn google<'r>(request: &'r ChatRequest<'_>) -> Google<'r> {
    #[derive(Deserialize)]
    struct ExtraBody<'r> {
        #[serde(borrow)]
        google: Option<Google<'r>>,
    }
    let extra: Option<ExtraBody<'r>> =
        request.extra("extra_body").and_then(|extra| serde_json::from_str(extra.get()).ok());
    extra.and_then(|extra| extra.google).unwrap_or_default()
}

fn sampling<'r>(request: &'r ChatRequest<'_>, able: Abilities) -> Result<GenerationConfig<'r>, Failure> {
    let stop_sequences: Vec<&str> =
        request.stop.iter().map(AsRef::as_ref).filter(|stop: &&str| !stop.is_empty()).collect();
    if stop_sequences.len() > MAX_STOPS {
        return Err(untranslatable(format!("this channel takes at most {MAX_STOPS} texts in \"stop\"")).at("stop"));
    }
    let sampling = &request.sampling;
    let logprobs = sampling.logprobs.filter(|wanted| *wanted);
    Ok(GenerationConfig {
        temperature: sampling.temperature.filter(|_| able.sampling),
        top_p: sampling.top_p.filter(|_| able.sampling),
        top_k: sampling.top_k.filter(|_| able.sampling),
        max_output_tokens: sampling.max_tokens,
        stop_sequences,
        // It has 32 bits there.
        seed: sampling.seed.map(|seed| if i32::try_from(seed).is_ok() { seed } else { seed.rem_euclid(1 << 31) }),
        presence_penalty: sampling.presence_penalty.filter(|_| able.sampling).map(penalty),
        frequency_penalty: sampling.frequency_penalty.filter(|_| able.sampling).map(penalty),
        response_logprobs: logprobs,
        logprobs: sampling.top_logprobs.filter(|_| logprobs.is_some()),
        response_modalities: modalities(request),
        // OpenRouter's name for it; Google takes its fields with either spelling.
        image_config: request.extra("image_config").cloned(),
        ..GenerationConfig::default()
    })
}

/// The greatest that OpenAI allows is just refused.
fn penalty(value: f64) -> f64 {
    value.clamp(-2.0, 1.99)
}

/// Images come from some models only when they are asked for.
fn modalities(request: &ChatRequest<'_>) -> Vec<&'static str> {
    let wanted: Vec<Str<'_>> =
        request.extra("modalities").and_then(|own| serde_json::from_str(own.get()).ok()).unwrap_or_default();
    let has = |word: &str| wanted.iter().any(|Str(own)| own.eq_ignore_ascii_case(word));
    match (has("image"), has("text")) {
        (true, true) => vec!["TEXT", "IMAGE"],
        (true, false) => vec!["IMAGE"],
        _ => Vec::new(),
    }
}

/// Sets the form of the answer, or gives the text that asks for it.
fn json_output(
    request: &ChatRequest<'_>,
    able: Abilities,
    without_tools: bool,
    config: &mut GenerationConfig<'_>,
) -> Option<String> {
    let schema = match request.response_format.as_ref()? {
        ResponseFormat::Text => return None,
        ResponseFormat::JsonObject => None,
        ResponseFormat::JsonSchema { schema, .. } => schema.as_ref(),
    };
    if able.json == JsonOutput::Instruction || !(without_tools || able.json_with_tools) {
        return Some(match schema {
            Some(schema) => format!("Answer with JSON that obeys this JSON Schema, and nothing else: {}", schema.get()),
            None => "Answer with one JSON object and nothing else.".to_owned(),
        });
    }
    config.response_mime_type = Some("application/json");
    match able.json {
        JsonOutput::JsonSchema => {
            config.response_json_schema = schema.map(|schema| cleaned(schema, Form::JsonSchema));
        }
        _ => config.response_schema = schema.map(|schema| cleaned(schema, Form::Schema)),
    }
    None
}

fn tools<'r>(request: &'r ChatRequest<'_>, able: Abilities) -> Result<Vec<WireTool<'r>>, Failure> {
    if !able.tools && !request.tools.is_empty() {
        return Err(
            untranslatable("this channel has no tools; ask another model, or its API version v1beta").at("tools")
        );
    }
    let allowed = match &request.tool_choice {
        // Names are taken with an obligation only.
        Some(ToolChoice::Allowed { names, required: false }) => Some(names.iter().collect::<HashSet<_>>()),
        _ => None,
    };
    let mut declarations = Vec::with_capacity(request.tools.len());
    let mut tools = Vec::new();
    for tool in &request.tools {
        match tool {
            Tool::Function(function) if allowed.as_ref().is_none_or(|names| names.contains(&function.name)) => {
                declarations.push(Declaration {
                    name: &function.name,
                    description: function.description.as_deref().unwrap_or_default(),
                    parameters: function.parameters.as_ref().and_then(|schema| parameters(schema)),
                });
            }
            Tool::Function(_) => {}
            Tool::Native(tool) if is_native(tool) => tools.push(WireTool::Native(Cow::Borrowed(&**tool))),
            Tool::Native(_) => {
                return Err(untranslatable("this channel has functions and Google's own tools only").at("tools"));
            }
        }
    }
    if !declarations.is_empty() {
        tools.push(WireTool::FunctionDeclarations(declarations));
    }
    Ok(tools)
}

fn is_native(tool: &Json<'_>) -> bool {
    let names: Map<String, Value> = serde_json::from_str(tool.get()).unwrap_or_default();
    let is_known = |name: &String| NATIVE.contains(&name.replace('_', "").to_ascii_lowercase().as_str());
    !names.is_empty() && names.keys().all(is_known)
}

fn tool_config(request: &ChatRequest<'_>, tools: &[WireTool<'_>], host: Host) -> Option<Value> {
    let has_functions = tools.iter().any(|tool| matches!(tool, WireTool::FunctionDeclarations(_)));
    if !has_functions {
        return None;
    }
    // Vertex AI has no such switch; where it is on, AUTO is refused and the default does the same.
    let is_mixed = tools.len() > 1 && host == Host::AiStudio;
    let calling = match &request.tool_choice {
        None => None,
        Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) if is_mixed => None,
        Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) => Some(json!({ "mode": "AUTO" })),
        Some(ToolChoice::None) => Some(json!({ "mode": "NONE" })),
        Some(ToolChoice::Required) => Some(json!({ "mode": "ANY" })),
        Some(ToolChoice::Function(name)) => Some(json!({ "mode": "ANY", "allowedFunctionNames": [name] })),
        Some(ToolChoice::Allowed { required: true, names }) => {
            Some(json!({ "mode": "ANY", "allowedFunctionNames": names }))
        }
    };
    let mut config = Map::new();
    config.extend(calling.map(|calling| ("functionCallingConfig".to_owned(), calling)));
    if is_mixed {
        config.insert("includeServerSideToolInvocations".to_owned(), true.into());
    }
    (!config.is_empty()).then_some(Value::Object(config))
}

/// Every category as open as it gets.
fn safety_settings(able: Abilities, host: Host) -> Value {
    let threshold = if able.filters_go_off { "OFF" } else { "BLOCK_NONE" };
    let mut settings: Vec<Value> = ["HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT"]
        .iter()
        .map(|category| json!({ "category": format!("HARM_CATEGORY_{category}"), "threshold": threshold }))
        .collect();
    if host == Host::AiStudio {
        settings.push(json!({ "category": "HARM_CATEGORY_CIVIC_INTEGRITY", "threshold": "BLOCK_NONE" }));
    }
    Value::Array(settings)
}

/// OpenAI has the field as well, with other words for it.
fn service_tier(tier: &Json<'_>) -> Option<&'static str> {
    match tier.get() {
        "\"flex\"" => Some("flex"),
        "\"priority\"" => Some("priority"),
        "\"standard\"" | "\"default\"" => Some("standard"),
        _ => None,
    }
}

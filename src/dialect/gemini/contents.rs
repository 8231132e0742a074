//! Writes what is said: system text and the conversation with its parts.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::canon::{Block, ChatRequest, Content, Failure, Issuer, Json, Role, ToolCall, ToolResult};
use crate::dialect::json::{arguments_object, raw, untranslatable};

use super::Host;
use super::media::{Media, media};
use super::models::Abilities;

/// What Google's guide "Thought signatures" gives out for calls that no Gemini model made.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

const USER: &str = "user";
const MODEL: &str = "model";

/// What one of them says at a time.
#[derive(Serialize)]
pub(super) struct WireContent<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<Part<'r>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'r> {
    #[serde(flatten)]
    body: Body<'r>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    thought: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<&'r str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Body<'r> {
    Text(Cow<'r, str>),
    FunctionCall(FunctionCall<'r>),
    FunctionResponse(FunctionResponse<'r>),
    #[serde(untagged)]
    Media(Media<'r>),
}

#[derive(Serialize)]
struct FunctionCall<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'r str>,
    name: &'r str,
    args: Json<'r>,
    #[serde(skip)]
    call_id: &'r str,
}

#[derive(Serialize)]
struct FunctionResponse<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'r str>,
    name: &'r str,
    response: Json<'r>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Media<'r>>,
    #[serde(skip)]
    call_id: &'r str,
}

fn part(body: Body<'_>) -> Part<'_> {
    Part { body, thought: false, thought_signature: None }
}

fn text<'r>(text: impl Into<Cow<'r, str>>) -> Part<'r> {
    part(Body::Text(text.into()))
}

/// What is said, apart from what the system says.
pub(super) struct Said<'r> {
    /// `systemInstruction`.
    pub system: Option<WireContent<'r>>,
    /// `contents`.
    pub contents: Vec<WireContent<'r>>,
}

/// Everything that is said. Where the model knows no system, the user says its text; an instruction
/// comes behind it.
///
/// # Errors
///
/// `Untranslatable` for files of other providers, and for calls where there are no tools.
pub(super) fn said<'r>(
    request: &'r ChatRequest<'_>,
    instruction: Option<String>,
    able: Abilities,
    host: Host,
) -> Result<Said<'r>, Failure> {
    let mut system: Vec<Part<'r>> = texts(&request.system).map(text).chain(instruction.map(text)).collect();
    let mut contents = Conversation { able, host, names: HashMap::new() }.contents(request)?;
    if !able.system || request.turns.is_empty() {
        let spoken = std::mem::take(&mut system);
        match contents.first_mut() {
            Some(first) if first.role == Some(USER) => {
                first.parts.splice(0..0, spoken);
            }
            _ if spoken.is_empty() => {}
            _ => contents.insert(0, WireContent { role: Some(USER), parts: spoken }),
        }
    }
    if contents.first().is_none_or(|first| first.role == Some(MODEL)) {
        // A conversation has to begin with the user.
        contents.insert(0, WireContent { role: Some(USER), parts: vec![text(".")] });
    }
    let system = (!system.is_empty()).then_some(WireContent { role: None, parts: system });
    Ok(Said { system, contents })
}

/// Texts that say something; empty ones are refused.
fn texts<'r>(blocks: &'r [Block<'_>]) -> impl Iterator<Item = &'r str> {
    blocks.iter().filter_map(|block| match &block.content {
        Content::Text(text) if !text.is_empty() => Some(text.as_ref()),
        _ => None,
    })
}

/// A conversation while it is written.
struct Conversation<'r> {
    able: Abilities,
    host: Host,
    /// The function of each call so far.
    names: HashMap<&'r str, &'r str>,
}

impl<'r> Conversation<'r> {
    /// The turns, neighbours of the same role in one.
    fn contents(mut self, request: &'r ChatRequest<'_>) -> Result<Vec<WireContent<'r>>, Failure> {
        let mut contents: Vec<WireContent<'r>> = Vec::with_capacity(request.turns.len());
        for turn in &request.turns {
            let (role, mut parts) = match turn.role {
                Role::User => (USER, self.of_user(&turn.blocks)?),
                Role::Assistant => (MODEL, self.of_model(&turn.blocks)?),
            };
            match contents.last_mut() {
                Some(last) if last.role == Some(role) => last.parts.append(&mut parts),
                _ if parts.is_empty() => {}
                _ => contents.push(WireContent { role: Some(role), parts }),
            }
        }
        order_results(&mut contents);
        if self.able.signs_calls {
            sign_calls(&mut contents);
        }
        Ok(contents)
    }

    fn of_user(&mut self, blocks: &'r [Block<'_>]) -> Result<Vec<Part<'r>>, Failure> {
        let mut parts = Vec::with_capacity(blocks.len());
        for block in blocks {
            match &block.content {
                Content::Text(said) if !said.is_empty() => parts.push(text(said.as_ref())),
                Content::ToolResult(result) => parts.append(&mut self.result(result)?),
                other => parts.extend(media(other, self.host)?.map(|media| part(Body::Media(media)))),
            }
        }
        Ok(parts)
    }

    fn of_model(&mut self, blocks: &'r [Block<'_>]) -> Result<Vec<Part<'r>>, Failure> {
        let mut parts = Vec::with_capacity(blocks.len());
        // A signature without a thought is that of the text.
        let mut of_text = None;
        for block in blocks {
            match &block.content {
                Content::Text(said) if !said.is_empty() => parts.push(text(said.as_ref())),
                Content::ToolCall(call) => parts.push(self.call(call)?),
                Content::Thinking { text: thought, signature: Some(signature) } => match signature.by(Issuer::Google) {
                    Some(value) if thought.is_empty() => of_text = Some(value.as_ref()),
                    Some(value) => {
                        parts.push(Part { thought: true, thought_signature: Some(value), ..text(thought.as_ref()) });
                    }
                    None => {}
                },
                Content::RedactedThinking(signature) => {
                    of_text = signature.by(Issuer::Google).map(AsRef::as_ref).or(of_text);
                }
                other => parts.extend(media(other, self.host)?.map(|media| part(Body::Media(media)))),
            }
        }
        let last = parts.iter_mut().rfind(|part| matches!(part.body, Body::Text(_)) && !part.thought);
        if let Some(last) = last {
            last.thought_signature = of_text;
        }
        Ok(parts)
    }

    fn call(&mut self, call: &'r ToolCall<'_>) -> Result<Part<'r>, Failure> {
        if !self.able.tools {
            return Err(untranslatable("this channel's model has no tools").at("messages"));
        }
        self.names.insert(&call.id, &call.name);
        let body = Body::FunctionCall(FunctionCall {
            id: self.able.call_ids.then_some(&call.id),
            name: &call.name,
            args: arguments_object(&call.arguments),
            call_id: &call.id,
        });
        let signature = call.signature.as_ref().and_then(|signature| signature.by(Issuer::Google));
        Ok(Part { thought_signature: signature.map(AsRef::as_ref), ..part(body) })
    }

    /// A result, and behind it whatever cannot stand inside of it.
    fn result(&self, result: &'r ToolResult<'_>) -> Result<Vec<Part<'r>>, Failure> {
        let name = self.names.get(result.call_id.as_ref()).copied().or(result.name.as_deref());
        let Some(name) = name else {
            let message = "a tool message has a \"tool_call_id\" that no message before it has given out";
            return Err(untranslatable(message).at("messages"));
        };
        let mut inside = Vec::new();
        let mut behind = Vec::new();
        for block in &result.parts {
            match media(&block.content, self.host)? {
                Some(media) if self.able.media_in_results && media.fits_a_result() => inside.push(media),
                Some(media) => behind.push(part(Body::Media(media))),
                None => {}
            }
        }
        let said: Vec<&str> = texts(&result.parts).collect();
        let said = match said.as_slice() {
            [] if !behind.is_empty() => Cow::Borrowed("See the attached file."),
            [one] => Cow::Borrowed(*one),
            several => Cow::Owned(several.join("\n")),
        };
        let response = match said {
            said if result.is_error => raw(&json!({ "error": said })),
            said if said.is_empty() && !inside.is_empty() => raw(&json!({})),
            Cow::Borrowed(said) => object(said).unwrap_or_else(|| raw(&json!({ "result": said }))),
            said => raw(&json!({ "result": said })),
        };
        let id = self.able.call_ids.then_some(result.call_id.as_ref());
        let body =
            Body::FunctionResponse(FunctionResponse { id, name, response, parts: inside, call_id: &result.call_id });
        Ok(std::iter::once(part(body)).chain(behind).collect())
    }
}

fn object(json: &str) -> Option<Json<'_>> {
    let value: &RawValue = serde_json::from_str(json).ok()?;
    value.get().starts_with('{').then_some(Cow::Borrowed(value))
}

/// Results come first, in the order of their calls.
fn order_results(contents: &mut [WireContent<'_>]) {
    let mut calls: HashMap<&str, usize> = HashMap::new();
    for content in contents {
        if content.role == Some(MODEL) {
            calls = content
                .parts
                .iter()
                .enumerate()
                .filter_map(|(place, part)| match &part.body {
                    Body::FunctionCall(call) => Some((call.call_id, place)),
                    _ => None,
                })
                .collect();
        } else {
            content.parts.sort_by_key(|part| match &part.body {
                Body::FunctionResponse(result) => (false, calls.get(result.call_id).copied()),
                _ => (true, None),
            });
        }
    }
}

/// The first call of each step since the user last spoke has to be signed; one that another
/// provider's model made says that it is not.
fn sign_calls(contents: &mut [WireContent<'_>]) {
    let is_result = |part: &Part<'_>| matches!(part.body, Body::FunctionResponse(_));
    let spoken =
        contents.iter().rposition(|content| content.role == Some(USER) && !content.parts.iter().any(is_result));
    for content in contents.iter_mut().skip(spoken.unwrap_or(0)) {
        let first = content.parts.iter_mut().find(|part| matches!(part.body, Body::FunctionCall(_)));
        if let Some(first) = first {
            first.thought_signature.get_or_insert(NO_SIGNATURE);
        }
    }
}

//! Writes the conversation of version 2.

use std::borrow::Cow;

use serde::Serialize;

use crate::canon::{Block, ChatRequest, Content, Failure, Role, Source, ToolResult};
use crate::dialect::json::{arguments_object, untranslatable};

/// One message.
#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(super) enum Message<'r> {
    System {
        content: Said<'r>,
    },
    User {
        content: Said<'r>,
    },
    Assistant {
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<Said<'r>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tool_plan: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<WireCall<'r>>,
    },
    Tool {
        tool_call_id: &'r str,
        content: Said<'r>,
    },
}

/// `content`: most often one text.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Said<'r> {
    Text(Cow<'r, str>),
    Parts(Vec<Part<'r>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'r> {
    Text { text: Cow<'r, str> },
    Thinking { thinking: &'r str },
    ImageUrl { image_url: ImageUrl<'r> },
}

#[derive(Serialize)]
pub(super) struct ImageUrl<'r> {
    url: Cow<'r, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'r str>,
}

#[derive(Serialize)]
pub(super) struct WireCall<'r> {
    id: &'r str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: WireFunction<'r>,
}

#[derive(Serialize)]
struct WireFunction<'r> {
    name: &'r str,
    arguments: Cow<'r, str>,
}

/// What is said, where anything is.
fn said(mut parts: Vec<Part<'_>>) -> Option<Said<'_>> {
    match parts.pop() {
        None => None,
        Some(Part::Text { text }) if parts.is_empty() => Some(Said::Text(text)),
        Some(last) => {
            parts.push(last);
            Some(Said::Parts(parts))
        }
    }
}

/// The conversation. `instruction` is one more sentence for the system; a model that `thinks` is
/// shown its thoughts of earlier turns.
///
/// # Errors
///
/// `Untranslatable` for what only other formats have.
pub(super) fn messages<'r>(
    request: &'r ChatRequest<'_>,
    instruction: Option<String>,
    thinks: bool,
) -> Result<Vec<Message<'r>>, Failure> {
    let mut messages = Vec::with_capacity(request.turns.len() + 1);
    let mut system: Vec<_> = request.system.iter().filter_map(text).map(text_part).collect();
    system.extend(instruction.map(|text| Part::Text { text: Cow::Owned(text) }));
    messages.extend(said(system).map(|content| Message::System { content }));
    for turn in &request.turns {
        match turn.role {
            Role::User => user(&turn.blocks, &mut messages)?,
            Role::Assistant => messages.extend(assistant(&turn.blocks, thinks)?),
        }
    }
    Ok(messages)
}

fn text<'r>(block: &'r Block<'_>) -> Option<&'r str> {
    match &block.content {
        Content::Text(text) if !text.trim().is_empty() => Some(text),
        _ => None,
    }
}

fn text_part(text: &str) -> Part<'_> {
    Part::Text { text: Cow::Borrowed(text) }
}

/// What the user says, and in its place among that the results of tools, each a message of its own.
fn user<'r>(blocks: &'r [Block<'_>], messages: &mut Vec<Message<'r>>) -> Result<(), Failure> {
    let mut parts = Vec::with_capacity(blocks.len());
    for block in blocks {
        match &block.content {
            Content::Text(_) => parts.extend(text(block).map(text_part)),
            Content::Image { source, detail } => parts.push(image(source, detail.as_deref())?),
            Content::File { source: source @ Source::Base64 { media_type, .. }, .. }
                if media_type.starts_with("image/") =>
            {
                parts.push(image(source, None)?);
            }
            Content::ToolResult(result) => {
                messages.extend(said(std::mem::take(&mut parts)).map(|content| Message::User { content }));
                messages.push(tool_result(result)?);
            }
            Content::Audio { .. } => return Err(untranslatable("this channel takes no audio")),
            Content::File { .. } => return Err(untranslatable("this channel takes no files; send their text")),
            Content::ToolCall(_) | Content::Thinking { .. } | Content::RedactedThinking(_) => {}
        }
    }
    messages.extend(said(parts).map(|content| Message::User { content }));
    Ok(())
}

fn image<'r>(source: &'r Source<'_>, detail: Option<&'r str>) -> Result<Part<'r>, Failure> {
    let url = match source {
        Source::Url(url) => Cow::Borrowed(url.as_ref()),
        Source::Base64 { media_type, data } => Cow::Owned(format!("data:{media_type};base64,{data}")),
        Source::FileId(_) => return Err(untranslatable("this channel takes images by address or by bytes")),
    };
    let detail = detail.filter(|detail| matches!(*detail, "auto" | "low" | "high"));
    Ok(Part::ImageUrl { image_url: ImageUrl { url, detail } })
}

fn tool_result<'r>(result: &'r ToolResult<'_>) -> Result<Message<'r>, Failure> {
    let texts = result.parts.iter().map(|part| match &part.content {
        Content::Text(text) => Ok(text_part(text)),
        _ => Err(untranslatable("this channel takes results of tools as text only")),
    });
    let content = said(texts.collect::<Result<_, _>>()?).unwrap_or(Said::Text(Cow::Borrowed("")));
    Ok(Message::Tool { tool_call_id: &result.call_id, content })
}

/// What the model said. Beside calls there is room for its plan only, which then is all it said.
fn assistant<'r>(blocks: &'r [Block<'_>], thinks: bool) -> Result<Option<Message<'r>>, Failure> {
    let mut parts = Vec::with_capacity(blocks.len());
    let mut tool_calls = Vec::new();
    for block in blocks {
        match &block.content {
            Content::Text(_) => parts.extend(text(block).map(text_part)),
            Content::Thinking { text, .. } if !text.is_empty() => parts.push(Part::Thinking { thinking: text }),
            Content::ToolCall(call) => {
                let arguments = match arguments_object(&call.arguments) {
                    Cow::Borrowed(object) => Cow::Borrowed(object.get()),
                    Cow::Owned(object) => Cow::Owned(object.get().to_owned()),
                };
                let function = WireFunction { name: &call.name, arguments };
                tool_calls.push(WireCall { id: &call.id, kind: "function", function });
            }
            Content::Thinking { .. } | Content::RedactedThinking(_) | Content::ToolResult(_) => {}
            Content::Image { .. } | Content::Audio { .. } | Content::File { .. } => {
                return Err(untranslatable("this channel takes only text of the assistant"));
            }
        }
    }
    if tool_calls.is_empty() {
        parts.retain(|part| thinks || !matches!(part, Part::Thinking { .. }));
        let content = said(parts);
        return Ok(content.map(|content| Message::Assistant { content: Some(content), tool_plan: None, tool_calls }));
    }
    let plan: Vec<&str> = parts.iter().filter_map(plan).collect();
    let tool_plan = (!plan.is_empty()).then(|| plan.join("\n"));
    Ok(Some(Message::Assistant { content: None, tool_plan, tool_calls }))
}

fn plan<'p>(part: &'p Part<'_>) -> Option<&'p str> {
    match part {
        Part::Text { text } => Some(text),
        Part::Thinking { thinking } => Some(thinking),
        Part::ImageUrl { .. } => None,
    }
}

//! Writes what is said: system text and messages with their blocks.

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Serialize;

use crate::canon::{Block, ChatRequest, Content, Failure, Issuer, Json, Role, Source, ToolResult};
use crate::dialect::json::{arguments_object, untranslatable};

use super::request::cache;

/// `cache_control`.
#[derive(Serialize)]
pub(super) struct WireCache<'r> {
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<&'r str>,
}

/// One message.
#[derive(Serialize)]
pub(super) struct Message<'r> {
    role: &'static str,
    content: Vec<WireBlock<'r>>,
}

/// A block with its `cache_control`.
#[derive(Serialize)]
pub(super) struct WireBlock<'r> {
    #[serde(flatten)]
    body: Body<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<WireCache<'r>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Body<'r> {
    Text {
        text: Cow<'r, str>,
    },
    Image {
        source: WireSource<'r>,
    },
    Document {
        source: WireSource<'r>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'r str>,
    },
    ToolUse {
        id: Cow<'r, str>,
        name: &'r str,
        input: Json<'r>,
    },
    ToolResult {
        tool_use_id: Cow<'r, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<WireBlock<'r>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    Thinking {
        thinking: &'r str,
        signature: &'r str,
    },
    RedactedThinking {
        data: &'r str,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum WireSource<'r> {
    Base64 { media_type: &'r str, data: &'r str },
    Text { media_type: &'static str, data: String },
    Url { url: &'r str },
    File { file_id: &'r str },
}

fn plain(body: Body<'_>) -> WireBlock<'_> {
    WireBlock { body, cache_control: None }
}

fn plain_text<'r>(text: impl Into<Cow<'r, str>>) -> WireBlock<'r> {
    plain(Body::Text { text: text.into() })
}

/// What the system and the developer say; where nobody says anything else, it is the conversation.
pub(super) fn system<'r>(request: &'r ChatRequest<'_>, instruction: Option<&'static str>) -> Vec<WireBlock<'r>> {
    let said = if request.turns.is_empty() { Vec::new() } else { texts(&request.system) };
    said.into_iter().chain(instruction.map(plain_text)).collect()
}

fn texts<'r>(blocks: &'r [Block<'_>]) -> Vec<WireBlock<'r>> {
    let text = |block: &'r Block<'_>| match &block.content {
        Content::Text(text) if !is_blank(text) => Some(WireBlock {
            body: Body::Text { text: Cow::Borrowed(text) },
            cache_control: cache(block.cache.as_ref()),
        }),
        _ => None,
    };
    blocks.iter().filter_map(text).collect()
}

/// Blank text is refused.
fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// The conversation, with neighbours of the same role in one message.
pub(super) fn messages<'r>(request: &'r ChatRequest<'_>) -> Result<Vec<Message<'r>>, Failure> {
    let mut messages: Vec<Message<'r>> = Vec::with_capacity(request.turns.len());
    for turn in &request.turns {
        let role = match turn.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let mut content = Vec::with_capacity(turn.blocks.len());
        for block in &turn.blocks {
            content.extend(wire_block(block)?);
        }
        match messages.last_mut() {
            Some(last) if last.role == role => last.content.append(&mut content),
            _ if content.is_empty() => {}
            _ => messages.push(Message { role, content }),
        }
    }
    for message in messages.iter_mut().filter(|message| message.role == "user") {
        // Results have to come before whatever else the user says.
        message.content.sort_by_key(|block| !matches!(block.body, Body::ToolResult { .. }));
    }
    if request.turns.is_empty() {
        messages.push(Message { role: "user", content: texts(&request.system) });
    } else if messages.first().is_none_or(|first| first.role == "assistant") {
        // A conversation has to begin with the user.
        messages.insert(0, Message { role: "user", content: vec![plain_text(".")] });
    }
    // An answer that the model is to go on with must not end in white space.
    if let Some(Message { role: "assistant", content }) = messages.last_mut()
        && let Some(Body::Text { text }) = content.last_mut().map(|block| &mut block.body)
    {
        *text = Cow::Owned(text.trim_end().to_owned());
    }
    Ok(messages)
}

fn wire_block<'r>(block: &'r Block<'_>) -> Result<Option<WireBlock<'r>>, Failure> {
    let body = match &block.content {
        Content::Text(text) if is_blank(text) => return Ok(None),
        Content::Text(text) => Body::Text { text: Cow::Borrowed(text) },
        Content::Image { source, .. } => Body::Image { source: wire_source(source) },
        Content::File { source, name } => document(source, name.as_deref())?,
        Content::Audio { .. } => return Err(untranslatable("this channel takes no audio")),
        Content::ToolCall(call) => {
            Body::ToolUse { id: accepted_id(&call.id), name: &call.name, input: arguments_object(&call.arguments) }
        }
        Content::ToolResult(result) => tool_result(result)?,
        Content::Thinking { .. } | Content::RedactedThinking(_) => match thought(&block.content) {
            Some(thought) => thought,
            // Without its proof, or with somebody else's, a thought is refused.
            None => return Ok(None),
        },
    };
    Ok(Some(WireBlock { body, cache_control: cache(block.cache.as_ref()) }))
}

/// A thought that Anthropic has signed.
pub(super) fn thought<'r>(content: &'r Content<'_>) -> Option<Body<'r>> {
    match content {
        Content::Thinking { text, signature: Some(signature) } => {
            Some(Body::Thinking { thinking: text, signature: signature.by(Issuer::Anthropic)? })
        }
        Content::RedactedThinking(signature) => Some(Body::RedactedThinking { data: signature.by(Issuer::Anthropic)? }),
        _ => None,
    }
}

fn wire_source<'r>(source: &'r Source<'_>) -> WireSource<'r> {
    match source {
        Source::Base64 { media_type, data } => WireSource::Base64 { media_type, data },
        Source::Url(url) => WireSource::Url { url },
        Source::FileId(file_id) => WireSource::File { file_id },
    }
}

fn document<'r>(source: &'r Source<'_>, title: Option<&'r str>) -> Result<Body<'r>, Failure> {
    let source = match source {
        Source::Base64 { media_type, .. } if media_type.starts_with("image/") => {
            return Ok(Body::Image { source: wire_source(source) });
        }
        Source::Base64 { media_type, data } if media_type.starts_with("text/") => {
            let text = BASE64_STANDARD.decode(data.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.ok_or_else(|| untranslatable("a text file is not UTF-8 in base64"))?;
            WireSource::Text { media_type: "text/plain", data: text }
        }
        other => wire_source(other),
    };
    Ok(Body::Document { source, title })
}

fn tool_result<'r>(result: &'r ToolResult<'_>) -> Result<Body<'r>, Failure> {
    let mut content = Vec::with_capacity(result.parts.len());
    for part in &result.parts {
        content.extend(wire_block(part)?);
    }
    Ok(Body::ToolResult { tool_use_id: accepted_id(&result.call_id), content, is_error: result.is_error })
}

/// Ids of other providers may have characters that are refused here.
fn accepted_id(id: &str) -> Cow<'_, str> {
    let is_accepted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if id.chars().all(is_accepted) {
        Cow::Borrowed(id)
    } else {
        Cow::Owned(id.chars().map(|c| if is_accepted(c) { c } else { '_' }).collect())
    }
}

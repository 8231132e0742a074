//! Writes the conversation of version 1.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::canon::{Block, Content, Failure, Json, Role, ToolCall, ToolResult, Turn};
use crate::dialect::json::{arguments_object, raw, untranslatable};

/// What was said at a time.
#[derive(Serialize)]
#[serde(tag = "role", rename_all = "UPPERCASE")]
pub(super) enum Entry<'r> {
    User {
        message: Cow<'r, str>,
    },
    Chatbot {
        message: Cow<'r, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<WireCall<'r>>,
    },
    Tool {
        tool_results: Vec<WireResult<'r>>,
    },
}

#[derive(Serialize)]
pub(super) struct WireCall<'r> {
    name: &'r str,
    parameters: Json<'r>,
}

/// A result repeats its call, because calls have no ids.
#[derive(Serialize)]
pub(super) struct WireResult<'r> {
    call: WireCall<'r>,
    outputs: Vec<Json<'r>>,
    /// The call's place among all. Of calls that are alike, the order tells whose result it is.
    #[serde(skip)]
    place: usize,
}

/// The conversation in its order; results that answer together stand together.
///
/// # Errors
///
/// `Untranslatable` for everything but text, and for a result without its call.
pub(super) fn history<'r>(turns: &'r [Turn<'_>]) -> Result<Vec<Entry<'r>>, Failure> {
    let mut entries = Vec::with_capacity(turns.len());
    // Of calls with the same id, the result is the latest one's.
    let mut calls = HashMap::new();
    for turn in turns {
        let mut said = Vec::new();
        let mut tool_calls = Vec::new();
        for block in &turn.blocks {
            match &block.content {
                Content::ToolCall(made) => {
                    calls.insert(made.id.as_ref(), (calls.len(), made));
                    tool_calls.push(call(made));
                }
                Content::ToolResult(result) => {
                    entries.extend(user(std::mem::take(&mut said)));
                    let result = tool_result(result, &calls)?;
                    match entries.last_mut() {
                        Some(Entry::Tool { tool_results }) => {
                            tool_results.push(result);
                            tool_results.sort_by_key(|result| result.place);
                        }
                        _ => entries.push(Entry::Tool { tool_results: vec![result] }),
                    }
                }
                // What the model planned belongs to its calls.
                Content::Thinking { text, .. } if !text.is_empty() && is_calling(turn) => said.push(text.as_ref()),
                _ => said.extend(text(block)?),
            }
        }
        match turn.role {
            Role::User => entries.extend(user(said)),
            Role::Assistant if said.is_empty() && tool_calls.is_empty() => {}
            Role::Assistant => entries.push(Entry::Chatbot { message: joined(said), tool_calls }),
        }
    }
    Ok(entries)
}

/// The texts of blocks that have nothing else.
///
/// # Errors
///
/// `Untranslatable` when they have something else.
pub(super) fn texts<'r>(blocks: &'r [Block<'_>]) -> Result<Vec<&'r str>, Failure> {
    blocks.iter().filter_map(|block| text(block).transpose()).collect()
}

fn text<'r>(block: &'r Block<'_>) -> Result<Option<&'r str>, Failure> {
    match &block.content {
        Content::Text(text) => Ok(Some(text.as_ref()).filter(|text| !text.trim().is_empty())),
        Content::Image { .. } | Content::Audio { .. } | Content::File { .. } => {
            Err(untranslatable("this channel takes text only"))
        }
        Content::Thinking { .. } | Content::RedactedThinking(_) | Content::ToolCall(_) | Content::ToolResult(_) => {
            Ok(None)
        }
    }
}

fn is_calling(turn: &Turn<'_>) -> bool {
    turn.blocks.iter().any(|block| matches!(block.content, Content::ToolCall(_)))
}

fn user(said: Vec<&str>) -> Option<Entry<'_>> {
    (!said.is_empty()).then(|| Entry::User { message: joined(said) })
}

fn joined(said: Vec<&str>) -> Cow<'_, str> {
    match said.as_slice() {
        [one] => Cow::Borrowed(one),
        several => Cow::Owned(several.join("\n")),
    }
}

fn call<'r>(call: &'r ToolCall<'_>) -> WireCall<'r> {
    WireCall { name: &call.name, parameters: arguments_object(&call.arguments) }
}

fn tool_result<'r>(
    result: &'r ToolResult<'_>,
    calls: &HashMap<&'r str, (usize, &'r ToolCall<'_>)>,
) -> Result<WireResult<'r>, Failure> {
    let Some(&(place, made)) = calls.get(result.call_id.as_ref()) else {
        let message = "a tool message answers a call that the conversation does not have; send the call as well";
        return Err(untranslatable(message).at("messages"));
    };
    let mut outputs: Vec<_> =
        texts(&result.parts)?.into_iter().flat_map(|text| objects(text, result.is_error)).collect();
    if outputs.is_empty() {
        outputs = objects("", result.is_error);
    }
    Ok(WireResult { call: call(made), outputs, place })
}

/// A tool's text as objects: those that it is, or one around it.
fn objects(text: &str, is_error: bool) -> Vec<Json<'_>> {
    let is_object = |json: &&RawValue| json.get().starts_with('{');
    match serde_json::from_str::<&RawValue>(text) {
        Ok(object) if is_object(&object) => return vec![Cow::Borrowed(object)],
        Ok(list) if list.get().starts_with('[') => {
            let objects: Vec<&RawValue> = serde_json::from_str(list.get()).unwrap_or_default();
            if !objects.is_empty() && objects.iter().all(is_object) {
                return objects.into_iter().map(Cow::Borrowed).collect();
            }
        }
        _ => {}
    }
    let name = if is_error { "error" } else { "output" };
    vec![raw(&serde_json::Map::from_iter([(name.to_owned(), text.into())]))]
}

//! Which functions the model may call; alike in both versions.

use std::collections::HashSet;

use crate::canon::{ChatRequest, Failure, Function, Tool, ToolChoice};
use crate::dialect::json::untranslatable;

/// The functions that the model may call. The format cannot name one of them: one that must be called
/// is the only one there is.
///
/// # Errors
///
/// `Untranslatable` for tools of other providers.
pub(super) fn functions<'r, 'a>(request: &'r ChatRequest<'a>) -> Result<Vec<&'r Function<'a>>, Failure> {
    let mut functions = Vec::with_capacity(request.tools.len());
    for tool in &request.tools {
        match tool {
            Tool::Function(function) => functions.push(function),
            Tool::Native(_) => return Err(untranslatable("this channel has functions only").at("tools")),
        }
    }
    match &request.tool_choice {
        Some(ToolChoice::Function(name)) => functions.retain(|function| function.name == *name),
        Some(ToolChoice::Allowed { names, .. }) => {
            let names: HashSet<&str> = names.iter().map(AsRef::as_ref).collect();
            functions.retain(|function| names.contains(function.name.as_ref()));
        }
        _ => {}
    }
    Ok(functions)
}

//! The fields that the gateway itself understands. Each is text and is sent once: of two, some
//! upstreams would take the one and some the other.

use crate::canon::Failure;

use super::{Form, Part, wrong};

/// A model's name is at most so long, in bytes.
const MAX_MODEL_BYTES: usize = 512;

/// A field that the gateway reads.
#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    max_bytes: usize,
}

const FIELDS: [Field; 4] = [
    Field { name: "model", max_bytes: MAX_MODEL_BYTES },
    Field { name: "stream", max_bytes: 16 },
    Field { name: "response_format", max_bytes: 256 },
    Field { name: "prompt", max_bytes: 1024 * 1024 },
];

/// Whether one more part may be in the form, as far as its header tells.
///
/// # Errors
///
/// It is a field that the gateway reads, and is there already, or is a file.
pub(super) fn admit(form: &Form, name: &str, is_file: bool) -> Result<(), Failure> {
    let Some(field) = FIELDS.iter().find(|field| field.name.eq_ignore_ascii_case(name)) else { return Ok(()) };
    let message = if field.name != name {
        format!("a field of the form is {:?}, but in other letters; write it like this", field.name)
    } else if is_file {
        format!("{:?} is sent as a file; send it as text, without a file name", field.name)
    } else if form.parts.iter().any(|part| part.name == name) {
        format!("the form has {:?} twice; send it once", field.name)
    } else {
        return Ok(());
    };
    Err(wrong(message).at(field.name))
}

/// Whether a content may have come to this length, in bytes.
///
/// # Errors
///
/// It may not.
pub(super) fn check_length(name: &str, length: usize) -> Result<(), Failure> {
    match FIELDS.iter().find(|field| field.name == name && length > field.max_bytes) {
        None => Ok(()),
        Some(field) => {
            let message = format!("{:?} is too long; it may have {} bytes", field.name, field.max_bytes);
            Err(wrong(message).at(field.name))
        }
    }
}

/// Whether a whole field says what it may.
///
/// # Errors
///
/// `model` names nothing, or `stream` is neither true nor false.
pub(super) fn check(part: &Part) -> Result<(), Failure> {
    let value = || part.content.concat();
    match part.name.as_str() {
        "model" if std::str::from_utf8(&value()).is_ok_and(|model| !model.is_empty()) => Ok(()),
        "model" => Err(wrong("\"model\" must be the name of a model, in UTF-8").at("model")),
        "stream" if truth(&value()).is_none() => Err(wrong("\"stream\" must be true or false").at("stream")),
        _ => Ok(()),
    }
}

/// A truth value, in the ways in which clients write it. Nothing is what a browser's form sends for
/// what was not chosen.
pub(super) fn truth(value: &[u8]) -> Option<bool> {
    match value.to_ascii_lowercase().as_slice() {
        b"true" | b"1" => Some(true),
        b"false" | b"0" | b"" => Some(false),
        _ => None,
    }
}

//! Forms: `multipart/form-data`, the way in which OpenAI's audio and image endpoints take files.
//!
//! ```ignore
//! let mut scanner = Scanner::new(boundary_of(content_type)?);
//! scanner.push(&piece)?; // as the pieces come in
//! let form = scanner.finish()?;
//! let model = form.text("model");
//! let segments = form.write(boundary, ("model", "whisper-1")); // for each upstream anew
//! ```
//!
//! Contents are kept once, in blocks; what goes to an upstream refers to them. A form is written with
//! a boundary of ours, so that an upstream that reads more leniently still sees the same parts as we.
//! For the same reason the scanner refuses what readers of forms disagree about.
//!
//! Sources: RFC 7578 (`multipart/form-data`), RFC 2046 section 5.1 (boundaries); the WHATWG HTML
//! standard, "Multipart form data", for how browsers quote names. What the fields mean: OpenAI's API
//! reference, "Create transcription", "Create translation", "Create image edit" and "Create image
//! variation".

mod blocks;
mod boundary;
mod fields;
mod parameters;
mod part_header;
mod scanner;
#[cfg(test)]
mod tests;
mod write;

use std::borrow::Cow;

use bytes::Bytes;

use crate::canon::{Failure, FailureKind};

pub use boundary::boundary_of;
pub use scanner::Scanner;
pub use write::content_type;

/// A form as the client sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    parts: Vec<Part>,
}

/// One field of a form.
#[derive(Clone, Debug)]
struct Part {
    name: String,
    /// Whether it has a file name; otherwise it is text.
    is_file: bool,
    /// The lines of its header as the client wrote them, each with its end.
    header: Bytes,
    /// Its content, in as many slices as it lies in blocks.
    content: Vec<Bytes>,
}

impl Form {
    /// The text of a field, whether or not it is UTF-8: what is not is replaced. `None` where there is
    /// no such field, or only a file of this name.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let part = self.parts.iter().find(|part| part.name == name && !part.is_file)?;
        Some(match part.content.as_slice() {
            [] => Cow::Borrowed(""),
            [whole] => String::from_utf8_lossy(whole),
            slices => Cow::Owned(String::from_utf8_lossy(&slices.concat()).into_owned()),
        })
    }

    /// Whether it asks for a streamed answer.
    pub fn stream(&self) -> bool {
        self.text("stream").is_some_and(|text| fields::truth(text.as_bytes()) == Some(true))
    }

    /// Whether there is a file of this name, alone or in a list of files (`name[]`, `name[0]`).
    pub fn has_file(&self, name: &str) -> bool {
        self.files(name).next().is_some()
    }

    /// What is in the files of this name, in their order; each in as many slices as it lies in blocks.
    pub fn files(&self, name: &str) -> impl Iterator<Item = &[Bytes]> {
        let is_named =
            move |part: &&Part| part.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || is_index(rest));
        self.parts.iter().filter(|part| part.is_file).filter(is_named).map(|part| part.content.as_slice())
    }
}

impl PartialEq for Part {
    /// Contents are the same wherever they are cut.
    fn eq(&self, other: &Self) -> bool {
        let bytes = |part: &Self| part.content.concat();
        (&self.name, self.is_file, &self.header) == (&other.name, other.is_file, &other.header)
            && bytes(self) == bytes(other)
    }
}

impl Eq for Part {}

fn is_index(text: &str) -> bool {
    text.starts_with('[') && text.ends_with(']')
}

/// What a client is told of a form that is refused.
fn wrong(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::InvalidRequest, message)
}

/// A form of these fields, for tests; a name with a bang is a file's.
#[cfg(test)]
pub(in crate::dialect) fn form_of(fields: &[(&str, &str)]) -> Form {
    let mut scanner = Scanner::new("b");
    for (name, value) in fields {
        let name = match name.strip_suffix('!') {
            Some(name) => format!("name=\"{name}\"; filename=\"f\""),
            None => format!("name=\"{name}\""),
        };
        let part = format!("--b\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n");
        scanner.push(part.as_bytes()).unwrap();
    }
    scanner.push(b"--b--").unwrap();
    scanner.finish().unwrap()
}

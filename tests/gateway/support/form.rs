//! Forms with files: written as a client does, read as an upstream does.
//!
//! ```ignore
//! let form = Form::new().text("model", "whisper-1").file("file", "a.mp3", b"...");
//! gateway.client().request(form.post("/v1/audio/transcriptions")).await;
//! assert_eq!(parts(&upstream.received()[0])[0].name, "model");
//! ```

use bytes::Bytes;

use super::{KEY, Received, Request};

/// The boundary of every form that a test writes.
pub const BOUNDARY: &str = "----formdata-test-0123456789";

/// A form to be sent.
#[derive(Clone, Debug, Default)]
pub struct Form {
    parts: Vec<u8>,
}

impl Form {
    pub fn new() -> Self {
        Self::default()
    }

    /// One more field of text.
    pub fn text(self, name: &str, value: &str) -> Self {
        self.part(&format!("Content-Disposition: form-data; name=\"{name}\""), value.as_bytes())
    }

    /// One more file.
    pub fn file(self, name: &str, file_name: &str, content: &[u8]) -> Self {
        let disposition = format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"");
        self.part(&format!("{disposition}\r\nContent-Type: application/octet-stream"), content)
    }

    /// One more part with these lines as its header.
    pub fn part(mut self, header: &str, content: &[u8]) -> Self {
        self.parts.extend_from_slice(format!("--{BOUNDARY}\r\n{header}\r\n\r\n").as_bytes());
        self.parts.extend_from_slice(content);
        self.parts.extend_from_slice(b"\r\n");
        self
    }

    /// The body.
    pub fn body(&self) -> Vec<u8> {
        [&self.parts[..], format!("--{BOUNDARY}--\r\n").as_bytes()].concat()
    }

    /// The request of a client with [`KEY`].
    pub fn post(&self, path: &str) -> Request {
        post_form(path, self.body())
    }
}

/// Posts these bytes as a form, with [`KEY`].
pub fn post_form(path: &str, body: impl Into<Bytes>) -> Request {
    Request::post(path).key(KEY).body(&format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

/// One part of a form as an upstream got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    /// Its header, as it was written.
    pub header: String,
    pub content: Bytes,
}

impl Part {
    /// The content as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.content).expect("UTF-8")
    }
}

/// The parts of a form that an upstream got. Fails the test when the form is not well-formed, or has the client's
/// boundary.
pub fn parts(received: &Received) -> Vec<Part> {
    let content_types = received.headers.all("content-type");
    let [content_type] = content_types[..] else { panic!("not one content type: {content_types:?}") };
    let boundary = content_type.strip_prefix("multipart/form-data; boundary=").expect("a form");
    assert_ne!(boundary, BOUNDARY);
    let delimiter = format!("\r\n--{boundary}");
    let body = [b"\r\n", &received.body[..]].concat();
    let mut pieces = split(&body, delimiter.as_bytes()).into_iter();
    assert_eq!(pieces.next(), Some(&b""[..]), "before the first boundary");
    assert_eq!(pieces.next_back(), Some(&b"--\r\n"[..]), "behind the last boundary");
    pieces
        .map(|piece| {
            let piece = piece.strip_prefix(b"\r\n").expect("a line end behind a boundary");
            let end = find(piece, b"\r\n\r\n").expect("the end of a header");
            let header = String::from_utf8(piece[..end].to_vec()).expect("UTF-8 in a header");
            let name =
                header.split("name=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a name").to_owned();
            Part { name, header, content: Bytes::copy_from_slice(&piece[end + 4..]) }
        })
        .collect()
}

/// The text of the only part of this name.
pub fn text_of(parts: &[Part], name: &str) -> String {
    let named: Vec<&Part> = parts.iter().filter(|part| part.name == name).collect();
    let [part] = named[..] else { panic!("{} parts are named {name}", named.len()) };
    part.text().to_owned()
}

fn split<'a>(mut text: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while let Some(at) = find(text, delimiter) {
        pieces.push(&text[..at]);
        text = &text[at + delimiter.len()..];
    }
    pieces.push(text);
    pieces
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, wanted)
}

//! Writing a form for an upstream.

use bytes::Bytes;

use super::Form;

/// The `Content-Type` of a form that is written with this boundary.
pub fn content_type(boundary: &str) -> String {
    format!("multipart/form-data; boundary={boundary}")
}

impl Form {
    /// The bytes of the form, one segment behind the other, contents as they lie in memory. The text
    /// of one field is replaced; where the form does not have it, it comes first. All else is as the
    /// client wrote it, in the same order.
    ///
    /// The boundary has to be one that no content can have: a random one, drawn after the form came in.
    pub fn write(&self, boundary: &str, (name, value): (&str, &str)) -> Vec<Bytes> {
        let mut segments = Segments { boundary, frame: Vec::new(), done: Vec::with_capacity(2 * self.parts.len() + 3) };
        let header = format!("Content-Disposition: form-data; name=\"{name}\"\r\n");
        let value = [Bytes::copy_from_slice(value.as_bytes())];
        let is_replaced = |part_name: &str| part_name == name;
        if !self.parts.iter().any(|part| is_replaced(&part.name)) {
            segments.part(header.as_bytes(), &value);
        }
        for part in &self.parts {
            match is_replaced(&part.name) {
                // Its own header may speak of the text that it had.
                true => segments.part(header.as_bytes(), &value),
                false => segments.part(&part.header, &part.content),
            }
        }
        segments.finish()
    }
}

struct Segments<'a> {
    boundary: &'a str,
    /// What stands between the last content and the next one.
    frame: Vec<u8>,
    done: Vec<Bytes>,
}

impl Segments<'_> {
    fn part(&mut self, header: &[u8], content: &[Bytes]) {
        for text in [b"--", self.boundary.as_bytes(), b"\r\n", header, b"\r\n"] {
            self.frame.extend_from_slice(text);
        }
        self.done.push(std::mem::take(&mut self.frame).into());
        self.done.extend_from_slice(content);
        self.frame.extend_from_slice(b"\r\n");
    }

    fn finish(mut self) -> Vec<Bytes> {
        for text in ["--", self.boundary, "--\r\n"] {
            self.frame.extend_from_slice(text.as_bytes());
        }
        self.done.push(self.frame.into());
        self.done
    }
}

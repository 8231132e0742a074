//! The header of one part.

use crate::canon::Failure;

use super::parameters::{is_token, parameters};
use super::wrong;

/// A part has at most so many header fields.
const MAX_FIELDS: usize = 64;

/// What a header says of its part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Described {
    /// The name of the field.
    pub(super) name: String,
    /// Whether it has a file name.
    pub(super) is_file: bool,
}

/// Reads the lines of a header, each with its end.
///
/// # Errors
///
/// It is malformed, or does not name a field of a form in a way that every reader understands alike.
pub(super) fn read_header(header: &[u8]) -> Result<Described, Failure> {
    let mut described = None;
    for (nth, line) in lines(header).enumerate() {
        if nth >= MAX_FIELDS {
            return Err(wrong(format!("a part of the form has more than {MAX_FIELDS} header fields; send fewer")));
        }
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"content-disposition") {
            if described.replace(disposition(value)?).is_some() {
                return Err(wrong("a part of the form has two Content-Disposition headers; send one"));
            }
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            let is_plain = [&b"binary"[..], b"8bit", b"7bit"].iter().any(|plain| value.eq_ignore_ascii_case(plain));
            if !is_plain {
                return Err(wrong("a part of the form has a Content-Transfer-Encoding; send its content as it is"));
            }
        }
    }
    described.ok_or_else(unnamed)
}

fn lines(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = header;
    std::iter::from_fn(move || {
        let end = memchr::memmem::find(rest, b"\r\n")?;
        let line = rest.get(..end)?;
        rest = rest.get(end + 2..)?;
        Some(line)
    })
}

/// The name and the value of a header field.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Failure> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(wrong("a header of a part of the form is folded; write each header field in one line"));
    }
    let is_clean = line.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
    let colon = line.iter().position(|byte| !is_token(*byte));
    match colon.and_then(|at| line.split_at_checked(at)) {
        Some((name @ [_, ..], [b':', value @ ..])) if is_clean => Ok((name, value.trim_ascii())),
        _ => Err(wrong("a header of a part of the form is malformed; write `Name: value` lines that end with CRLF")),
    }
}

fn disposition(value: &[u8]) -> Result<Described, Failure> {
    let length = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    let (kind, rest) = value.split_at_checked(length).unwrap_or_default();
    if !kind.trim_ascii().eq_ignore_ascii_case(b"form-data") {
        return Err(unnamed());
    }
    let parameters = parameters(rest).ok_or_else(|| {
        wrong("a Content-Disposition in the form is malformed; quote the values, and write %22 for a quote in them")
    })?;
    let has = |wanted: &[u8]| parameters.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let mut names = parameters.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"name"));
    // RFC 2231: `name*` is encoded, `name*0` and the next ones are put together; some prefer them.
    let is_named_again = parameters
        .iter()
        .any(|(name, _)| name.split_at_checked(5).is_some_and(|(it, _)| it.eq_ignore_ascii_case(b"name*")));
    match (names.next(), names.next(), is_named_again) {
        (Some((_, name)), None, false) => {
            Ok(Described { name: field_name(name)?, is_file: has(b"filename") || has(b"filename*") })
        }
        (None, _, false) => Err(unnamed()),
        _ => Err(wrong("a part of the form is named in two ways; give it one name, as name=\"...\"")),
    }
}

fn field_name(name: &[u8]) -> Result<String, Failure> {
    match std::str::from_utf8(name) {
        // What is escaped is read in two ways.
        Ok(name) if !name.is_empty() && !name.contains('\\') => Ok(name.to_owned()),
        _ => Err(wrong("the name of a field of the form is not valid; send one in UTF-8, and without a backslash")),
    }
}

fn unnamed() -> Failure {
    wrong("a part of the form has no name; begin each with Content-Disposition: form-data; name=\"...\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Result<Described, Failure> {
        read_header(header.as_bytes())
    }

    #[test]
    fn names_and_files_are_told_apart() {
        for (header, name, is_file) in [
            ("Content-Disposition: form-data; name=\"model\"\r\n", "model", false),
            ("content-disposition:FORM-DATA ;NAME=model;\r\nX-A: 1\r\n", "model", false),
            ("Content-Disposition: form-data; name=\"file\"; filename=\"\"\r\n", "file", true),
            ("Content-Type: audio/mpeg\r\nContent-Disposition: form-data; filename=a; name=file\r\n", "file", true),
            ("Content-Disposition: form-data; name=\"file\"; filename*=utf-8''%C3%A9\r\n", "file", true),
            (
                "Content-Disposition: form-data; name=\"é [] ;\"\r\nContent-Transfer-Encoding: BINARY\r\n",
                "é [] ;",
                false,
            ),
        ] {
            assert_eq!(read(header).unwrap(), Described { name: name.to_owned(), is_file }, "{header}");
        }
    }

    #[test]
    fn whatever_readers_could_understand_in_two_ways_is_refused() {
        for header in [
            "",
            "Content-Type: text/plain\r\n",
            "Content-Disposition: form-data\r\n",
            "Content-Disposition: form-data; name=\"\"\r\n",
            "Content-Disposition: form-data; name\r\n",
            "Content-Disposition: attachment; name=\"a\"\r\n",
            "Content-Disposition: form-data; name=\"a\"; name=\"b\"\r\n",
            "Content-Disposition: form-data; name=\"a\"; Name=\"a\"\r\n",
            "Content-Disposition: form-data; name=\"a\"; name*=utf-8''model\r\n",
            "Content-Disposition: form-data; name*=utf-8''model\r\n",
            "Content-Disposition: form-data; name=\"a\"; name*0=\"model\"\r\n",
            "Content-Disposition: form-data; name=\"mod\"; NAME*1*=el\r\n",
            "Content-Disposition: form-data; name=\"mo\\del\"\r\n",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"b\"\r\n",
            "Content-Disposition: form-data;\r\n name=\"a\"\r\n",
            "Content-Disposition : form-data; name=\"a\"\r\n",
            "Content-Disposition: form-data; name=\"a\"\nX: 1\r\n",
            "Content-Disposition: form-data; name=\"a\0\"\r\n",
            "Content-Disposition: form-data; name=\"a\"\r\nno colon\r\n",
            "Content-Disposition: form-data; name=\"a\"\r\n: nothing\r\n",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n",
        ] {
            assert!(read(header).is_err(), "{header}");
        }
        assert!(read_header(b"Content-Disposition: form-data; name=\"\xff\"\r\n").is_err());
    }

    #[test]
    fn too_many_header_fields_are_refused() {
        let header =
            |more: usize| "Content-Disposition: form-data; name=\"a\"\r\n".to_owned() + &"X: 1\r\n".repeat(more);
        assert!(read(&header(MAX_FIELDS - 1)).is_ok());
        assert!(read(&header(MAX_FIELDS)).is_err());
    }
}

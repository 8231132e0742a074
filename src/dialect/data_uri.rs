//! Images and documents that stand in a request themselves, as a `data:` URI.

use std::borrow::Cow;

use crate::canon::{Source, Text};

use super::json::part;

/// The bytes of a `data:` URI, or the address. Providers compare the declared type with the bytes
/// and refuse a difference, so the bytes decide where they tell.
pub fn source<'a>(url: Text<'a>, default_type: &str) -> Source<'a> {
    let Some(rest) = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).and(url.get(5..)) else {
        return Source::Url(url);
    };
    let Some(comma) = rest.find(',') else { return Source::Url(url) };
    let declared = rest.get(..comma).unwrap_or_default().split(';').next().unwrap_or_default().to_owned();
    let data = part(&url, 5 + comma + 1);
    let media_type = match sniffed(&data) {
        Some(known) => Cow::Borrowed(known),
        None if declared.is_empty() => Cow::Owned(default_type.to_owned()),
        None => Cow::Owned(declared),
    };
    Source::Base64 { media_type, data }
}

/// The type that the first bytes tell, seen through base64.
pub fn sniffed(base64: &str) -> Option<&'static str> {
    // WebP is a RIFF file, as WAV is; its name stands behind the length.
    const BEGINNINGS: [(usize, &str, &str); 5] = [
        (0, "iVBORw0KGgo", "image/png"),
        (0, "/9j/", "image/jpeg"),
        (0, "R0lGOD", "image/gif"),
        (12, "RUJQ", "image/webp"),
        (0, "JVBERi", "application/pdf"),
    ];
    let is_there = |at: usize, text: &str| base64.get(at..).is_some_and(|rest| rest.starts_with(text));
    BEGINNINGS.iter().find(|(at, beginning, _)| is_there(*at, beginning)).map(|(_, _, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(media_type: &'static str, data: &'static str) -> Source<'static> {
        Source::Base64 { media_type: media_type.into(), data: data.into() }
    }

    #[test]
    fn a_data_uri_is_its_bytes_and_anything_else_an_address() {
        assert_eq!(source("data:image/heic;base64,AAAA".into(), "image/png"), bytes("image/heic", "AAAA"));
        assert_eq!(source("DATA:;base64,AAAA".into(), "image/png"), bytes("image/png", "AAAA"));
        for address in ["https://example.com/cat.png", "data:image/png", "AAAA"] {
            assert_eq!(source(address.into(), "image/png"), Source::Url(address.into()));
        }
    }

    #[test]
    fn the_bytes_tell_their_type_whatever_is_declared() {
        assert_eq!(source("data:image/png;base64,/9j/4AAQ".into(), "image/png"), bytes("image/jpeg", "/9j/4AAQ"));
    }
}

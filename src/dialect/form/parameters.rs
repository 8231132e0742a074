//! What stands behind the value of a header field: `; name=value; name="value"`.
//!
//! Sources: RFC 2045 section 5.1, RFC 2183 section 2.

/// The names and values as they stand there, quotes taken off. `None` for what is not well-formed, or
/// where readers disagree about the end of a value.
pub(super) fn parameters(text: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() {
        rest = rest.strip_prefix(b";")?.trim_ascii_start();
        if rest.is_empty() || rest.starts_with(b";") {
            continue;
        }
        let length = rest.iter().position(|byte| !is_token(*byte))?;
        let (name, behind) = rest.split_at_checked(length)?;
        let (value, behind) = value(behind.strip_prefix(b"=")?)?;
        if name.is_empty() {
            return None;
        }
        found.push((name, value));
        rest = behind.trim_ascii_start();
    }
    Some(found)
}

/// The value at the beginning, and what is behind it.
fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let length = text.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(text.len());
        let (value, behind) = text.split_at_checked(length)?;
        let is_plain = !value.is_empty() && !value.iter().any(|byte| matches!(byte, b'"' | b'\\'));
        return is_plain.then_some((value, behind));
    };
    let (mut is_escaped, mut has_quotes) = (false, false);
    for (at, byte) in quoted.iter().enumerate() {
        match byte {
            b'"' if !is_escaped => return Some((quoted.get(..at)?, quoted.get(at + 1..)?)),
            // Browsers never escape, so for some the value ended there; then this would be a parameter.
            b';' if has_quotes => return None,
            b'"' => has_quotes = true,
            _ => {}
        }
        is_escaped = *byte == b'\\' && !is_escaped;
    }
    None
}

/// Whether a name may contain it.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<Vec<(&str, &str)>> {
        let text_of = |bytes| std::str::from_utf8(bytes).unwrap();
        let found = parameters(text.as_bytes())?;
        Some(found.into_iter().map(|(name, value)| (text_of(name), text_of(value))).collect())
    }

    #[test]
    fn quoted_and_plain_values_are_read() {
        assert_eq!(found(" ; a=1;b=\"x; y=z\" ;C=\"\";").unwrap(), [("a", "1"), ("b", "x; y=z"), ("C", "")]);
        assert_eq!(found("; f=\"C:\\dir\\été.mp3\"").unwrap(), [("f", "C:\\dir\\été.mp3")]);
        assert_eq!(found("; f=\"say \\\"hi\\\".mp3\"; g=1").unwrap(), [("f", "say \\\"hi\\\".mp3"), ("g", "1")]);
        assert_eq!(found("").unwrap(), []);
        assert_eq!(found(" ; ; ").unwrap(), []);
    }

    #[test]
    fn what_is_not_well_formed_is_none() {
        for text in ["a=1", "; a", "; a=", "; =1", "; a =1", "; a= 1", "; a=\"1", "; a=\"1\"b", "; a=1 b", "; a=b\"c"] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn a_value_whose_end_readers_disagree_about_is_none() {
        assert_eq!(found(r#"; filename="a\"; name="model""#), None);
        assert_eq!(found(r#"; filename="a\"; name=\"model""#), None);
        assert_eq!(found(r#"; filename="dir\""#), None);
        assert_eq!(found(r#"; filename="dir\\"; a=1"#).unwrap(), [("filename", r"dir\\"), ("a", "1")]);
    }
}

//! The boundary that a form's content type announces.

use crate::canon::Failure;

use super::parameters::parameters;
use super::wrong;

/// The longest boundary, in bytes (RFC 2046).
const MAX_BOUNDARY_BYTES: usize = 70;

/// The boundary of a form whose `Content-Type` is this.
///
/// # Errors
///
/// It is no form, or has not exactly one boundary as RFC 2046 wants it.
pub fn boundary_of(content_type: &str) -> Result<&str, Failure> {
    let (kind, rest) = content_type.split_at(content_type.find(';').unwrap_or(content_type.len()));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(wrong("the body is not announced as a form; send it as Content-Type: multipart/form-data"));
    }
    let parameters = parameters(rest.as_bytes())
        .ok_or_else(|| wrong("the Content-Type is malformed; send multipart/form-data; boundary=..."))?;
    let mut boundaries = parameters.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"boundary"));
    let boundary = match (boundaries.next(), boundaries.next()) {
        (Some((_, boundary)), None) => boundary,
        (None, _) => {
            let message = "the Content-Type of the form has no boundary; leave it to your HTTP library to set both";
            return Err(wrong(message));
        }
        (Some(_), Some(_)) => return Err(wrong("the Content-Type of the form has two boundaries; send one")),
    };
    let is_valid = (1..=MAX_BOUNDARY_BYTES).contains(&boundary.len())
        && boundary.iter().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte))
        && !boundary.ends_with(b" ");
    match std::str::from_utf8(boundary) {
        Ok(boundary) if is_valid => Ok(boundary),
        _ => Err(wrong("the boundary of the form is not valid; it has 1 to 70 letters, digits or '()+_,-./:=?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_found_quoted_or_not() {
        for (content_type, boundary) in [
            ("multipart/form-data; boundary=abc", "abc"),
            ("Multipart/Form-Data;BOUNDARY=\"a b\"; charset=utf-8", "a b"),
            ("multipart/form-data; charset=\"x;boundary=y\"; boundary=----=_Part_1/2:3;", "----=_Part_1/2:3"),
        ] {
            assert_eq!(boundary_of(content_type).unwrap(), boundary);
        }
        let longest = "x".repeat(70);
        assert_eq!(boundary_of(&format!("multipart/form-data; boundary={longest}")).unwrap(), longest);
    }

    #[test]
    fn anything_but_one_valid_boundary_is_refused() {
        for content_type in [
            "",
            "application/json",
            "multipart/mixed; boundary=a",
            "multipart/form-data",
            "multipart/form-data; boundary",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"\"",
            "multipart/form-data; boundary=\"a \"",
            "multipart/form-data; boundary=\"a",
            "multipart/form-data; boundary=a; boundary=a",
            "multipart/form-data; boundary=a; Boundary=b",
            "multipart/form-data; boundary=é",
            "multipart/form-data; boundary=a\"b",
            &format!("multipart/form-data; boundary={}", "x".repeat(71)),
        ] {
            assert!(boundary_of(content_type).is_err(), "{content_type}");
        }
    }
}

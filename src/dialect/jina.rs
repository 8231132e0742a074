//! What Jina wants said differently from OpenAI when it embeds texts: it refuses every field that it
//! does not know. Its answers are OpenAI's.
//!
//! Source: Jina's API reference, "Embeddings API" (`embedding_type`).

use std::borrow::Cow;

use serde_json::json;

use crate::canon::{Failure, Json, Text};

use super::json::{Fields, append_fields, invalid};

/// The body of a request for this model: the client's own, with the encoding under Jina's name and
/// without its user.
///
/// # Errors
///
/// `InvalidRequest` for what is no JSON object.
pub fn write_request(body: &str, model: &str) -> Result<Vec<u8>, Failure> {
    let Fields(fields) = serde_json::from_str(body).map_err(|_| invalid("the body is no JSON object"))?;
    let names_type = fields.iter().any(|(name, _)| name == "embedding_type");
    let fields = fields.into_iter().filter_map(|(name, value)| match name.as_ref() {
        "model" | "user" => None,
        "encoding_format" if names_type || value.get() == "null" => None,
        "encoding_format" => Some((Cow::Borrowed("embedding_type"), Cow::Borrowed(value))),
        _ => Some((name, Cow::Borrowed(value))),
    });
    let fields: Vec<(Text<'_>, Json<'_>)> = fields.collect();
    let mut body = json!({ "model": model }).to_string().into_bytes();
    append_fields(&mut body, fields.iter());
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(body: &str) -> String {
        String::from_utf8(write_request(body, "jina-embeddings-v4").unwrap()).unwrap()
    }

    #[test]
    fn the_encoding_goes_by_jinas_name() {
        assert_eq!(
            written(r#"{"input": ["a", "b"], "model": "m", "encoding_format": "base64", "user": "u", "task": "x"}"#),
            r#"{"model":"jina-embeddings-v4","input":["a", "b"],"embedding_type":"base64","task":"x"}"#
        );
        assert_eq!(
            written(r#"{"model":"m","input":[{"image":"https://h/a.png"}],"encoding_format":null}"#),
            r#"{"model":"jina-embeddings-v4","input":[{"image":"https://h/a.png"}]}"#
        );
    }

    #[test]
    fn jinas_own_name_of_it_wins() {
        assert_eq!(
            written(r#"{"model":"m","input":"a","encoding_format":"base64","embedding_type":"binary"}"#),
            r#"{"model":"jina-embeddings-v4","input":"a","embedding_type":"binary"}"#
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(write_request("[]", "m").is_err());
    }
}

//! Errors on the wire: what a client is told, and what providers of every format say.

use serde_json::value::RawValue;

use crate::canon::{Failure, FailureKind};

/// The body of a refusal or of an in-band error: OpenAI's error object, and its message once more
/// at the top for older clients of uni-api.
pub fn write_error(failure: &Failure) -> String {
    let public = failure.kind.public();
    serde_json::json!({
        "error": {
            "message": failure.message,
            "type": failure.upstream_type.as_deref().unwrap_or(public.error_type),
            "param": failure.param,
            "code": failure.upstream_code.as_deref().unwrap_or(public.code),
        },
        "message": failure.message,
    })
    .to_string()
}

/// An error object in an answer that claims success.
pub fn error_in_answer(error: &RawValue) -> Failure {
    let said = read_error_value(error.get());
    let message = said.message.unwrap_or_else(|| "the upstream reported an error".to_owned());
    let failure = Failure::new(FailureKind::ErrorInAnswer, message);
    Failure { upstream_code: said.code, upstream_type: said.kind, ..failure }
}

/// What an upstream's error body says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UpstreamError {
    /// Its sentence.
    pub message: Option<String>,
    /// Its `code`.
    pub code: Option<String>,
    /// Its `type`.
    pub kind: Option<String>,
    /// Its `param`.
    pub param: Option<String>,
}

/// Reads an error body in any of the shapes that providers use: `{"error":{"message"}}`,
/// `{"error":"…"}`, `{"message"}`, `{"detail"}`, a list of one of these.
pub fn read_error(body: &[u8]) -> UpstreamError {
    std::str::from_utf8(body).map(read_error_value).unwrap_or_default()
}

fn read_error_value(json: &str) -> UpstreamError {
    use serde_json::Value;
    fn text(value: Option<&Value>) -> Option<String> {
        match value? {
            Value::String(text) => Some(shorten(text)),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
    fn read(value: &Value) -> UpstreamError {
        match value {
            Value::String(message) => UpstreamError { message: Some(shorten(message)), ..Default::default() },
            Value::Array(items) => items.first().map(read).unwrap_or_default(),
            Value::Object(fields) => match fields.get("error") {
                Some(error @ (Value::Object(_) | Value::String(_))) => read(error),
                _ => UpstreamError {
                    message: text(fields.get("message").or_else(|| fields.get("detail")).or_else(|| fields.get("msg"))),
                    code: text(fields.get("code")),
                    kind: text(fields.get("type")),
                    param: text(fields.get("param")),
                },
            },
            _ => UpstreamError::default(),
        }
    }
    serde_json::from_str(json).map(|value| read(&value)).unwrap_or_default()
}

/// At most 1,000 characters: some providers put a whole stack trace into a message.
fn shorten(text: &str) -> String {
    text.chars().take(1000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_error_body_gives_its_message() {
        for body in [
            r#"{"error":{"message":"boom","type":"t","code":"c"}}"#,
            r#"{"error":"boom"}"#,
            r#"{"message":"boom"}"#,
            r#"{"detail":"boom"}"#,
            r#"[{"error":{"message":"boom","code":400}}]"#,
        ] {
            assert_eq!(read_error(body.as_bytes()).message.as_deref(), Some("boom"), "{body}");
        }
        assert_eq!(read_error(b"<html>"), UpstreamError::default());
    }
}

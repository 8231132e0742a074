//! Errors on the wire: what a client is told.

use crate::canon::Failure;

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

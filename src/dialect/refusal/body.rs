//! Reads what an upstream says of an error.

use std::time::Duration;

use serde_json::{Map, Value};

use super::retry_after;

/// Some providers put a whole stack trace into a message.
const MAX_CHARS: usize = 1000;

/// What an error says. The first of several errors counts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ErrorBody {
    /// Its sentence.
    pub message: Option<String>,
    /// Its `code`, unless that is a status.
    pub code: Option<String>,
    /// Its `type`.
    pub error_type: Option<String>,
    /// The field at fault.
    pub param: Option<String>,
    /// Every word that a program is meant to read, in lower case.
    pub marks: Vec<String>,
    /// The HTTP status that it gives itself.
    pub status: Option<u16>,
    /// How long to wait.
    pub delay: Option<Duration>,
    /// When a limit begins anew, in milliseconds since 1970.
    pub reset_unix_ms: Option<u64>,
    /// It is a page for people.
    pub is_page: bool,
}

impl ErrorBody {
    /// Reads a body, or an error object out of one.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut error = Self::default();
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => error.value(&value),
            Err(_) => error.text(std::str::from_utf8(body).unwrap_or_default().trim()),
        }
        let in_message = || error.message.as_deref().and_then(retry_after::in_sentence);
        error.delay = error.delay.or_else(in_message);
        error
    }

    /// A body that is no JSON: a page, half a document, or a line of text from a proxy.
    fn text(&mut self, text: &str) {
        match text.chars().next() {
            Some('<') => self.is_page = true,
            None | Some('{' | '[' | '"') => {}
            Some(_) => self.message = text.lines().next().map(shorten),
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) if !text.trim().is_empty() => _ = self.message.get_or_insert_with(|| shorten(text)),
            Value::Array(items) => items.iter().take(1).for_each(|item| self.value(item)),
            Value::Object(fields) => self.object(fields),
            _ => {}
        }
    }

    fn object(&mut self, fields: &Map<String, Value>) {
        // What stands around an error says nothing more of it.
        let inner = fields.get("error").filter(|error| error.is_object() || error.is_array());
        let all = || fields.get("errors").filter(|errors| errors.is_array() && !fields.contains_key("message"));
        if let Some(inner) = inner.or_else(all) {
            return self.value(inner);
        }
        let code = self.word(fields.get("code"));
        self.code = self.code.take().or(code);
        let error_type = self.word(fields.get("type"));
        self.error_type = self.error_type.take().or(error_type);
        self.word(fields.get("status"));
        self.param = self.param.take().or_else(|| fields.get("param")?.as_str().map(shorten));
        for details in [fields.get("details"), fields.get("innererror"), fields.get("inner_error")] {
            self.details(details);
        }
        if let Some(Value::Object(metadata)) = fields.get("metadata") {
            self.openrouter(metadata);
        }
        for name in ["message", "detail", "msg", "error"] {
            fields.get(name).into_iter().for_each(|message| self.value(message));
        }
        if let Some(Value::Array(place)) = fields.get("loc") {
            self.place(place);
        }
    }

    /// A word for programs; `None` for a number that repeats the status.
    fn word(&mut self, value: Option<&Value>) -> Option<String> {
        let word = match value? {
            Value::String(word) => shorten(word),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        if let Some(status) = word.parse().ok().filter(|status| (100..600).contains(status)) {
            self.status = self.status.or(Some(status));
            return None;
        }
        self.marks.push(word.to_lowercase());
        Some(word)
    }

    /// Google's list of `details` (`google.rpc.RetryInfo`, `ErrorInfo`, `QuotaFailure`), and what
    /// Azure and Anthropic add in an object.
    fn details(&mut self, details: Option<&Value>) {
        let details = match details {
            Some(Value::Array(details)) => details.as_slice(),
            Some(detail) => std::slice::from_ref(detail),
            None => &[],
        };
        for detail in details {
            for name in ["reason", "code", "error_code"] {
                self.word(detail.get(name));
            }
            let delay = detail.get("retryDelay").and_then(Value::as_str).and_then(retry_after::in_units);
            self.delay = self.delay.or(delay);
            let violations = detail.get("violations").and_then(Value::as_array).into_iter().flatten();
            let quotas = violations.filter_map(|violation| violation.get("quotaId"));
            for quota in quotas.chain(detail.pointer("/metadata/quota_limit")).filter_map(Value::as_str) {
                if quota.contains("PerMinute") {
                    self.marks.push("per_minute".to_owned());
                }
            }
        }
    }

    /// What OpenRouter knows of the provider behind it, whose own error counts.
    fn openrouter(&mut self, metadata: &Map<String, Value>) {
        self.word(metadata.get("error_type"));
        if metadata.contains_key("flagged_input") {
            self.marks.push("flagged_input".to_owned());
        }
        let reset = metadata.get("headers").and_then(|headers| headers.get("X-RateLimit-Reset"));
        self.reset_unix_ms = reset.and_then(|reset| reset.as_u64().or_else(|| reset.as_str()?.parse().ok()));
        let inner = match metadata.get("raw") {
            Some(Value::String(raw)) => Self::read(raw.as_bytes()),
            Some(raw) => Self::read(raw.to_string().as_bytes()),
            None => return,
        };
        let provider = metadata.get("provider_name").and_then(Value::as_str).unwrap_or("the provider");
        self.message = inner.message.map(|message| shorten(&format!("{provider}: {message}")));
        self.delay = self.delay.or(inner.delay);
        self.marks.extend(inner.marks);
    }

    /// Where FastAPI finds something wrong: `["body", "messages", 0]`.
    fn place(&mut self, place: &[Value]) {
        let steps = place.iter().filter(|step| **step != "body").map(|step| match step {
            Value::String(name) => name.clone(),
            other => other.to_string(),
        });
        let path = steps.collect::<Vec<_>>().join(".");
        if path.is_empty() {
            return;
        }
        self.message = self.message.take().map(|message| shorten(&format!("{path}: {message}")));
        self.param = self.param.take().or_else(|| Some(shorten(&path)));
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_CHARS).collect()
}

//! A request whose body is JSON: what the gateway has to know of it, and where its model stands.

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::canon::{Failure, Operation};
use crate::dialect::json::{Fields, edited, invalid, json_string, lossy_text, malformed, model_name};

use super::Said;

/// A body with the place of its model.
pub(super) struct JsonBody {
    bytes: Bytes,
    /// The value of `model`; without one, where it can be put in.
    model: Result<Range<usize>, usize>,
}

impl JsonBody {
    /// Reads the body of a request for this operation.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for what is not a JSON object, lacks a required field, or has a field twice
    /// that the gateway reads.
    pub fn parse(bytes: Bytes, operation: Operation) -> Result<Said<Self>, Failure> {
        let row = operation.row();
        let text = simdutf8::basic::from_utf8(&bytes).map_err(|_| invalid("the body is not UTF-8"))?;
        let Fields(fields) = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        let mut read: Vec<(&str, &RawValue)> = Vec::new();
        for (name, value) in &fields {
            let mut known = ["model", "stream", "n"].iter().chain(row.required).chain(row.measured).chain(&row.words);
            let Some(known) = known.find(|known| known.eq_ignore_ascii_case(name)) else { continue };
            if known != name {
                // A server that does not mind the case would take this one.
                return Err(invalid(format!("the name of a field is \"{known}\" in lower case")).at(known));
            }
            if read.iter().any(|(name, _)| name == known) {
                return Err(invalid(format!("\"{known}\" is there twice; send it once")).at(known));
            }
            read.push((known, value));
        }
        let value_of = |field: &str| read.iter().find(|(name, _)| *name == field).map(|(_, value)| *value);
        let (model, stream, choices) = (value_of("model"), value_of("stream"), value_of("n"));
        let is_there = |field: &str| value_of(field).is_some_and(|value| value.get() != "null");
        if let Some(missing) = row.required.iter().find(|field| !is_there(field)) {
            return Err(invalid(format!("the body has no {missing}; add \"{missing}\"")).at(missing));
        }
        let stream = match stream.map(RawValue::get) {
            None | Some("false" | "null") => false,
            Some("true") => true,
            Some(_) => return Err(invalid("\"stream\" must be true or false").at("stream")),
        };
        let choices: usize = choices.and_then(|choices| choices.get().parse().ok()).unwrap_or(1);
        // Each of several prompts is completed so many times.
        let prompts = if operation == Operation::Completions { value_of("prompt").map_or(1, prompts) } else { 1 };
        let choices = choices.saturating_mul(prompts);
        let (model, place) = match model.filter(|model| model.get() != "null") {
            Some(value) => (model_name(value)?, Ok(place(text, value.get()))),
            None => {
                let default = row.default_model.ok_or_else(|| no_model().at("model"))?;
                // Whatever stands there is null and goes.
                let place = model.map(|value| place(text, value.get()));
                (default.into(), place.ok_or_else(|| text.find('{').map_or(0, |brace| brace + 1)))
            }
        };
        Ok(Said { body: Self { model: place, bytes: bytes.clone() }, model, stream, choices })
    }

    /// The body as the client sent it.
    pub fn text(&self) -> &str {
        // Checked when it came in; checking again costs less than a type that remembers.
        simdutf8::basic::from_utf8(&self.bytes).unwrap_or_default()
    }

    /// The body with this model; the client's own bytes when that is what stands there.
    pub fn with_model(&self, model: &str) -> Bytes {
        let name = json_string(model);
        match &self.model {
            Ok(place) if self.text().get(place.clone()) == Some(&name) => self.bytes.clone(),
            Ok(place) => edited(&self.bytes, vec![(place.clone(), name.into())]),
            Err(at) => edited(&self.bytes, vec![(*at..*at, format!("\"model\":{name},").into())]),
        }
    }

    /// The texts of a field: the string, or the strings of a list, in lines. `None` if there are none.
    pub fn words(&self, field: &str) -> Option<String> {
        let value = self.field(field)?;
        let words = match lossy_text(value) {
            Some(text) => text,
            None => {
                let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
                items.into_iter().filter_map(lossy_text).collect::<Vec<_>>().join("\n")
            }
        };
        (!words.is_empty()).then_some(words)
    }

    /// Whether a field has nothing but texts in it.
    pub fn is_of_words(&self, field: &str) -> bool {
        let Some(value) = self.field(field).filter(|value| value.get() != "null") else { return true };
        let items = serde_json::from_str(value.get()).unwrap_or_else(|_| vec![value]);
        items.into_iter().all(|item: &RawValue| item.get().starts_with('"'))
    }

    /// How many characters these fields have; a token counts as four.
    pub fn chars(&self, fields: &[&str]) -> usize {
        let values = fields.iter().filter_map(|field| self.field(field)).map(RawValue::get);
        // What no string can hold counts as it is written.
        values.map(|value| serde_json::from_str(value).map_or(value.len(), |value| chars(&value))).sum()
    }

    fn field(&self, name: &str) -> Option<&RawValue> {
        let Fields(fields) = serde_json::from_str(self.text()).ok()?;
        fields.into_iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }
}

/// How many prompts there are: a list of tokens is one of them.
fn prompts(value: &RawValue) -> usize {
    let items: Vec<&RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
    items.into_iter().filter(|item| item.get().starts_with(['"', '['])).count().max(1)
}

fn chars(value: &Value) -> usize {
    let is_data =
        |name: &str, value: &Value| name != "text" && value.as_str().is_some_and(|it| it.starts_with("data:"));
    match value {
        Value::String(text) => text.chars().count(),
        Value::Number(_) => 4,
        Value::Array(items) => items.iter().map(chars).sum(),
        Value::Object(fields) => {
            fields.iter().filter(|(name, value)| !is_data(name, value)).map(|(_, value)| chars(value)).sum()
        }
        Value::Null | Value::Bool(_) => 0,
    }
}

/// The request names no model, and has to.
pub(super) fn no_model() -> Failure {
    invalid("the body names no model; add \"model\"")
}

/// Where in the body this part of it stands.
fn place(body: &str, part: &str) -> Range<usize> {
    let from = part.as_ptr().addr().wrapping_sub(body.as_ptr().addr());
    from..from.wrapping_add(part.len())
}

#[cfg(test)]
mod tests {
    use crate::canon::FailureKind;

    use super::*;

    fn parse(body: &str, operation: Operation) -> Result<Said<JsonBody>, Failure> {
        JsonBody::parse(Bytes::from(body.to_owned()), operation)
    }

    fn sent(body: &str, operation: Operation, model: &str) -> String {
        String::from_utf8(parse(body, operation).unwrap().body.with_model(model).to_vec()).unwrap()
    }

    fn refusal(body: &str, operation: Operation) -> Failure {
        let failure = parse(body, operation).err().unwrap_or_else(|| panic!("{body}"));
        assert_eq!(failure.kind, FailureKind::InvalidRequest);
        failure
    }

    #[test]
    fn an_unchanged_request_is_the_clients_own_bytes() {
        let bytes = Bytes::from_static(br#" {"input" : "a", "model":"m","unknown":{"a":1e400}} "#);
        let said = JsonBody::parse(bytes.clone(), Operation::Embeddings).unwrap();
        assert_eq!(said.body.with_model("m").as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn only_the_model_is_rewritten() {
        let body = r#"{"input":["\u00e9",1.0], "model" : "alias" , "x": 1e2}"#;
        let expected = r#"{"input":["\u00e9",1.0], "model" : "up\"stream" , "x": 1e2}"#;
        assert_eq!(sent(body, Operation::Embeddings, "up\"stream"), expected);
    }

    #[test]
    fn a_default_model_is_put_in() {
        let images = |body| sent(body, Operation::ImageGenerations, "up");
        assert_eq!(images(r#" { "prompt":"a cat"}"#), r#" {"model":"up", "prompt":"a cat"}"#);
        assert_eq!(images(r#"{"prompt":"a","model":null}"#), r#"{"prompt":"a","model":"up"}"#);
        assert_eq!(parse(r#"{"prompt":"a"}"#, Operation::ImageGenerations).unwrap().model.as_ref(), "dall-e-3");
        let moderation = parse(r#"{"input":"a"}"#, Operation::Moderations).unwrap();
        assert_eq!(moderation.model.as_ref(), "omni-moderation-latest");
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = refusal(r#"{"input":"a"}"#, Operation::Embeddings);
        assert_eq!(
            (missing.message.as_str(), missing.param.as_deref()),
            ("the body names no model; add \"model\"", Some("model"))
        );
        let missing = refusal(r#"{"model":"m","query":"a","documents":null}"#, Operation::Rerank);
        assert_eq!(missing.param.as_deref(), Some("documents"));
        assert_eq!(refusal("{}", Operation::ImageGenerations).param.as_deref(), Some("prompt"));
    }

    #[test]
    fn what_is_wrong_is_refused_without_repeating_it() {
        for body in [
            "",
            "[1]",
            r#"{"model":"m","input":"my secret""#,
            r#"{"model":"m","Model":"my secret","input":"a"}"#,
            r#"{"model":"m","\u006dodel":"my secret","input":"a"}"#,
            r#"{"model":["my secret"],"input":"a"}"#,
            r#"{"model":"m","input":"a","input":"my secret"}"#,
            r#"{"model":"m","input":"a","Input":"my secret"}"#,
            r#"{"model":"","input":"a"}"#,
            r#"{"model":"m","input":"a","stream":"my secret"}"#,
            r#"{"model":"m","input":"a"} my secret"#,
        ] {
            let failure = refusal(body, Operation::Embeddings);
            assert!(!failure.message.contains("my secret"), "{}", failure.message);
        }
        let long = format!(r#"{{"model":"{}","input":"a"}}"#, "m".repeat(600));
        assert!(refusal(&long, Operation::Embeddings).message.contains("too long"));
    }

    #[test]
    fn stream_and_n_are_read() {
        let read = |fields: &str| {
            let said = parse(&format!(r#"{{"model":"m","prompt":"a"{fields}}}"#), Operation::Completions).unwrap();
            (said.stream, said.choices)
        };
        assert_eq!(read(""), (false, 1));
        assert_eq!(read(r#","stream":null,"n":null"#), (false, 1));
        assert_eq!(read(r#","stream": true ,"n":3"#), (true, 3));
        for (prompt, choices) in [(r#"["a","b"]"#, 4), ("[[1,2],[3],[4]]", 6), ("[1,2,3]", 2), (r#""a""#, 2), ("[]", 2)]
        {
            let body = format!(r#"{{"model":"m","prompt":{prompt},"n":2}}"#);
            assert_eq!(parse(&body, Operation::Completions).unwrap().choices, choices, "{prompt}");
        }
    }

    #[test]
    fn what_is_not_made_of_words_is_known() {
        let is_of_words = |prompt: &str| {
            let said = parse(&format!(r#"{{"model":"m","prompt":{prompt}}}"#), Operation::Completions);
            said.unwrap().body.is_of_words("prompt")
        };
        for prompt in [r#""a""#, r#"["a","b \ud800"]"#, r#""\ud800""#, "[]"] {
            assert!(is_of_words(prompt), "{prompt}");
        }
        for prompt in ["[1,2]", r#"["a",[1]]"#, "7", "true", r#"{"text":"a"}"#, r#"["a",null]"#] {
            assert!(!is_of_words(prompt), "{prompt}");
        }
    }

    #[test]
    fn words_and_their_length_are_known() {
        let body = |prompt: &str| {
            parse(&format!(r#"{{"model":"m","prompt":{prompt}}}"#), Operation::Completions).unwrap().body
        };
        assert_eq!(body(r#""h\u00e9""#).words("prompt").as_deref(), Some("hé"));
        assert_eq!(body(r#"["a","b"]"#).words("prompt").as_deref(), Some("a\nb"));
        assert_eq!(body("[1,2]").words("prompt"), None);
        assert_eq!(body(r#""""#).words("prompt"), None);
        assert_eq!(body(r#""harm \ud800""#).words("prompt").as_deref(), Some("harm \u{fffd}\u{fffd}\u{fffd}"));
        assert_eq!(body(r#"["harm","\ud800"]"#).chars(&["prompt"]), 17);
        assert_eq!(body(r#""data:abc""#).chars(&["prompt"]), 8);
        assert_eq!(body(r#"[{"text":"data:abc"}]"#).chars(&["prompt"]), 8);
        assert_eq!(body(r#""h\u00e9""#).chars(&["prompt", "query"]), 2);
        assert_eq!(body("[[1,2],[3]]").chars(&["prompt"]), 12);
        assert_eq!(body(r#"[{"text":"abc","image":"data:image/png;base64,AAAA"}]"#).chars(&["prompt"]), 3);
    }
}

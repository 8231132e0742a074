//! What all formats need of JSON: text borrowed from the document, raw objects, edits, failures.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::canon::{Failure, FailureKind, Json, Text};

/// A string that is borrowed from the document where it stands there unescaped. Unlike
/// `Option<Cow<str>>`, `Option<Str>` borrows as well. (serde tells a `Cow` by its name, so it must not
/// go by another one here.)
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Str<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The fields of an object, each value as it stands in the document.
#[derive(Debug, Default)]
pub struct Fields<'a>(pub Vec<(Text<'a>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de>, M::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((Str(key), value)) = map.next_entry::<Str<'de>, &'de RawValue>()? {
                    fields.push((key, value));
                }
                Ok(Fields(fields))
            }
        }
        json.deserialize_map(Object)
    }
}

/// A number of tokens. Some servers count in floating point, and some write anything at all; no
/// reason to refuse an answer.
pub fn count<'de, D: Deserializer<'de>>(json: D) -> Result<Option<i64>, D::Error> {
    let json = <&RawValue>::deserialize(json)?.get();
    let whole_part = |count: f64| count.to_string().split('.').next().and_then(|whole| whole.parse().ok());
    Ok(json.parse().ok().or_else(|| json.parse().ok().and_then(whole_part)))
}

/// A part that is not worth refusing the whole for: one that cannot be read counts as missing.
pub fn lenient<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(json: D) -> Result<T, D::Error> {
    Ok(serde_json::from_str(<&RawValue>::deserialize(json)?.get()).unwrap_or_default())
}

/// A string with replacement characters for halves of surrogate pairs, which JSON can spell but no
/// Rust string can hold. `None` for what is no string.
pub fn lossy_text(json: &RawValue) -> Option<String> {
    let Lossy(text) = serde_json::from_str(json.get()).ok()?;
    Some(text.into_owned())
}

/// See [`lossy_text`].
struct Lossy<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Lossy<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Lossy<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Lossy<'de>, E> {
                Ok(Lossy(String::from_utf8_lossy(bytes)))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Lossy<'de>, E> {
                Ok(Lossy(Cow::Owned(String::from_utf8_lossy(bytes).into_owned())))
            }
        }
        json.deserialize_bytes(Bytes)
    }
}

/// The text from this byte on.
pub fn part<'a>(text: &Text<'a>, from: usize) -> Text<'a> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(from..).unwrap_or_default()),
        Cow::Owned(text) => Cow::Owned(text.get(from..).unwrap_or_default().to_owned()),
    }
}

/// Adds fields to the text of a JSON object that has some already.
pub fn append_fields<'f, 'a: 'f>(object: &mut Vec<u8>, fields: impl Iterator<Item = &'f (Text<'a>, Json<'a>)>) {
    if object.pop().is_none() {
        return;
    }
    for (name, value) in fields {
        object.push(b',');
        object.extend_from_slice(serde_json::Value::from(name.as_ref()).to_string().as_bytes());
        object.push(b':');
        object.extend_from_slice(value.get().as_bytes());
    }
    object.push(b'}');
}

/// A value that is made here rather than read.
pub fn raw(value: &impl Serialize) -> Json<'static> {
    // Only a map with keys that are no strings, or a Serialize that fails by itself, is refused.
    Cow::Owned(serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned()))
}

/// The arguments of a tool call as the text of a JSON object. Nothing becomes an empty object; what
/// is no object, such as arguments that were cut off, is kept under a name of its own.
pub fn arguments_object<'a>(arguments: &'a str) -> Json<'a> {
    if arguments.trim().is_empty() {
        return raw(&serde_json::Map::new());
    }
    match serde_json::from_str::<&'a RawValue>(arguments) {
        Ok(object) if object.get().starts_with('{') => Cow::Borrowed(object),
        _ => raw(&serde_json::json!({ "arguments": arguments })),
    }
}

/// The value of a field of a client's request.
///
/// # Errors
///
/// `InvalidRequest` that names the field, for a value that is none of these.
pub fn field<'a, T: Deserialize<'a>>(value: &'a RawValue, name: &str) -> Result<T, Failure> {
    serde_json::from_str(value.get()).map_err(|error| {
        let text = error.to_string();
        // serde's own sentences may repeat the value, up to the last "expected".
        let expected = text.rsplit_once("expected ").and_then(|(_, rest)| rest.split(" at line").next());
        let reason = expected
            .map_or_else(|| "is not what this request has there".to_owned(), |expected| format!("must be {expected}"));
        Failure { param: Some(Cow::Owned(name.to_owned())), ..invalid(format!("\"{name}\" {reason}")) }
    })
}

/// Reads the whole of an upstream's answer. `not_one` says what to check when it is something else.
///
/// # Errors
///
/// The answer is empty, ends too early, or is something else.
pub fn read_whole<'a, T: Deserialize<'a>>(body: &'a [u8], not_one: &str) -> Result<T, Failure> {
    if body.trim_ascii().is_empty() {
        return Err(Failure::new(FailureKind::EmptyAnswer, "the upstream sent an empty answer"));
    }
    serde_json::from_slice(body).map_err(|error| match error.is_eof() {
        true => Failure::new(FailureKind::CutAnswer, "the upstream's answer ended before it was whole"),
        false => unreadable(not_one),
    })
}

/// The channel's format cannot say what the request asks for.
pub fn untranslatable(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Untranslatable, message)
}

/// The upstream's answer is not what its format has.
pub fn unreadable(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::UnreadableAnswer, message)
}

/// No model has a longer name, in bytes. It goes into error messages and statistics, so it has to be
/// bounded.
pub const MAX_MODEL_BYTES: usize = 512;

/// The name of a model that a client asks for.
///
/// # Errors
///
/// `InvalidRequest`, should it not be one.
pub fn model_name(value: &RawValue) -> Result<Arc<str>, Failure> {
    if value.get().len() > MAX_MODEL_BYTES {
        return Err(invalid("\"model\" is too long to be the name of a model").at("model"));
    }
    match serde_json::from_str::<Str<'_>>(value.get()) {
        Ok(Str(name)) if !name.is_empty() => Ok(name.into()),
        _ => Err(invalid("\"model\" must be a string that is not empty").at("model")),
    }
}

/// A part of a document and what is to stand there.
pub type Edit<'a> = (Range<usize>, Text<'a>);

/// The document with these edits; itself when there are none.
pub fn edited(document: &Bytes, mut edits: Vec<Edit<'_>>) -> Bytes {
    if edits.is_empty() {
        return document.clone();
    }
    edits.sort_by_key(|(place, _)| place.start);
    let growth: usize = edits.iter().map(|(_, text)| text.len()).sum();
    let mut out = BytesMut::with_capacity(document.len() + growth);
    let mut from = 0;
    for (place, text) in edits {
        out.extend_from_slice(document.get(from..place.start).unwrap_or_default());
        out.extend_from_slice(text.as_bytes());
        from = place.end;
    }
    out.extend_from_slice(document.get(from..).unwrap_or_default());
    out.freeze()
}

/// A text as JSON.
pub fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The client's request is not what the operation takes.
pub fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::InvalidRequest, message)
}

/// The client's request is no JSON document, or none with the right types; says where, and repeats
/// nothing of it.
pub fn malformed(error: &serde_json::Error) -> Failure {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default();
    let place = format!("line {} column {}", error.line(), error.column());
    invalid(if reason.starts_with("invalid type") {
        // serde's own sentence would repeat the value.
        format!("the body must be a JSON object ({place})")
    } else if error.is_data() {
        format!("{reason} ({place})")
    } else {
        format!("the body is not valid JSON: {reason} at {place}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_borrowed_unless_it_is_escaped() {
        let read = |json: &'static str| serde_json::from_str::<Option<Str<'_>>>(json).unwrap().unwrap().0;
        assert!(matches!(read(r#""plain""#), Cow::Borrowed("plain")));
        assert!(matches!(read(r#""\u0061""#), Cow::Owned(text) if text == "a"));
    }
}

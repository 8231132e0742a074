//! Changes to the fields of a JSON object. What is not changed stays as it is written.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::canon::Text;

use super::json::{Fields, json_string};

/// Changes to the fields of an object: first some are set, then some are removed.
#[derive(Clone, Copy, Debug)]
pub struct Patch<'a> {
    /// Fields and what is to stand there. An object is brought into the one that is there, level by
    /// level; anything else replaces what is there.
    pub set: &'a Map<String, Value>,
    /// Fields that go.
    pub remove: &'a [String],
}

/// The body with these changes, one after the other; the same bytes when there are none, or when it is
/// no object.
pub fn patched<'p>(body: Bytes, patches: impl Iterator<Item = Patch<'p>>) -> Bytes {
    let mut patches = patches.peekable();
    if patches.peek().is_none() {
        return body;
    }
    let Some(mut object) = std::str::from_utf8(&body).ok().and_then(Object::read) else { return body };
    for patch in patches {
        object.set(patch.set);
        object.0.retain(|(name, _)| !patch.remove.iter().any(|gone| gone == name));
    }
    object.write().into()
}

/// The fields of an object, each value as it is written.
struct Object<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'a> Object<'a> {
    fn read(json: &'a str) -> Option<Self> {
        let Fields(fields) = serde_json::from_str(json).ok()?;
        Some(Self(fields.into_iter().map(|(name, value)| (name, Cow::Borrowed(value.get()))).collect()))
    }

    fn set(&mut self, values: &Map<String, Value>) {
        for (name, value) in values {
            let there = self.0.iter().position(|(other, _)| other == name);
            let old = there.and_then(|at| self.0.get(at)).map(|(_, old)| old.as_ref());
            let new = merged(old, value);
            // Of two fields of one name most servers take the last one, which must not be the old one.
            self.0.retain(|(other, _)| other != name);
            self.0.insert(there.unwrap_or(self.0.len()), (Cow::Owned(name.clone()), Cow::Owned(new)));
        }
    }

    fn write(&self) -> String {
        let length: usize = self.0.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut json = String::with_capacity(length + 2);
        json.push('{');
        for (nth, (name, value)) in self.0.iter().enumerate() {
            if nth > 0 {
                json.push(',');
            }
            json.push_str(&json_string(name));
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        json
    }
}

fn merged(old: Option<&str>, new: &Value) -> String {
    match (old.and_then(Object::read), new) {
        (Some(mut object), Value::Object(values)) => {
            object.set(values);
            object.write()
        }
        _ => new.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(body: &str, changes: &[(Value, &[&str])]) -> String {
        let changes: Vec<(Map<String, Value>, Vec<String>)> = changes
            .iter()
            .map(|(set, remove)| (set.as_object().unwrap().clone(), remove.iter().map(ToString::to_string).collect()))
            .collect();
        let patches = changes.iter().map(|(set, remove)| Patch { set, remove });
        String::from_utf8(patched(Bytes::from(body.to_owned()), patches).to_vec()).unwrap()
    }

    #[test]
    fn what_is_not_changed_stays_as_it_is_written() {
        let body = r#"{"model" : "m", "a":[1.0, 1e400,"\u00e9"],"temperature":0.10 }"#;
        assert_eq!(
            with(body, &[(json!({"temperature": 1, "top_k": 5}), &[])]),
            r#"{"model":"m","a":[1.0, 1e400,"\u00e9"],"temperature":1,"top_k":5}"#
        );
    }

    #[test]
    fn without_changes_the_bytes_are_the_same() {
        let body = Bytes::from_static(b" {} ");
        assert_eq!(patched(body.clone(), std::iter::empty()).as_ptr(), body.as_ptr());
    }

    #[test]
    fn objects_are_brought_into_objects() {
        let body = r#"{"o":{"a":{"x":1e400,"y":2},"b":[1]},"p":{"q":1},"r":1}"#;
        let set = json!({"o": {"a": {"y": 3, "z": null}, "b": [2]}, "p": [], "r": {"s": 1}});
        assert_eq!(with(body, &[(set, &[])]), r#"{"o":{"a":{"x":1e400,"y":3,"z":null},"b":[2]},"p":[],"r":{"s":1}}"#);
    }

    #[test]
    fn a_change_sees_what_was_changed_before() {
        let first = (json!({"a": 1, "b": {"c": 1}}), ["d", "e"].as_slice());
        let second = (json!({"b": {"x": 2}, "d": 3}), ["a"].as_slice());
        assert_eq!(with(r#"{"d":0,"e":0}"#, &[first, second]), r#"{"b":{"c":1,"x":2},"d":3}"#);
    }

    #[test]
    fn a_field_that_is_there_twice_does_not_escape() {
        let body = r#"{"a":1,"max":1,"\u006dax":9,"z":{"y":1,"y":2}}"#;
        assert_eq!(with(body, &[(json!({"max": 2, "z": {"y": 3}}), &[])]), r#"{"a":1,"max":2,"z":{"y":3}}"#);
        assert_eq!(with(body, &[(json!({}), &["max", "z"])]), r#"{"a":1}"#);
    }

    #[test]
    fn what_is_no_object_is_left_alone() {
        assert_eq!(with("[1]", &[(json!({"a": 1}), &[])]), "[1]");
        assert_eq!(with("{}", &[(json!({"a": 1}), &[])]), r#"{"a":1}"#);
    }
}

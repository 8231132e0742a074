//! YAML text becomes a plain tree: aliases and merge keys applied, keys turned into text, keys
//! that appear twice noted instead of refused.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::config::path::KeyPath;

/// The content of the file and the places whose key was already taken.
pub struct Document {
    pub root: Value,
    pub duplicates: Vec<KeyPath>,
}

/// Reads the only document of the text.
pub fn read(text: &str) -> Result<Document, serde_yaml::Error> {
    let duplicates = RefCell::new(Vec::new());
    let root = Node { path: KeyPath::default(), duplicates: &duplicates }
        .deserialize(serde_yaml::Deserializer::from_str(text))?;
    Ok(Document { root, duplicates: duplicates.into_inner() })
}

/// Reads the value at one place.
struct Node<'a> {
    path: KeyPath,
    duplicates: &'a RefCell<Vec<KeyPath>>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a YAML tag")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    // A text without any document.
    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    // Beyond 64 bits it is a key of digits, not a number.
    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Ok(value.to_string().into())
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        Ok(value.to_string().into())
    }

    // Infinity and NaN have no place in a JSON-like tree; they can only have been meant as text.
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) =
            items.next_element_seed(Node { path: self.path.index(list.len()), duplicates: self.duplicates })?
        {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut merges = Vec::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            let path = self.path.key(&key);
            let value = entries.next_value_seed(Node { path: path.clone(), duplicates: self.duplicates })?;
            if key == "<<" {
                merges.push(value);
            } else if map.insert(key, value).is_some() {
                self.duplicates.borrow_mut().push(path);
            }
        }
        for merge in merges {
            merge_into(&mut map, merge).map_err(A::Error::custom)?;
        }
        Ok(Value::Object(map))
    }
}

/// Adds what `map` does not say itself.
fn merge_into(map: &mut Map<String, Value>, merge: Value) -> Result<(), &'static str> {
    match merge {
        Value::Object(defaults) => {
            for (key, value) in defaults {
                map.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(all) => all.into_iter().try_for_each(|one| merge_into(map, one)),
        _ => Err("`<<` wants a mapping, or a list of them"),
    }
}

/// Reads a key; numbers and the like stand for their text.
pub struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        // Asking for text keeps the spelling: `1.10` stays `1.10`.
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain key")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn aliases_and_merge_keys_are_applied() {
        let text = "base: &b {tools: false, notes: x}\nlist: &l [m]\na:\n  <<: *b\n  notes: y\nb:\n  <<: [*b, {more: 1}]\n  model: *l\n";
        let root = read(text).unwrap().root;
        assert_eq!(root["a"], json!({"tools": false, "notes": "y"}));
        assert_eq!(root["b"], json!({"tools": false, "notes": "x", "more": 1, "model": ["m"]}));
        assert!(read("a:\n  <<: 5\n").is_err());
    }

    #[test]
    fn keys_that_are_no_text_become_text() {
        assert_eq!(read("1.10: a\ntrue: b\n7: c\n").unwrap().root, json!({"1.10": "a", "true": "b", "7": "c"}));
    }

    #[test]
    fn the_later_of_two_equal_keys_counts_and_is_noted() {
        let document = read("a:\n  - x: 1\n    x: 2\n").unwrap();
        assert_eq!(document.root, json!({"a": [{"x": 2}]}));
        assert_eq!(document.duplicates, [KeyPath::default().key("a").index(0).key("x")]);
    }

    #[test]
    fn huge_numbers_keep_their_digits() {
        let text = "a: 123456789012345678901234567890\nb: .nan\n";
        assert_eq!(read(text).unwrap().root, json!({"a": "123456789012345678901234567890", "b": "NaN"}));
    }
}

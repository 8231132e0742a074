//! How long a prompt is, for an estimate of its tokens.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The characters of all strings in the messages. Images, sounds and files that stand there count
/// nothing, nor do their addresses: it is not their length that costs. `None` when it cannot be read.
pub fn prompt_chars(body: &str) -> Option<usize> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(deserialize_with = "chars")]
        messages: usize,
    }
    fn chars<'de, D: Deserializer<'de>>(json: D) -> Result<usize, D::Error> {
        Chars { of_strings: true }.deserialize(json)
    }
    Some(serde_json::from_str::<Body>(body).ok()?.messages)
}

/// Counts the characters of a value and all that is in it.
struct Chars {
    /// Whether the value itself counts if it is a string.
    of_strings: bool,
}

impl<'de> DeserializeSeed<'de> for Chars {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<usize, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Chars {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
        Ok(if self.of_strings { text.chars().count() } else { 0 })
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<usize, S::Error> {
        let mut sum = 0;
        while let Some(chars) = items.next_element_seed(Chars { of_strings: true })? {
            sum += chars;
        }
        Ok(sum)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<usize, M::Error> {
        let mut sum = 0;
        while let Some(Key { is_of_data }) = fields.next_key()? {
            sum += fields.next_value_seed(Chars { of_strings: !is_of_data })?;
        }
        Ok(sum)
    }

    fn visit_bool<E>(self, _: bool) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_i64<E>(self, _: i64) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_u64<E>(self, _: u64) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_f64<E>(self, _: f64) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_unit<E>(self) -> Result<usize, E> {
        Ok(0)
    }
}

/// The name of a field.
struct Key {
    /// A string in this field is data or an address of data.
    is_of_data: bool,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Key, E> {
                Ok(Key { is_of_data: matches!(name, "url" | "data" | "file_data" | "image_url") })
            }
        }
        json.deserialize_str(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(messages: &str) -> Option<usize> {
        prompt_chars(&format!(r#"{{"model":"a name","user":"u","messages":[{messages}],"tools":[{{"name":"f"}}]}}"#))
    }

    #[test]
    fn every_string_of_the_messages_counts_and_no_name_of_a_field_does() {
        assert_eq!(of(""), Some(0));
        assert_eq!(of(r#"{"role":"user","content":"hello"}"#), Some(4 + 5));
        assert_eq!(of(r#"{"content":"hé\n\u00e9"},{"content":"😀"}"#), Some(4 + 1));
        assert_eq!(of(r#"{"content":null,"a":true,"b":1,"c":-1,"d":1.5,"e":{},"f":[]},null"#), Some(0));
        assert_eq!(of(r#"{"content":[{"type":"text","text":"one"},{"type":"text","text":"two"}]}"#), Some(2 * (4 + 3)));
    }

    #[test]
    fn calls_of_tools_and_their_results_count() {
        let call = r#"{"tool_calls":[{"id":"c1","function":{"name":"f","arguments":"{\"a\":1}"}}]}"#;
        assert_eq!(of(call), Some(2 + 1 + 7));
        assert_eq!(of(r#"{"role":"tool","tool_call_id":"c1","content":"result"}"#), Some(4 + 2 + 6));
    }

    #[test]
    fn images_sounds_and_files_count_nothing() {
        let base64 = "A".repeat(10_000);
        for (part, rest) in [
            (format!(r#"{{"image_url":{{"url":"data:image/png;base64,{base64}","detail":"low"}}}}"#), 3),
            (format!(r#"{{"image_url":"data:image/png;base64,{base64}"}}"#), 0),
            (format!(r#"{{"input_audio":{{"data":"{base64}","format":"wav"}}}}"#), 3),
            (format!(r#"{{"file":{{"file_data":"{base64}","filename":"a.pdf"}}}}"#), 5),
            (format!(r#"{{"source":{{"d\u0061ta":"{base64}"}}}}"#), 0),
            (r#"{"data":{"text":"abc"}}"#.to_owned(), 3),
        ] {
            assert_eq!(of(&format!(r#"{{"content":[{part}]}}"#)), Some(rest), "{rest}: {:.60}", part);
        }
    }

    #[test]
    fn what_no_string_can_hold_cannot_be_counted() {
        assert_eq!(of(r#"{"content":"\ud800"}"#), None);
    }
}

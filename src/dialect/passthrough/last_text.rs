//! The text of a conversation that came last, whoever said it.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::json::{Fields, lossy_text};

/// The content of the last message that has any text: all of it, or the last part of it that is
/// text. What is moderated must be what upstreams read, so of fields that are there twice the last
/// one counts, as nearly everywhere, and half surrogates do not hide the rest of a text.
pub fn last_text(body: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        messages: Vec<&'a RawValue>,
    }
    let messages = serde_json::from_str::<Body<'_>>(body).ok()?.messages;
    messages.into_iter().rev().find_map(text_of_message)
}

fn text_of_message(message: &RawValue) -> Option<String> {
    let content = field(message, "content")?;
    match serde_json::from_str::<Vec<&RawValue>>(content.get()) {
        Ok(parts) => parts.into_iter().rev().find_map(|part| text(field(part, "text")?)),
        Err(_) => text(content),
    }
}

/// The field of an object that has it.
fn field<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    let Fields(fields) = serde_json::from_str(object.get()).ok()?;
    fields.into_iter().rev().find_map(|(key, value)| (key == name).then_some(value))
}

/// A string that is not empty.
fn text(json: &RawValue) -> Option<String> {
    lossy_text(json).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(messages: &str) -> Option<String> {
        last_text(&format!(r#"{{"model":"m","messages":[{messages}],"tools":[{{"text":"no"}}]}}"#))
    }

    #[test]
    fn the_last_message_with_text_counts_whoever_said_it() {
        let asked = r#"{"role":"user","content":"question"}"#;
        let answered = r#"{"content":"answer","role":"assistant"}"#;
        assert_eq!(of(asked).as_deref(), Some("question"));
        assert_eq!(of(&format!("{asked},{answered}")).as_deref(), Some("answer"));
        let result = r#"{"role":"tool","tool_call_id":"c","content":"result"}"#;
        assert_eq!(of(&format!("{asked},{result}")).as_deref(), Some("result"));
        for silent in [
            r#"{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}"#,
            r#"{"role":"assistant","content":""}"#,
            r#"{"role":"assistant"}"#,
            r#"{"role":"user","content":[]}"#,
            r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:,"}},{"text":""},{"text":null}]}"#,
            r#"{"role":"user","content":[null,7,"x"]}"#,
            r#"{"role":"user","content":7}"#,
            "null",
        ] {
            assert_eq!(of(&format!("{asked},{silent}")).as_deref(), Some("question"), "{silent}");
            assert_eq!(of(silent), None, "{silent}");
        }
        assert_eq!(of(""), None);
    }

    #[test]
    fn of_several_parts_the_last_text_counts() {
        let parts = r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"},{"type":"text","text":""},{"type":"image_url","image_url":{"url":"u"}}]}"#;
        assert_eq!(of(parts).as_deref(), Some("b"));
    }

    #[test]
    fn a_text_is_whole_and_unescaped() {
        let long = "é\\n\\\"".repeat(100_000);
        let expected = "é\n\"".repeat(100_000);
        assert_eq!(of(&format!(r#"{{"content":"{long}"}}"#)), Some(expected));
    }

    #[test]
    fn a_text_cannot_hide_from_moderation() {
        let harmless = r#"{"role":"user","content":"harmless"}"#;
        for hidden in [
            r#"{"role":"user","content":"harmless","content":"harm"}"#,
            r#"{"role":"user","\u0063ontent":"harm"}"#,
            r#"{"role":"user","content":[{"type":"text","text":"","text":"harm"}]}"#,
            r#"{"role":"user","content":[{"type":"text","text":"harm"},{"type":"text","text":7},{"x":1,"x":2}]}"#,
            r#"{"role":"user","content":[{"\u0074ext":"harm"}]}"#,
        ] {
            assert_eq!(of(&format!("{harmless},{hidden}")).as_deref(), Some("harm"), "{hidden}");
        }
        let half = of(&format!(r#"{harmless},{{"content":"harm \ud800 \u00e9"}}"#)).unwrap();
        assert!(half.starts_with("harm ") && half.ends_with(" é"), "{half}");
    }
}

//! The beginning of what a user says, for the statistics. A prompt may be as long as a book: no more of it is decoded
//! than is kept.

use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The text of a message's content: the string, or the last text part; its first `chars`
/// characters.
pub fn user_text(message: &str, chars: usize) -> Option<String> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let content = serde_json::from_str::<Message<'_>>(message).ok()?.content.get();
    let text = if content.starts_with('[') { last_part(content)? } else { content };
    beginning(text.strip_prefix('"')?.strip_suffix('"')?, chars)
}

fn last_part(parts: &str) -> Option<&str> {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        text: Option<&'a RawValue>,
    }
    let parts: Vec<Part<'_>> = serde_json::from_str(parts).ok()?;
    parts.iter().rev().find_map(|part| part.text).map(RawValue::get)
}

/// The first characters of what stands between the quotes of a JSON string.
fn beginning(escaped: &str, chars: usize) -> Option<String> {
    let mut text = String::with_capacity(escaped.len().min(chars));
    let (mut rest, mut missing) = (escaped, chars);
    while missing > 0 && !rest.is_empty() {
        // What is missing takes at most four bytes for each character.
        let near = rest.as_bytes().get(..missing.saturating_mul(4)).unwrap_or(rest.as_bytes());
        let plain = memchr(b'\\', near).map_or(Some(rest), |escape| rest.get(..escape))?;
        let end = if plain.len() <= missing { None } else { plain.char_indices().nth(missing) };
        let (plain, behind) = rest.split_at_checked(end.map_or(plain.len(), |(end, _)| end))?;
        text.push_str(plain);
        missing -= plain.chars().count();
        rest = behind;
        if missing > 0
            && let Some(escape) = rest.strip_prefix('\\')
        {
            let (character, behind) = unescaped(escape)?;
            text.push(character);
            missing -= 1;
            rest = behind;
        }
    }
    Some(text)
}

/// The character that is meant by what follows a backslash, and what comes behind it.
fn unescaped(escape: &str) -> Option<(char, &str)> {
    let (kind, behind) = escape.split_at_checked(1)?;
    let character = match kind {
        "n" => '\n',
        "t" => '\t',
        "r" => '\r',
        "b" => '\u{8}',
        "f" => '\u{c}',
        "u" => return by_number(behind),
        _ => kind.chars().next()?,
    };
    Some((character, behind))
}

/// Characters beyond the first 65,536 are written as two numbers.
fn by_number(digits: &str) -> Option<(char, &str)> {
    let (first, behind) = number(digits)?;
    if let Some(character) = char::from_u32(first.into()) {
        return Some((character, behind));
    }
    let (second, behind) = number(behind.strip_prefix("\\u")?)?;
    let character = char::decode_utf16([first, second]).next()?.ok()?;
    Some((character, behind))
}

fn number(digits: &str) -> Option<(u16, &str)> {
    let (digits, behind) = digits.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(content: &str, chars: usize) -> Option<String> {
        user_text(&format!(r#"{{"role":"user","content":{content}}}"#), chars)
    }

    #[test]
    fn the_last_part_with_a_text_counts() {
        let parts = r#"[{"type":"text","text":"a"},{"text":"b\n"},{"type":"image_url"},{"text":null}]"#;
        assert_eq!(said(parts, 9).as_deref(), Some("b\n"));
        for none in ["null", "7", "[]", "[7]", r#"[{"text":7}]"#, r#"{"text":"a"}"#] {
            assert_eq!(said(none, 9), None, "{none}");
        }
    }

    #[test]
    fn half_a_character_is_none_but_matters_only_where_it_is_kept() {
        for half in [r"\ud800", r"\udc00", r"\ud800x", r"\ud800\n", r"\ud800\ud800"] {
            let content = format!(r#""ab{half}""#);
            assert_eq!(said(&content, 3), None, "{half}");
            assert_eq!(said(&content, 2).as_deref(), Some("ab"), "{half}");
        }
    }

    /// A text as JSON, each character in one of the ways in which it can be written.
    fn written() -> impl Strategy<Value = (String, String)> {
        let character = prop_oneof![any::<char>(), proptest::char::range('\0', '\u{7f}')];
        proptest::collection::vec((character, any::<bool>()), 0..80).prop_map(|characters| {
            let text = characters.iter().map(|(character, _)| *character).collect();
            (text, characters.iter().map(|(character, by_number)| escaped(*character, *by_number)).collect())
        })
    }

    fn escaped(character: char, by_number: bool) -> String {
        if by_number {
            return character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect();
        }
        let json = serde_json::to_string(&character).unwrap();
        json[1..json.len() - 1].to_owned()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_first_characters_are_those_of_the_whole_text((text, json) in written(), chars in 0..100_usize) {
            let first: String = text.chars().take(chars).collect();
            prop_assert_eq!(said(&format!("\"{json}\""), chars), Some(first));
            prop_assert_eq!(said(&format!("\"{json}\""), usize::MAX), Some(text));
        }
    }
}

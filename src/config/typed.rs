//! The kinds of values that `api.yaml` knows, and how forgiving each is.
//!
//! [`Typed`] keeps a wrong value from spoiling its neighbours: all mistakes are told in one go. No
//! error made here contains what was written, because that could be a key.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::diagnostic::Report;
use super::path::{KeyPath, Step};

/// What is behind one key of the configuration.
#[derive(Clone, Default)]
pub enum Typed<T> {
    /// The key is missing, or nothing is written behind it.
    #[default]
    Absent,
    /// A value as expected.
    Is(T),
    /// Something else.
    Wrong {
        /// Where in the value, below the key.
        below: KeyPath,
        /// What was expected there, and what was found instead.
        message: String,
    },
}

impl<T> Typed<T> {
    /// The value, if there is a good one. A wrong one is reported.
    pub(super) fn take(self, key: &str, entry: &KeyPath, report: &mut Report) -> Option<T> {
        match self {
            Typed::Absent => None,
            Typed::Is(value) => Some(value),
            Typed::Wrong { below, message } => {
                report.error(&entry.key(key).join(&below), message);
                None
            }
        }
    }

    /// Whether nothing is written.
    pub fn is_absent(&self) -> bool {
        matches!(self, Typed::Absent)
    }
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for Typed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value.is_null() {
            return Ok(Typed::Absent);
        }
        Ok(match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(good) => Typed::Is(good),
            Err(error) => {
                let below = below(error.path());
                let message = without_values(&error.inner().to_string(), find(&value, &below));
                Typed::Wrong { below, message }
            }
        })
    }
}

fn below(path: &serde_path_to_error::Path) -> KeyPath {
    use serde_path_to_error::Segment;
    path.iter().fold(KeyPath::default(), |path, segment| match segment {
        Segment::Seq { index } => path.then(Step::Index(*index)),
        Segment::Map { key } => path.key(key),
        Segment::Enum { .. } | Segment::Unknown => path,
    })
}

fn find<'a>(value: &'a Value, path: &KeyPath) -> Option<&'a Value> {
    path.steps().iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

/// `expected X, found Y`: serde repeats the value, which must not be shown.
fn without_values(told: &str, found: Option<&Value>) -> String {
    match told.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}, found {}", found.map_or("something else", kind)),
        None => told.to_owned(),
    }
}

/// What a value is, for people.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// A text. Numbers and the like are taken as they print: `provider: 302` is a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

/// One text or a list of them; lists inside the list are opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts(pub Vec<String>);

/// `true` or `false`, also as a text, because `${VAR}` can only give texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

/// A list of names; some with something behind a colon. A single name needs no list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(pub Vec<Pair>);

/// `name`, or `name: value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What stands alone, or in front of the colon.
    pub name: String,
    /// What is behind the colon.
    pub value: Option<String>,
    /// Where in the list; empty when there was none.
    pub below: KeyPath,
}

/// `AUTO_RETRY`: a flag or a number of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagOrCount {
    /// `true` or `false`.
    Flag(bool),
    /// A number that is not negative.
    Count(u32),
}

/// A whole number above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositiveCount(pub u32);

/// A number of bytes, such as `33554432`, `"20MB"` or `"20MiB"`; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub usize);

/// A visitor that takes every scalar as text and builds `T` from it.
struct Scalar<T> {
    expected: &'static str,
    build: fn(&str) -> Option<T>,
    kind: PhantomData<T>,
}

/// Takes every scalar as text and builds `T` from it.
pub(super) fn scalar<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
    build: fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(Scalar { expected, build, kind: PhantomData })
}

impl<T> Scalar<T> {
    fn build<E: Error>(self, text: &str) -> Result<T, E> {
        // The value itself is left out on purpose, see the module documentation.
        (self.build)(text).ok_or_else(|| E::custom(format_args!("expected {}", self.expected)))
    }
}

impl<T> Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        self.build(value)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        self.build(&value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        self.build(&value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        self.build(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        self.build(&value.to_string())
    }
}

fn text_of<'de, D: Deserializer<'de>>(deserializer: D, expected: &'static str) -> Result<String, D::Error> {
    scalar(deserializer, expected, |text| Some(text.to_owned()))
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_of(deserializer, "a text").map(Text)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer, "true or false", flag).map(Flag)
    }
}

fn flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for FlagOrCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer, "true, false or a number that is not negative", |text| {
            flag(text).map(Self::Flag).or_else(|| text.trim().parse().ok().map(Self::Count))
        })
    }
}

impl<'de> Deserialize<'de> for PositiveCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer, "a positive whole number", |text| {
            text.trim().parse().ok().filter(|count| *count > 0).map(Self)
        })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar(deserializer, "a number of bytes, such as 33554432, 20MB or 20MiB", byte_size)
    }
}

fn byte_size(text: &str) -> Option<ByteSize> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let factor: usize = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(factor).filter(|bytes| *bytes > 0).map(ByteSize)
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key or a list of keys")
            }

            // A dash with nothing behind it is an empty text; who uses the list has to refuse it.
            fn visit_unit<E: Error>(self) -> Result<Texts, E> {
                Ok(Texts(vec![String::new()]))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Texts, E> {
                Ok(Texts(vec![value.to_owned()]))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Texts, E> {
                Ok(Texts(vec![value.to_string()]))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Texts, E> {
                Ok(Texts(vec![value.to_string()]))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Texts, E> {
                Ok(Texts(vec![value.to_string()]))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Texts, E> {
                Ok(Texts(vec![value.to_string()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
                let mut all = Vec::new();
                while let Some(Texts(more)) = items.next_element()? {
                    all.extend(more);
                }
                Ok(Texts(all))
            }
        }

        deserializer.deserialize_any(List)
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let one = |name: String| Pairs(vec![Pair { name, value: None, below: KeyPath::default() }]);
        match Entry::deserialize(deserializer)? {
            Entry::Name(name) => Ok(one(name)),
            Entry::Pair(..) => Err(D::Error::custom("expected a list; put a dash in front of each line")),
            Entry::List(pairs) => Ok(Pairs(pairs)),
        }
    }
}

/// One line of [`Pairs`], or all of them.
enum Entry {
    Name(String),
    Pair(String, String),
    List(Vec<Pair>),
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Line;

        impl<'de> Visitor<'de> for Line {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a pair `name: value`")
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Entry, E> {
                Ok(Entry::Name(value.to_owned()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Entry, E> {
                Ok(Entry::Name(value.to_string()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Entry, E> {
                Ok(Entry::Name(value.to_string()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Entry, E> {
                Ok(Entry::Name(value.to_string()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Entry, E> {
                Ok(Entry::Name(value.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Entry, A::Error> {
                const EXPECTED: &str = "expected one pair `name: value`; every pair needs its own dash";
                let Some((name, Text(value))) = entries.next_entry()? else {
                    return Err(A::Error::custom(EXPECTED));
                };
                match entries.next_key::<String>()? {
                    None => Ok(Entry::Pair(name, value)),
                    Some(_) => Err(A::Error::custom(EXPECTED)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Entry, A::Error> {
                let mut all = Vec::new();
                let mut index = 0;
                while let Some(entry) = items.next_element()? {
                    let below = KeyPath::default().index(index);
                    match entry {
                        Entry::Name(name) => all.push(Pair { name, value: None, below }),
                        Entry::Pair(name, value) => all.push(Pair { name, value: Some(value), below }),
                        Entry::List(more) => {
                            all.extend(more.into_iter().map(|pair| Pair { below: below.join(&pair.below), ..pair }));
                        }
                    }
                    index += 1;
                }
                Ok(Entry::List(all))
            }
        }

        deserializer.deserialize_any(Line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
        match serde_json::from_value::<Typed<T>>(value).unwrap() {
            Typed::Is(value) => Ok(value),
            Typed::Absent => Err("absent".to_owned()),
            Typed::Wrong { below, message } => Err(format!("{below}: {message}")),
        }
    }

    #[test]
    fn numbers_and_flags_are_taken_as_text() {
        for (value, text) in [(json!("a"), "a"), (json!(302), "302"), (json!(-1), "-1"), (json!(true), "true")] {
            assert_eq!(read(value), Ok(Text(text.to_owned())));
        }
        assert_eq!(read::<Text>(json!([1])), Err(": expected a text, found a list".to_owned()));
        assert_eq!(read::<Text>(json!(null)), Err("absent".to_owned()));
    }

    #[test]
    fn lists_inside_a_list_of_keys_are_opened() {
        let texts = |list: &[&str]| Ok(Texts(list.iter().map(ToString::to_string).collect()));
        assert_eq!(read(json!("a")), texts(&["a"]));
        assert_eq!(read(json!([["a", 1], "b", [["c"]]])), texts(&["a", "1", "b", "c"]));
        assert_eq!(read(json!(["a", null])), texts(&["a", ""]));
        assert_eq!(
            read::<Texts>(json!(["a", {"b": "c"}])),
            Err("[1]: expected a key or a list of keys, found a mapping".to_owned())
        );
    }

    #[test]
    fn flags_may_be_text() {
        assert_eq!(read(json!(false)), Ok(Flag(false)));
        assert_eq!(read(json!("True")), Ok(Flag(true)));
        assert_eq!(read::<Flag>(json!("maybe")), Err(": expected true or false".to_owned()));
    }

    #[test]
    fn retries_are_a_flag_or_a_count() {
        assert_eq!(read(json!(true)), Ok(FlagOrCount::Flag(true)));
        assert_eq!(read(json!("false")), Ok(FlagOrCount::Flag(false)));
        assert_eq!(read(json!(3)), Ok(FlagOrCount::Count(3)));
        assert!(read::<FlagOrCount>(json!(-1)).is_err());
        assert!(read::<FlagOrCount>(json!(1.5)).is_err());
    }

    #[test]
    fn sizes_have_units() {
        for (value, bytes) in [(json!(1024), 1024), (json!("20MB"), 20_000_000), (json!("20 MiB"), 20 << 20)] {
            assert_eq!(read(value), Ok(ByteSize(bytes)));
        }
        for wrong in [json!(0), json!("MB"), json!("1.5MB"), json!("20 apples"), json!("99999999999GiB"), json!(-5)] {
            assert!(read::<ByteSize>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pairs_are_names_with_something_behind_a_colon() {
        let Pairs(pairs) = read(json!(["a", {"b": "c"}, [{"d": 5}], 7])).unwrap();
        let flat: Vec<_> = pairs.iter().map(|p| (p.name.as_str(), p.value.as_deref(), p.below.to_string())).collect();
        let at = str::to_owned;
        assert_eq!(
            flat,
            [
                ("a", None, at("[0]")),
                ("b", Some("c"), at("[1]")),
                ("d", Some("5"), at("[2][0]")),
                ("7", None, at("[3]"))
            ]
        );
        assert_eq!(read::<Pairs>(json!("all")).unwrap().0.len(), 1);
        assert!(read::<Pairs>(json!({"a": "b"})).unwrap_err().contains("dash in front"));
        assert!(read::<Pairs>(json!([{"a": "b", "c": "d"}])).unwrap_err().starts_with("[0]: expected one pair"));
        assert!(read::<Pairs>(json!([{"a": null}])).unwrap_err().ends_with("expected a text, found nothing"));
    }

    #[test]
    fn a_wrong_value_is_never_repeated() {
        let secret = || json!("sk-CANARY");
        for message in [
            read::<Flag>(secret()).map(|_| ()).unwrap_err(),
            read::<FlagOrCount>(secret()).map(|_| ()).unwrap_err(),
            read::<ByteSize>(secret()).map(|_| ()).unwrap_err(),
            read::<Vec<String>>(secret()).map(|_| ()).unwrap_err(),
            read::<Text>(json!({"a": secret()})).map(|_| ()).unwrap_err(),
        ] {
            assert!(!message.contains("CANARY"), "{message}");
        }
    }
}

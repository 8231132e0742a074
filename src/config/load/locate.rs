//! Line and column of a place in the file.
//!
//! The YAML crate tells positions in its errors only. So the text is read once more, down to the
//! place in question, where a deliberate error is raised.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::document::Key;
use crate::config::path::{KeyPath, Step};

/// A position, both counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// Where the place is: its key if it has one, else itself. For a place that is not written down,
/// such as a missing key, the place around it.
pub fn locate(text: &str, path: &KeyPath) -> Option<Position> {
    let mut path = path.clone();
    loop {
        let sought = Sought { steps: path.steps() };
        if let Err(raised) = sought.deserialize(serde_yaml::Deserializer::from_str(text))
            && let Some(found) = raised.location()
        {
            return Some(Position { line: found.line(), column: found.column() });
        }
        path = path.parent()?;
    }
}

/// Reads on towards a place and fails exactly there.
#[derive(Clone, Copy)]
struct Sought<'a> {
    steps: &'a [Step],
}

impl<'de> DeserializeSeed<'de> for Sought<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.steps.first() {
            None => deserializer.deserialize_any(Raise),
            Some(_) => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Sought<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping or list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if let Some((Step::Index(index), rest)) = self.steps.split_first() {
            for _ in 0..*index {
                items.next_element::<IgnoredAny>()?;
            }
            items.next_element_seed(Sought { steps: rest })?;
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        match self.steps.split_first() {
            Some((Step::Key(sought), [])) => while entries.next_entry_seed(RaiseAt(sought), Skip)?.is_some() {},
            Some((Step::Key(sought), rest)) => {
                while let Some(key) = entries.next_key_seed(Key)? {
                    if key == *sought {
                        entries.next_value_seed(Sought { steps: rest })?;
                    } else {
                        entries.next_value::<IgnoredAny>()?;
                    }
                }
            }
            _ => while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {},
        }
        Ok(())
    }
}

/// Fails on whatever comes.
struct Raise;

impl Visitor<'_> for Raise {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the position")
    }
}

/// Fails on the key of this name.
struct RaiseAt<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for RaiseAt<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for RaiseAt<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        if key == self.0 { Err(E::custom("here")) } else { Ok(()) }
    }
}

/// Reads a value and forgets it.
struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment\nproviders:\n  - provider: one\n    api: x\n  - provider: two\n    model:\n      - a\n      - b: c\nother: 1\n";

    fn at(path: KeyPath) -> (usize, usize) {
        let found = locate(TEXT, &path).unwrap();
        (found.line, found.column)
    }

    #[test]
    fn keys_and_items_are_found() {
        let providers = KeyPath::default().key("providers");
        assert_eq!(at(providers.clone()), (2, 1));
        assert_eq!(at(providers.index(0)), (3, 5));
        assert_eq!(at(providers.index(0).key("api")), (4, 5));
        assert_eq!(at(providers.index(1).key("model").index(1)), (8, 9));
        assert_eq!(at(providers.index(1).key("model").index(1).key("b")), (8, 9));
        assert_eq!(at(KeyPath::default().key("other")), (9, 1));
    }

    #[test]
    fn what_is_not_written_is_found_at_what_is_around_it() {
        let second = KeyPath::default().key("providers").index(1);
        assert_eq!(at(second.key("api")), at(second));
        assert_eq!(at(KeyPath::default().key("api_keys")), (2, 1));
    }

    #[test]
    fn an_aliased_place_is_found_where_it_is_written() {
        let text = "a: &x\n  k: v\nb: *x\n";
        let found = locate(text, &KeyPath::default().key("b").key("k")).unwrap();
        assert_eq!((found.line, found.column), (2, 3));
    }
}

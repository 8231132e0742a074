//! A setting that may depend on the model: one value, or a mapping `model: value` in which `default`
//! is for all others.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};

/// One value for each model that is named, and one for all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByModel<T> {
    /// Names or parts of names, each with its value, in the order written.
    pub named: Vec<(Arc<str>, T)>,
    /// `default`, or the only value there is.
    pub others: Option<T>,
}

impl<T> Default for ByModel<T> {
    fn default() -> Self {
        Self { named: Vec::new(), others: None }
    }
}

impl<T> ByModel<T> {
    /// The same value for every model.
    pub fn same(value: T) -> Self {
        Self { named: Vec::new(), others: Some(value) }
    }

    /// The same setting with every value in another form.
    pub fn map<U>(self, form: impl Fn(T) -> U) -> ByModel<U> {
        let named = self.named.into_iter().map(|(entry, value)| (entry, form(value))).collect();
        ByModel { named, others: self.others.map(form) }
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.others.is_none()
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.named.iter().map(|(_, value)| value).chain(&self.others)
    }

    /// The value for a model that goes by these names, the first one the most important, and the
    /// name it is written under; `None` for that of all others.
    ///
    /// An entry that is one of the names beats one that is a part of them. Of several parts the
    /// longest counts, and of equally long ones the first.
    pub fn find(&self, names: &[&str]) -> Option<(Option<&Arc<str>>, &T)> {
        let exact = || names.iter().find_map(|name| self.named.iter().find(|(entry, _)| **entry == **name));
        let part = || names.iter().find_map(|name| self.longest_part(name));
        let named = if self.named.is_empty() { None } else { exact().or_else(part) };
        match named {
            Some((entry, value)) => Some((Some(entry), value)),
            None => self.others.as_ref().map(|value| (None, value)),
        }
    }

    fn longest_part(&self, name: &str) -> Option<&(Arc<str>, T)> {
        let parts = self.named.iter().rev().filter(|(entry, _)| name.contains(&**entry));
        parts.max_by_key(|(entry, _)| entry.len())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for ByModel<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany(PhantomData))
    }
}

/// Reads a mapping itself, and leaves everything else to `T`.
struct OneOrMany<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for OneOrMany<T> {
    type Value = ByModel<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, or a mapping of models to values")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<ByModel<T>, E> {
        T::deserialize(value.into_deserializer()).map(ByModel::same)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<ByModel<T>, E> {
        T::deserialize(value.into_deserializer()).map(ByModel::same)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<ByModel<T>, E> {
        T::deserialize(value.into_deserializer()).map(ByModel::same)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<ByModel<T>, E> {
        T::deserialize(value.into_deserializer()).map(ByModel::same)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<ByModel<T>, E> {
        T::deserialize(value.into_deserializer()).map(ByModel::same)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<ByModel<T>, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(items)).map(ByModel::same)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ByModel<T>, A::Error> {
        let mut all = ByModel::default();
        while let Some((name, value)) = entries.next_entry::<String, T>()? {
            match name.trim() {
                // It would be a part of every name.
                "" => return Err(A::Error::custom("the name of a model is empty")),
                name if name.eq_ignore_ascii_case("default") => all.others = Some(value),
                name => all.named.push((name.into(), value)),
            }
        }
        // To whoever wrote it, nothing must not become "no limit".
        if all.is_empty() {
            return Err(A::Error::custom("expected at least one line `model: value` or `default: value`"));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::super::typed::{Text, Typed};
    use super::*;
    use serde_json::{Value, json};

    fn read(value: Value) -> Result<ByModel<Text>, String> {
        match serde_json::from_value::<Typed<ByModel<Text>>>(value).unwrap() {
            Typed::Is(setting) => Ok(setting),
            Typed::Absent => Err("absent".to_owned()),
            Typed::Wrong { below, message } => Err(format!("{below}: {message}")),
        }
    }

    #[test]
    fn a_value_is_for_all_models_and_a_mapping_for_each() {
        let text = |text: &str| Text(text.to_owned());
        for value in [json!("5"), json!(5), json!(-5), json!(1.5), json!(true)] {
            let printed = value.as_str().map_or(value.to_string(), str::to_owned);
            assert_eq!(read(value), Ok(ByModel::same(text(&printed))));
        }
        let setting = read(json!({"b": 1, " a ": "x", "Default": 3})).unwrap();
        assert_eq!(
            setting,
            ByModel { named: vec![("b".into(), text("1")), ("a".into(), text("x"))], others: Some(text("3")) }
        );
        let lengths = setting.map(|Text(text)| text.len());
        assert_eq!(lengths, ByModel { named: vec![("b".into(), 1), ("a".into(), 1)], others: Some(1) });
    }

    #[test]
    fn a_mapping_without_names_or_values_is_a_mistake() {
        for (value, error) in [
            (json!({}), ": expected at least one line `model: value` or `default: value`"),
            (json!({"": 5}), ": the name of a model is empty"),
            (json!({"a": null}), "a: expected a text, found nothing"),
            (json!({"a": {"default": 5}}), "a: expected a text, found a mapping"),
            (json!([5]), ": expected a text, found a list"),
        ] {
            assert_eq!(read(value), Err(error.to_owned()));
        }
    }

    #[test]
    fn an_exact_name_beats_a_part_and_a_part_beats_the_rest() {
        let named = [("gpt", 1), ("gpt-4o", 2), ("o", 3), ("claude", 4), ("sonnet", 5)];
        let named = named.map(|(entry, value)| (Arc::from(entry), value)).to_vec();
        let setting = ByModel { named, others: Some(0) };
        let value = |names: &[&str]| setting.find(names).map(|(_, value)| *value);
        assert_eq!(value(&["gpt-4o"]), Some(2));
        assert_eq!(value(&["gpt-4o-mini"]), Some(2), "the longest part");
        assert_eq!(value(&["gpt-3.5"]), Some(1));
        assert_eq!(value(&["claude-3-5-sonnet"]), Some(4), "the first of two parts of the same length");
        assert_eq!(value(&["mini", "claude"]), Some(4), "the second name, exactly");
        assert_eq!(value(&["mixtral"]), Some(0));
        assert_eq!(setting.find(&["gpt-4"]), Some((Some(&Arc::from("gpt")), &1)));
        assert_eq!(ByModel::<u8>::default().find(&["gpt-4"]), None);
    }
}

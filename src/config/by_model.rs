//! A setting that may depend on the model.

use std::sync::Arc;

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

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.others.is_none()
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

#[cfg(test)]
mod tests {
    use super::*;

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

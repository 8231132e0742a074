//! How one thing differs from what it was.

use std::fmt::Display;
use std::time::Duration;

use crate::config::ByModel;

/// Collects what is different, setting by setting.
#[derive(Default)]
pub struct Details(Vec<String>);

impl Details {
    /// A setting with one value. What is shown of it may leave out secrets.
    pub fn value<T: PartialEq>(&mut self, name: &str, old: &T, new: &T, shown: impl Fn(&T) -> String) {
        if old == new {
            return;
        }
        let (before, now) = (shown(old), shown(new));
        self.0.push(match before == now {
            true => format!("{name}: {now}, otherwise in what is not shown"),
            false => format!("{name}: {before} -> {now}"),
        });
    }

    /// A setting with several values.
    pub fn items<T: PartialEq>(&mut self, name: &str, old: &[T], new: &[T], shown: impl Fn(&T) -> String) {
        let missing = |of: &[T], from: &[T]| -> Vec<String> {
            of.iter().filter(|item| !from.contains(item)).map(&shown).collect()
        };
        let (added, removed) = (missing(new, old), missing(old, new));
        for (items, what) in [(&added, "added"), (&removed, "removed")] {
            if !items.is_empty() {
                self.0.push(format!("{name}: {what} {}", items.join(", ")));
            }
        }
        if added.is_empty() && removed.is_empty() && old != new {
            let items: Vec<String> = new.iter().map(shown).collect();
            self.0.push(format!("{name}: now {}", items.join(", ")));
        }
    }

    /// What is different.
    pub fn told(self) -> Vec<String> {
        self.0
    }
}

/// `yes` or `no`.
pub fn yes_or_no(is_so: &bool) -> String {
    if *is_so { "yes" } else { "no" }.to_owned()
}

/// A span of time.
pub fn span(span: &Duration) -> String {
    format!("{} s", span.as_secs_f64())
}

/// What may be left out.
pub fn or<T>(value: &Option<T>, absent: &str, shown: impl Fn(&T) -> String) -> String {
    value.as_ref().map_or_else(|| absent.to_owned(), shown)
}

/// What may depend on the model.
pub fn by_model<T>(setting: &ByModel<T>, shown: impl Fn(&T) -> String) -> String {
    let named = setting.named.iter().map(|(model, value)| format!("{model}: {}", shown(value)));
    let others = setting.others.as_ref().map(|value| match setting.named.is_empty() {
        true => shown(value),
        false => format!("default: {}", shown(value)),
    });
    let all: Vec<String> = named.chain(others).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// What has a form for people already.
pub fn displayed(value: &impl Display) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(old: &[&str], new: &[&str]) -> Vec<String> {
        let mut details = Details::default();
        details.items("model", old, new, displayed);
        details.told()
    }

    #[test]
    fn of_several_values_those_are_told_that_come_and_go() {
        assert_eq!(items(&["a", "b"], &["b", "c", "d"]), ["model: added c, d", "model: removed a"]);
        assert_eq!(items(&["a", "b"], &["b", "a"]), ["model: now b, a"]);
        assert!(items(&["a"], &["a"]).is_empty());
    }

    #[test]
    fn a_secret_that_differs_is_told_as_different_without_being_shown() {
        let mut details = Details::default();
        details.value("base_url", &"http://u:p@h", &"http://u:q@h", |_| "http://h".to_owned());
        assert_eq!(details.told(), ["base_url: http://h, otherwise in what is not shown"]);
    }
}

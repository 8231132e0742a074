//! `${VAR}` and `${VAR:-default}` in the values of the configuration.
//!
//! This happens after the YAML has been read, so that no value can break its syntax. As in a
//! shell, the default also stands in for a variable that is set but empty. Any other `$` is just
//! a dollar.

use serde_json::Value;

use super::path::KeyPath;

/// A variable that gave nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Unset {
    /// Where it is used.
    pub path: KeyPath,
    /// Its name.
    pub variable: String,
    /// It is set, to an empty value.
    pub set_but_empty: bool,
}

/// Replaces the variables in every text value below `value`; keys stay as they are.
pub fn expand(value: &mut Value, env: &dyn Fn(&str) -> Option<String>) -> Vec<Unset> {
    let mut unset = Vec::new();
    expand_at(KeyPath::default(), value, env, &mut unset);
    unset
}

fn expand_at(path: KeyPath, value: &mut Value, env: &dyn Fn(&str) -> Option<String>, unset: &mut Vec<Unset>) {
    match value {
        Value::String(text) if text.contains("${") => {
            *text = expand_text(text, &mut |variable, default| match (env(variable), default) {
                (Some(value), None) if value.is_empty() => {
                    unset.push(Unset { path: path.clone(), variable: variable.to_owned(), set_but_empty: true });
                    String::new()
                }
                (Some(value), _) if !value.is_empty() => value,
                (_, Some(default)) => default.to_owned(),
                _ => {
                    unset.push(Unset { path: path.clone(), variable: variable.to_owned(), set_but_empty: false });
                    String::new()
                }
            });
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand_at(path.index(index), item, env, unset);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                expand_at(path.key(key), value, env, unset);
            }
        }
        _ => {}
    }
}

fn expand_text(text: &str, look_up: &mut dyn FnMut(&str, Option<&str>) -> String) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        expanded.push_str(before);
        match after.split_once('}').and_then(|(inside, behind)| Some((reference(inside)?, behind))) {
            Some(((variable, default), behind)) => {
                expanded.push_str(&look_up(variable, default));
                rest = behind;
            }
            None => {
                expanded.push_str("${");
                rest = after;
            }
        }
    }
    expanded.push_str(rest);
    expanded
}

/// The variable and its default, if this is a reference at all.
fn reference(inside: &str) -> Option<(&str, Option<&str>)> {
    let (variable, default) = match inside.split_once(":-") {
        Some((variable, default)) => (variable, Some(default)),
        None => (inside, None),
    };
    let mut chars = variable.chars();
    let starts_well = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    (starts_well && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some((variable, default))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn env(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("sk-1".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("a: [b\n#${KEY}".to_owned()),
            _ => None,
        }
    }

    fn expanded(text: &str) -> Value {
        let mut value = json!(text);
        expand(&mut value, &env);
        value
    }

    #[test]
    fn variables_and_defaults_are_replaced() {
        assert_eq!(expanded("${KEY}"), "sk-1");
        assert_eq!(expanded("a${KEY}b${KEY}c"), "ask-1bsk-1c");
        assert_eq!(expanded("${KEY:-x}"), "sk-1");
        assert_eq!(expanded("${MISSING:-http://h:1/}"), "http://h:1/");
        assert_eq!(expanded("${EMPTY:-x}"), "x");
        assert_eq!(expanded("${MISSING:-}"), "");
    }

    #[test]
    fn other_dollars_are_literal() {
        for text in ["$KEY", "${", "${KEY", "${}", "${1A}", "${a b}", "$$", "cost: 5$", "${KEY-x}"] {
            assert_eq!(expanded(text), text);
        }
        assert_eq!(expanded("${ ${KEY}"), "${ ${KEY}".replace("${KEY}", "sk-1"));
    }

    #[test]
    fn a_value_is_not_expanded_again() {
        assert_eq!(expanded("${TRICKY}"), "a: [b\n#${KEY}");
    }

    #[test]
    fn unset_variables_are_named_with_their_place() {
        let mut value = json!({"${KEY}": ["${MISSING}", {"a": "${EMPTY}"}, "${MISSING:-ok}"]});
        let unset = expand(&mut value, &env);
        assert_eq!(value, json!({"${KEY}": ["", {"a": ""}, "ok"]}));
        let at = KeyPath::default().key("${KEY}");
        assert_eq!(
            unset,
            [
                Unset { path: at.index(0), variable: "MISSING".to_owned(), set_but_empty: false },
                Unset { path: at.index(1).key("a"), variable: "EMPTY".to_owned(), set_but_empty: true },
            ]
        );
    }
}

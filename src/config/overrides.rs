//! `post_body_parameter_overrides`: what is changed in the JSON bodies that a provider gets.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::diagnostic::Report;
use super::path::KeyPath;
use super::resolved::{ModelName, ModelSource};
use super::typed::kind;

/// Changes to the fields of a body: first some are set, then some are removed.
#[derive(Default, PartialEq)]
pub struct Patch {
    /// Fields, and what is to stand there.
    pub set: Map<String, Value>,
    /// Fields that go.
    pub remove: Vec<String>,
}

/// What is changed in bodies: for all models, and for some.
#[derive(Default, PartialEq)]
pub struct Overrides {
    /// For every model; comes first.
    pub all: Patch,
    /// For the models of these aliases.
    pub by_model: Vec<(Arc<str>, Patch)>,
}

impl Overrides {
    /// What is changed for the model of this alias, one change after the other.
    pub fn of(&self, alias: &str) -> impl Iterator<Item = &Patch> {
        let own = self.by_model.iter().filter(move |(model, _)| **model == *alias).map(|(_, patch)| patch);
        [&self.all].into_iter().chain(own).filter(|patch| !patch.set.is_empty() || !patch.remove.is_empty())
    }
}

const REMOVE: &str = "__remove__";
/// The gateway goes by what the client says there; with something else the answer would not be the
/// one that is waited for.
const RESERVED: [&str; 5] = ["model", "stream", "messages", "contents", "message"];

/// Reads the mapping in the mapping at `place`, which belongs to a provider with these models.
pub(super) fn resolve(value: &Value, models: &ModelSource, place: &KeyPath, report: &mut Report) -> Overrides {
    let place = place.key("post_body_parameter_overrides");
    let mut overrides = Overrides::default();
    let Some(fields) = mapping(value, &place, report) else { return overrides };
    let mut of_all = Map::new();
    for (name, value) in fields {
        match names_model(name, value, models) {
            true => {
                let place = place.key(name);
                if let Some(fields) = mapping(value, &place, report) {
                    overrides.by_model.push((name.as_str().into(), patch(fields.clone(), &place, report)));
                }
                let is_listed = |listed: &[ModelName]| listed.iter().any(|model| *model.alias == **name);
                if matches!(models, ModelSource::Listed(listed) if !is_listed(listed)) {
                    report.warning(&place, "names no model of this provider, so it is not used");
                }
            }
            false => {
                of_all.insert(name.clone(), value.clone());
            }
        }
    }
    overrides.all = patch(of_all, &place, report);
    overrides
}

fn mapping<'v>(value: &'v Value, place: &KeyPath, report: &mut Report) -> Option<&'v Map<String, Value>> {
    match value {
        Value::Null => None,
        Value::Object(fields) => Some(fields),
        other => {
            report.error(place, format!("expected a mapping `field: value`, found {}", kind(other)));
            None
        }
    }
}

/// Fields of bodies are called like variables; a mapping behind anything else is meant for a model.
fn names_model(name: &str, value: &Value, models: &ModelSource) -> bool {
    let is_listed = matches!(models, ModelSource::Listed(models) if models.iter().any(|model| *model.alias == *name));
    let is_field = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_listed || (value.is_object() && !is_field)
}

fn patch(mut fields: Map<String, Value>, place: &KeyPath, report: &mut Report) -> Patch {
    // Not `remove`, which would change the order of the others.
    let remove = fields.shift_remove(REMOVE).map(|names| names_to_remove(&names, &place.key(REMOVE), report));
    let remove = remove.unwrap_or_default();
    // There are servers that do not mind the case.
    let is_reserved = |name: &&String| RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved));
    for name in fields.keys().chain(&remove).filter(is_reserved) {
        let instead = match name.to_ascii_lowercase().as_str() {
            "model" => "; to rename a model, list it as `upstream name: alias`",
            _ => "",
        };
        report.error(
            place,
            format!("\"{name}\" is what the client asks for; it can neither be set nor removed{instead}"),
        );
    }
    Patch { set: fields, remove }
}

fn names_to_remove(value: &Value, place: &KeyPath, report: &mut Report) -> Vec<String> {
    let all = match value {
        Value::Array(names) => names.as_slice(),
        one => std::slice::from_ref(one),
    };
    let names = all.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    names.unwrap_or_else(|| {
        report.error(place, "expected the name of a field or a list of names; conditions are not available");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value, models: &[&str]) -> (Overrides, Vec<String>) {
        let models = match models {
            [] => ModelSource::Discovered,
            models => ModelSource::Listed(
                models.iter().map(|alias| ModelName { alias: (*alias).into(), upstream: "u".into() }).collect(),
            ),
        };
        let mut report = Report::default();
        let overrides = resolve(value, &models, &KeyPath::default(), &mut report);
        (overrides, report.into_findings().into_iter().map(|finding| finding.message).collect())
    }

    fn of(overrides: &Overrides, alias: &str) -> Vec<(Value, Vec<String>)> {
        overrides.of(alias).map(|patch| (json!(patch.set), patch.remove.clone())).collect()
    }

    #[test]
    fn what_is_for_one_model_comes_after_what_is_for_all() {
        let value = json!({
            "temperature": 1, "thinking": {"type": "off"}, "__remove__": "seed",
            "sonar": {"top_p": 0.5, "__remove__": ["temperature", "logprobs"]}, "gpt": {"top_p": 1},
        });
        let (overrides, mistakes) = read(&value, &["sonar", "gpt"]);
        assert_eq!(mistakes, [""; 0]);
        let all = (json!({"temperature": 1, "thinking": {"type": "off"}}), vec!["seed".to_owned()]);
        let sonar = (json!({"top_p": 0.5}), vec!["temperature".to_owned(), "logprobs".to_owned()]);
        assert_eq!(of(&overrides, "sonar"), [all.clone(), sonar]);
        assert_eq!(of(&overrides, "other"), [all]);
    }

    #[test]
    fn a_name_that_no_field_has_is_that_of_a_model() {
        let value = json!({"gpt-4o": {"a": 1}, "max-b": 2, "extra": {"c": 3}});
        let (overrides, mistakes) = read(&value, &[]);
        assert_eq!(mistakes, [""; 0]);
        assert_eq!(of(&overrides, "gpt-4o").len(), 2);
        assert_eq!(of(&overrides, "m"), [(json!({"max-b": 2, "extra": {"c": 3}}), Vec::new())]);
        assert!(read(&value, &["m"]).1[0].contains("names no model"));
    }

    #[test]
    fn what_the_gateway_goes_by_cannot_be_changed() {
        for value in [
            json!({"model": "dear"}),
            json!({"Stream": true}),
            json!({"messages": []}),
            json!({"contents": []}),
            json!({"__remove__": "stream"}),
            json!({"gpt-4o": {"__remove__": ["a", "messages"]}}),
        ] {
            let (_, mistakes) = read(&value, &["gpt-4o"]);
            assert!(mistakes.len() == 1 && mistakes[0].contains("is what the client asks for"), "{value} {mistakes:?}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (value, message) in [
            (json!(["a"]), "expected a mapping"),
            (json!({"gpt-4o": 1}), "expected a mapping"),
            (json!({"__remove__": [{"path": "a", "where": "b"}]}), "conditions are not available"),
            (json!({"__remove__": 7}), "expected the name"),
        ] {
            let (_, mistakes) = read(&value, &["gpt-4o"]);
            assert!(mistakes.len() == 1 && mistakes[0].contains(message), "{value} {mistakes:?}");
        }
        assert_eq!(read(&json!(null), &[]).1, [""; 0]);
    }
}

//! `headers`: what every request to an upstream carries.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::diagnostic::Report;
use super::expand::Unset;
use super::path::KeyPath;
use super::providers::empty_because;
use super::secret::Secret;
use super::typed::{Text, Typed, kind};

/// Headers by their names, which are in lower case. `None`: the one at the top is not sent.
pub(super) type Headers = BTreeMap<Arc<str>, Option<Secret>>;

/// What only the gateway knows, or the connection: with another value a request or its answer could
/// not be read.
const RESERVED: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Reads the mapping behind `headers` in the mapping at `place`.
pub(super) fn resolve(value: &Value, place: &KeyPath, unset: &[Unset], report: &mut Report) -> Headers {
    let place = place.key("headers");
    let mut headers = Headers::new();
    let fields = match value {
        Value::Null => return headers,
        Value::Object(fields) => fields,
        other => {
            report.error(&place, format!("expected a mapping `name: value`, found {}", kind(other)));
            return headers;
        }
    };
    for (written, value) in fields {
        let at = place.key(written);
        let name = written.trim().to_ascii_lowercase();
        if let Err(message) = check_name(&name) {
            report.error(&at, message);
            continue;
        }
        let Some(value) = header_value(value, (&place, written), unset, report) else { continue };
        if headers.insert(name.into(), value).is_some() {
            report.error(&at, "is there twice; upper and lower case are the same in names of headers");
        }
    }
    headers
}

fn check_name(name: &str) -> Result<(), String> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Err("is no name of a header; expected letters, digits and hyphens".to_owned());
    }
    match RESERVED.contains(&name) {
        true => Err("this header is the gateway's own; it cannot be set".to_owned()),
        false => Ok(()),
    }
}

/// `Some(None)` for a header that is not to be sent; nothing for a mistake, which is reported.
fn header_value(
    value: &Value,
    (place, name): (&KeyPath, &str),
    unset: &[Unset],
    report: &mut Report,
) -> Option<Option<Secret>> {
    let written = Typed::<Text>::deserialize(value).unwrap_or_default();
    if written.is_absent() {
        return Some(None);
    }
    let text = written.take(name, place, report)?.0;
    let (text, at) = (text.trim(), place.key(name));
    if text.is_empty() {
        report.error(&at, format!("{}; write null to send none", empty_because(&at, unset)));
        return None;
    }
    if !text.chars().all(|c| matches!(c, ' '..='~' | '\t')) {
        report.error(&at, "has characters that no header can carry, such as a line break or a letter with an accent");
        return None;
    }
    Some(Some(Secret::new(text)))
}

/// The headers of a provider that says `own`, where `all` is said at the top.
pub(super) fn over(own: Headers, all: &Headers) -> Vec<(Arc<str>, Secret)> {
    let mut headers = all.clone();
    headers.extend(own);
    headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> (Headers, Vec<String>) {
        let mut report = Report::default();
        let headers = resolve(value, &KeyPath::default(), &[], &mut report);
        let findings = report.into_findings();
        (headers, findings.into_iter().map(|finding| format!("{}: {}", finding.path, finding.message)).collect())
    }

    fn shown(headers: &[(Arc<str>, Secret)]) -> Vec<String> {
        headers.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect()
    }

    #[test]
    fn a_provider_has_its_headers_and_those_of_all_but_the_ones_it_does_not_want() {
        let (all, mistakes) = read(&json!({"X-Team": "a", "x-title": "t", "x-number": 7}));
        assert_eq!(mistakes, [""; 0]);
        let (own, mistakes) = read(&json!({"x-team": "b", "X-Title": null, "Authorization": " Basic eA== "}));
        assert_eq!(mistakes, [""; 0]);
        assert_eq!(shown(&over(own, &all)), ["authorization=Basic eA==", "x-number=7", "x-team=b"]);
        assert_eq!(shown(&over(Headers::new(), &all)), ["x-number=7", "x-team=a", "x-title=t"]);
    }

    #[test]
    fn mistakes_are_told_and_values_are_not() {
        for (value, message) in [
            (json!(["CANARY"]), "expected a mapping"),
            (json!({"x y": "CANARY"}), "is no name of a header"),
            (json!({"": "CANARY"}), "is no name of a header"),
            (json!({"Content-Length": "CANARY"}), "the gateway's own"),
            (json!({"transfer-encoding": "CANARY"}), "the gateway's own"),
            (json!({"HOST": "CANARY"}), "the gateway's own"),
            (json!({"x-a": "CANARY\r\nx-b: 1"}), "characters that no header can carry"),
            (json!({"x-a": "CANARYé"}), "characters that no header can carry"),
            (json!({"x-a": ["CANARY"]}), "expected a text, found a list"),
            (json!({"x-a": " "}), "is empty"),
            (json!({"x-a": "CANARY", "X-A": "CANARY"}), "is there twice"),
        ] {
            let (_, mistakes) = read(&value);
            assert_eq!(mistakes.len(), 1, "{mistakes:?}");
            assert!(mistakes[0].contains(message) && !mistakes[0].contains("CANARY"), "{mistakes:?}");
        }
    }
}

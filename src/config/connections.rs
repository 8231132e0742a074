//! `connections` in the preferences: how many clients may be connected, and how slow they may be.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::diagnostic::Report;
use super::path::KeyPath;
use super::preferences::or_else;
use super::raw::{Others, Vocabulary};
use super::seconds::PositiveSeconds;
use super::typed::{PositiveCount, Typed, kind};

/// `connections`: limits that keep clients from using up the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// `max`: so many connections of clients may be open at the same time.
    pub max: usize,
    /// `header_timeout`: from the opening of a connection to the end of its first request's head.
    pub header: Duration,
    /// `idle_timeout`: from an answer to the end of the next request's head.
    pub idle: Duration,
    /// `body_timeout`: between two pieces of a request's body.
    pub body: Duration,
    /// `send_timeout`: a client takes nothing of its answer for so long.
    pub send: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max: 10_000,
            header: Duration::from_secs(10),
            // Longer than the pools of proxies in front.
            idle: Duration::from_secs(75),
            body: Duration::from_secs(60),
            send: Duration::from_secs(60),
        }
    }
}

/// What is written behind `connections`. Times are in seconds.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RawConnections {
    max: Typed<PositiveCount>,
    header_timeout: Typed<PositiveSeconds>,
    idle_timeout: Typed<PositiveSeconds>,
    body_timeout: Typed<PositiveSeconds>,
    send_timeout: Typed<PositiveSeconds>,
    #[serde(flatten)]
    others: Others,
}

const CONNECTIONS: Vocabulary = Vocabulary {
    used: &["max", "header_timeout", "idle_timeout", "body_timeout", "send_timeout"],
    without_effect: &[],
    synonyms: &[
        ("limit", "max"),
        ("max_connections", "max"),
        ("head_timeout", "header_timeout"),
        ("client_header_timeout", "header_timeout"),
        ("keep_alive", "idle_timeout"),
        ("keepalive_timeout", "idle_timeout"),
        ("client_body_timeout", "body_timeout"),
        ("write_timeout", "send_timeout"),
    ],
};

const CONSEQUENCE: &str = "the default is used";

/// Resolves the mapping behind `connections` in the preferences at `place`.
pub(super) fn resolve(value: &Value, place: &KeyPath, report: &mut Report) -> ConnectionLimits {
    let place = place.key("connections");
    let default = ConnectionLimits::default();
    let raw = match value {
        Value::Null => return default,
        Value::Object(_) => RawConnections::deserialize(value).unwrap_or_default(),
        other => {
            let found = kind(other);
            let expected = "a mapping with max, header_timeout, idle_timeout, body_timeout and send_timeout";
            report.error(&place, format!("expected {expected}, found {found}; the defaults are used"));
            return default;
        }
    };
    CONNECTIONS.check(&raw.others, &place, report);
    let max = or_else(CONSEQUENCE, report, |report| raw.max.take("max", &place, report));
    let mut time = |written: Typed<PositiveSeconds>, key, default| {
        or_else(CONSEQUENCE, report, |report| written.take(key, &place, report)).map_or(default, |time| time.0)
    };
    ConnectionLimits {
        max: max.and_then(|max| usize::try_from(max.0).ok()).unwrap_or(default.max),
        header: time(raw.header_timeout, "header_timeout", default.header),
        idle: time(raw.idle_timeout, "idle_timeout", default.idle),
        body: time(raw.body_timeout, "body_timeout", default.body),
        send: time(raw.send_timeout, "send_timeout", default.send),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> (ConnectionLimits, Vec<String>) {
        let mut report = Report::default();
        let limits = resolve(&value, &KeyPath::default(), &mut report);
        let told = report.into_findings().into_iter().map(|finding| format!("{}: {}", finding.path, finding.message));
        (limits, told.collect())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        for value in [json!(null), json!({}), json!({"max": null})] {
            assert_eq!(read(value), (ConnectionLimits::default(), Vec::new()));
        }
    }

    #[test]
    fn every_limit_can_be_set() {
        let (limits, told) = read(json!({
            "max": 5, "header_timeout": 1, "idle_timeout": 4, "body_timeout": "2.5", "send_timeout": 3,
        }));
        let [header, idle, body, send] = [1.0, 4.0, 2.5, 3.0].map(Duration::from_secs_f64);
        assert_eq!((limits, told.len()), (ConnectionLimits { max: 5, header, idle, body, send }, 0));
    }

    #[test]
    fn a_mistake_is_told_and_leaves_the_default() {
        let (limits, told) = read(json!({"max": 0, "header_timeout": "soon", "body_timeout": 0, "max_connections": 7}));
        assert_eq!((limits, told.len()), (ConnectionLimits::default(), 4), "{told:?}");
        assert!(told[0].contains("did you mean \"max\"?"), "{told:?}");
        assert!(told[1..].iter().all(|told| told.ends_with("the default is used")), "{told:?}");
        let (limits, told) = read(json!(100));
        assert_eq!((limits, told.len()), (ConnectionLimits::default(), 1));
    }
}

//! A YAML error, with the hint that the common ones need.

use super::locate::Position;

/// Where the text cannot be read, and why, without quoting any value.
pub fn explain(text: &str, error: &serde_yaml::Error) -> (Option<Position>, String) {
    let position = error.location().map(|at| Position { line: at.line(), column: at.column() });
    let told = error.to_string();
    let hint = hint(text, position, &told).map(|hint| format!(": {hint}")).unwrap_or_default();
    (position, format!("this is not valid YAML{hint} ({})", without_position(&told)))
}

fn hint(text: &str, position: Option<Position>, told: &str) -> Option<&'static str> {
    if told.contains("more than one document") {
        return Some("there are several documents, separated by `---`; only one is expected");
    }
    let line = text.lines().nth(position?.line.saturating_sub(1)).unwrap_or_default();
    if line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t') {
        return Some("this line begins with a tab; YAML wants spaces");
    }
    if told.contains("alias") || told.contains("unknown anchor") {
        return Some("a `*` at the beginning has a special meaning; put quotes around it, as in \"*\", or write all");
    }
    let start = line.trim_start().trim_start_matches("- ").trim_start();
    let value = start.split_once(": ").map_or("", |(_, value)| value.trim_start());
    if [start, value].iter().any(|text| text.starts_with(['@', '`', '%'])) {
        return Some("a name that begins with @, ` or % needs quotes around it");
    }
    if told.contains("mapping values are not allowed") {
        return Some(
            "check the indentation here and above, and put quotes around a text that contains a colon and a space",
        );
    }
    if told.contains("did not find expected") || told.contains("could not find expected") {
        return Some("check the indentation, the quotes and the brackets here and above");
    }
    if told.contains("without a YAML tag") {
        return Some("a `!` at the beginning has a special meaning; put quotes around it");
    }
    None
}

/// The position is told in front of the message already; and the end of a message may quote.
fn without_position(told: &str) -> String {
    let shortened = told.split(" at line ").next().unwrap_or(told);
    // Errors of the reader itself ("invalid type: ...") may repeat a value; those of the parser never quote.
    if shortened.contains('"') { "unexpected value".to_owned() } else { shortened.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    fn explained(text: &str) -> String {
        let Err(error) = document::read(text) else { panic!("{text:?} is valid") };
        let (position, message) = explain(text, &error);
        format!("{}: {message}", position.map_or(0, |at| at.line))
    }

    #[test]
    fn common_mistakes_get_a_hint() {
        assert!(explained("a:\n  - *\n").starts_with("2: this is not valid YAML: a `*`"));
        assert!(explained("a:\n  - *all\n").contains("a `*` at the beginning"));
        assert!(explained("a:\n\tb: 1\n").contains("begins with a tab"));
        assert!(explained("a:\n  - @cf/meta/x: y\n").contains("begins with @"));
        assert!(explained("a: b: c\n").contains("colon and a space"));
        assert!(explained("a: [1, 2\nb: 3\n").contains("brackets"));
        assert!(explained("a: 1\n---\nb: 2\n").contains("several documents"));
        assert!(explained("a: !secret sk-CANARY\n").contains("`!`"));
    }

    #[test]
    fn a_value_is_never_quoted() {
        for text in ["a: !x \"sk-CANARY\"\n", "a:\n\tb: sk-CANARY\n", "a: 'sk-CANARY\n", "a: *sk-CANARY\n"] {
            assert!(!explained(text).contains("CANARY"), "{}", explained(text));
        }
    }
}

//! Text becomes a [`Config`], or a list of reasons why not.
//!
//! This file and the modules below it are the only ones that know the YAML crate.

mod document;
mod locate;
mod syntax;

use std::time::Duration;

use super::diagnostic::{Diagnostic, Finding, Report, Severity};
use super::expand;
use super::resolve;
use super::resolved::{Config, SwitchedOff};

/// Above this many findings, no more positions are looked for: each costs a pass over the text.
const MAX_POSITIONS: usize = 100;

/// What became of a text.
pub struct Loaded {
    /// The configuration; `None` if the gateway cannot start with it.
    pub config: Option<Config>,
    /// Everything that is wrong, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The providers that are not used, in the order of the file.
    pub off: Vec<SwitchedOff>,
}

/// Reads a whole configuration. `file_label` names the text in diagnostics, `env` answers for
/// environment variables, and `patience` is `TIMEOUT`.
pub fn parse(text: &str, file_label: &str, env: &dyn Fn(&str) -> Option<String>, patience: Duration) -> Loaded {
    let text = text.trim_start_matches('\u{feff}');
    let mut document = match document::read(text) {
        Ok(document) => document,
        Err(error) => {
            let (position, message) = syntax::explain(text, &error);
            let diagnostic = Diagnostic {
                severity: Severity::Error,
                file: file_label.to_owned(),
                line: position.map(|at| at.line),
                column: position.map(|at| at.column),
                path: String::new(),
                message,
            };
            return Loaded { config: None, diagnostics: vec![diagnostic], off: Vec::new() };
        }
    };
    let mut report = Report::default();
    for path in &document.duplicates {
        report.error(path, "this key is there twice; only the later one counts");
    }
    let unset = expand::expand(&mut document.root, env);
    let mut off = Vec::new();
    let config = resolve::resolve(&document.root, &unset, patience, &mut off, &mut report);
    Loaded { config, diagnostics: positioned(text, file_label, report.into_findings()), off }
}

/// Gives the findings their lines, and sorts them by these.
fn positioned(text: &str, file_label: &str, findings: Vec<Finding>) -> Vec<Diagnostic> {
    let mut diagnostics: Vec<_> = findings
        .into_iter()
        .enumerate()
        .map(|(count, finding)| {
            let at = if count < MAX_POSITIONS { locate::locate(text, &finding.path) } else { None };
            Diagnostic {
                severity: finding.severity,
                file: file_label.to_owned(),
                line: at.map(|at| at.line),
                column: at.map(|at| at.column),
                path: finding.path.to_string(),
                message: finding.message,
            }
        })
        .collect();
    diagnostics.sort_by_key(|diagnostic| (diagnostic.line.unwrap_or(usize::MAX), diagnostic.column));
    diagnostics
}

#[cfg(test)]
mod tests;

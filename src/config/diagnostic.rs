//! What is wrong with a configuration, in words for the person who wrote it.

use std::fmt;

use super::path::KeyPath;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something is switched off, or the gateway cannot start.
    Error,
    /// Everything works, perhaps not as intended.
    Warning,
}

/// One mistake. Never contains the value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file or address that the text came from.
    pub file: String,
    /// Line, counted from one, if known.
    pub line: Option<usize>,
    /// Column, counted from one, if known.
    pub column: Option<usize>,
    /// `providers[2].api`; empty when it is about the whole file.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        f.write_str(match self.severity {
            Severity::Error => ": error: ",
            Severity::Warning => ": warning: ",
        })?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// A mistake whose line is not known yet.
pub(super) struct Finding {
    pub severity: Severity,
    pub path: KeyPath,
    pub message: String,
}

/// Collects findings, so that all mistakes are told in one go.
#[derive(Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Notes an error.
    pub fn error(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.add(Severity::Error, path, message.into());
    }

    /// Notes a warning.
    pub fn warning(&mut self, path: &KeyPath, message: impl Into<String>) {
        self.add(Severity::Warning, path, message.into());
    }

    fn add(&mut self, severity: Severity, path: &KeyPath, message: String) {
        self.findings.push(Finding { severity, path: path.clone(), message });
    }

    /// A place to look back to with [`Report::errors_since`].
    pub fn mark(&self) -> usize {
        self.findings.len()
    }

    /// The errors noted after the mark.
    pub fn errors_since(&mut self, mark: usize) -> impl Iterator<Item = &mut Finding> {
        self.findings.iter_mut().skip(mark).filter(|finding| finding.severity == Severity::Error)
    }

    /// If errors were noted after the mark, the first of them says what follows from it.
    /// Returns whether there were any.
    pub fn conclude(&mut self, mark: usize, consequence: &str) -> bool {
        match self.errors_since(mark).next() {
            Some(first) => {
                first.message = format!("{}; {consequence}", first.message);
                true
            }
            None => false,
        }
    }

    /// What was noted after the mark and says that this follows from it.
    pub fn consequence_since(&self, mark: usize, consequence: &str) -> Option<String> {
        let finding = self.findings.iter().skip(mark).find(|finding| finding.message.ends_with(consequence))?;
        Some(format!("{}: {}", finding.path, finding.message))
    }

    /// Everything noted, in the order it was found.
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(line: Option<usize>, path: &str) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            file: "api.yaml".to_owned(),
            line,
            column: line.map(|_| 5),
            path: path.to_owned(),
            message: "expected a key".to_owned(),
        }
    }

    #[test]
    fn a_diagnostic_reads_like_one_of_a_compiler() {
        assert_eq!(
            diagnostic(Some(12), "providers[2].api").to_string(),
            "api.yaml:12:5: error: providers[2].api: expected a key"
        );
        assert_eq!(diagnostic(None, "").to_string(), "api.yaml: error: expected a key");
    }

    #[test]
    fn only_the_first_error_says_what_follows() {
        let mut report = Report::default();
        report.error(&KeyPath::default(), "old");
        let mark = report.mark();
        report.warning(&KeyPath::default(), "hm");
        assert!(!report.conclude(mark, "off"));
        report.error(&KeyPath::default(), "one");
        report.error(&KeyPath::default(), "two");
        assert!(report.conclude(mark, "off"));
        assert_eq!(report.consequence_since(mark, "off"), Some(": one; off".to_owned()));
        assert_eq!(report.consequence_since(mark, "on"), None);
        let messages: Vec<_> = report.into_findings().into_iter().map(|finding| finding.message).collect();
        assert_eq!(messages, ["old", "hm", "one; off", "two"]);
    }
}

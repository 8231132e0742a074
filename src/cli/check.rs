//! `uni-api check`: what is wrong with a configuration, and what the gateway makes of it.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use url::Url;

use crate::config::{Loaded, Severity, Source, find_source, parse, read_file, table};

use super::CANNOT_START;

/// The gateway starts and everything in the file is used.
pub const OK: u8 = 0;
/// The gateway starts without some part of the file. With `--strict`, also if there are warnings.
pub const MISTAKES: u8 = 1;

/// What the check looks at.
pub struct Surroundings<'a> {
    /// Where relative paths begin.
    pub working_dir: &'a Path,
    /// Answers for environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Gets the text behind an http or https address.
    pub fetch: &'a dyn Fn(&Url) -> Result<String, String>,
    /// `TIMEOUT`.
    pub patience: Duration,
}

/// Checks `file`, or whatever the gateway would use without one. Returns the exit code.
pub fn run(file: Option<&Path>, strict: bool, around: &Surroundings, out: &mut dyn Write) -> io::Result<u8> {
    match load(file, around) {
        Ok((label, loaded)) => report(&label, &loaded, strict, out),
        Err(message) => {
            writeln!(out, "error: {message}")?;
            Ok(CANNOT_START)
        }
    }
}

/// The configuration that the gateway would use, and its name.
///
/// # Errors
///
/// There is none, or it cannot be read; what to tell the user.
pub fn load(file: Option<&Path>, around: &Surroundings) -> Result<(String, Loaded), String> {
    let (label, text) = text(file, around)?;
    let loaded = parse(&text, &label, around.env, around.patience);
    Ok((label, loaded))
}

fn text(file: Option<&Path>, around: &Surroundings) -> Result<(String, String), String> {
    let source = find_source(file, around.working_dir, around.env).map_err(|error| error.to_string())?;
    let label = label(&source, around.working_dir);
    let text = match &source {
        Source::File(path) => read_file(path).map_err(|error| error.to_string())?,
        Source::Url(url) => (around.fetch)(url).map_err(|error| format!("{label}: {error}"))?,
    };
    Ok((label, text))
}

/// The name of a source in messages; of a file, as short as the user knows it.
pub(super) fn label(source: &Source, working_dir: &Path) -> String {
    match source {
        Source::File(path) => path.strip_prefix(working_dir).unwrap_or(path).display().to_string(),
        Source::Url(_) => source.to_string(),
    }
}

fn report(label: &str, loaded: &Loaded, strict: bool, out: &mut dyn Write) -> io::Result<u8> {
    for diagnostic in &loaded.diagnostics {
        writeln!(out, "{diagnostic}")?;
    }
    let count = |severity| loaded.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let found = format!("{}, {}", counted(errors, "error"), counted(warnings, "warning"));
    let Some(config) = &loaded.config else {
        writeln!(out, "{label}: {found}; the gateway cannot start")?;
        return Ok(CANNOT_START);
    };
    if !loaded.diagnostics.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "{}", table(config))?;
    let channels = counted(config.channels.len(), "channel");
    let keys = counted(config.client_keys.iter().count(), "client key");
    writeln!(out, "{label}: {found}; {channels}, {keys}")?;
    Ok(if errors > 0 || (strict && warnings > 0) { MISTAKES } else { OK })
}

/// `1 error`, `2 errors`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "providers: [{provider: p, base_url: 'http://h/v1'}]\napi_keys: [{api: sk-CANARY-0123456789}]\n";

    fn check(text: &str, strict: bool) -> (u8, String) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("api.yaml"), text).unwrap();
        run_in(dir.path(), None, strict, None)
    }

    fn run_in(dir: &Path, file: Option<&Path>, strict: bool, address: Option<&str>) -> (u8, String) {
        let around = Surroundings {
            working_dir: dir,
            env: &|name| if name == "CONFIG_URL" { address.map(str::to_owned) } else { None },
            fetch: &|url| if url.path() == "/good" { Ok(GOOD.to_owned()) } else { Err("answered 404".to_owned()) },
            patience: Duration::from_secs(100),
        };
        let mut out = Vec::new();
        let code = run(file, strict, &around, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_good_file_ends_with_its_table_and_a_summary() {
        let (code, out) = check(GOOD, true);
        assert_eq!(code, OK);
        assert!(out.starts_with("channel"), "{out}");
        assert!(out.ends_with("\napi.yaml: 0 errors, 0 warnings; 1 channel, 1 client key\n"), "{out}");
        assert!(!out.contains("CANARY"), "{out}");
    }

    #[test]
    fn warnings_count_only_when_strict() {
        let text = format!("{GOOD}typo: 1\n");
        let (code, out) = check(&text, false);
        assert_eq!(code, OK);
        assert!(out.starts_with("api.yaml:3:1: warning: typo: unknown key"), "{out}");
        assert_eq!(check(&text, true).0, MISTAKES);
    }

    #[test]
    fn errors_and_unusable_files_have_their_own_codes() {
        let partly = GOOD.replace("api_keys: [", "api_keys: [{api: ''}, ");
        assert_eq!(check(&partly, false).0, MISTAKES);
        let (code, out) = check("providers: [", false);
        assert_eq!(code, CANNOT_START);
        assert!(out.ends_with("api.yaml: 1 error, 0 warnings; the gateway cannot start\n"), "{out}");
    }

    #[test]
    fn addresses_are_fetched_and_shown_without_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let (code, out) = run_in(dir.path(), None, false, Some("https://u:CANARY@h/good?t=CANARY"));
        assert_eq!(code, OK);
        assert!(out.contains("https://h/good: 0 errors") && !out.contains("CANARY"), "{out}");
        let (code, out) = run_in(dir.path(), None, false, Some("https://u:CANARY@h/bad?t=CANARY"));
        assert_eq!((code, out.as_str()), (CANNOT_START, "error: https://h/bad: answered 404\n"));
    }

    #[test]
    fn no_configuration_at_all_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let (code, out) = run_in(dir.path(), None, false, None);
        assert_eq!(code, CANNOT_START);
        assert!(out.contains("CONFIG_URL is not set"), "{out}");
        assert_eq!(run_in(dir.path(), Some(Path::new("mine.yaml")), false, None).0, CANNOT_START);
    }
}

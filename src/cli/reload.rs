//! A gateway that runs takes over what its configuration says now.
//!
//! The source is read when it may have changed, and at once when that is asked for (SIGHUP). What is
//! worse than the version in force is refused, and told with the diagnostics of `check`.

mod origin;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::actors::{Control, Trouble};
use crate::config::{Config, Diagnostic, Loaded, Severity, parse};

use super::check::counted;
use super::diff;
use super::environment::Environment;
use super::serve::variable;
use super::signals::Hangups;

use origin::{Origin, Reading, Seen, seen};

/// The configuration of a gateway, from its first version on.
pub struct Reloading {
    origin: Origin,
    patience: Duration,
    /// What was read last.
    seen: Seen,
    in_force: Version,
}

/// What is remembered of a version.
struct Version {
    seen: Seen,
    errors: usize,
}

impl Reloading {
    /// Reads the first version.
    ///
    /// # Errors
    ///
    /// There is none that can be used; what to tell the user.
    pub async fn open(
        file: Option<&Path>,
        working_dir: &Path,
        environment: &Environment,
    ) -> Result<(Self, Config), String> {
        let mut origin = Origin::find(file, working_dir, &variable, environment.config_refresh)?;
        let reading = origin.read().await;
        let seen = seen(&reading);
        let Loaded { config, diagnostics, .. } = parse(&reading?, &origin.label, &variable, environment.patience);
        tell(&diagnostics);
        let config = config.ok_or_else(|| {
            format!("{} cannot be used; `uni-api check` shows it together with its table", origin.label)
        })?;
        let in_force = Version { seen: seen.clone(), errors: errors(&diagnostics).count() };
        Ok((Self { origin, patience: environment.patience, seen, in_force }, config))
    }

    /// Reloads for as long as the gateway runs.
    pub async fn run(mut self, control: Arc<Control>, mut hangups: Hangups) {
        loop {
            let (reading, is_asked_for) = tokio::select! {
                reading = self.origin.another(&self.seen) => (reading, false),
                () = hangups.next() => (self.origin.read().await, true),
            };
            let was = std::mem::replace(&mut self.seen, seen(&reading));
            if is_asked_for && self.seen == was && was == self.in_force.seen {
                log::info!("SIGHUP: {} says what it said before", self.origin.label);
                continue;
            }
            self.take(reading, &control).await;
        }
    }

    async fn take(&mut self, reading: Reading, control: &Arc<Control>) {
        let label = &self.origin.label;
        let text = match reading {
            Ok(text) => text,
            Err(why) => {
                // First, for who reads the log may ask at once.
                control.note_trouble(Some(Trouble::Unreadable("it cannot be read; the log says why".into())));
                return log::error!("{why}; the configuration stays as it is");
            }
        };
        if self.seen == self.in_force.seen {
            control.note_trouble(None);
            return log::info!("{label} is again as it was; nothing changes");
        }
        let Loaded { config, diagnostics, .. } = parse(&text, label, &variable, self.patience);
        tell(&diagnostics);
        let count = errors(&diagnostics).count();
        let Some(config) = config.filter(|_| count <= self.in_force.errors) else {
            control.note_trouble(Some(Trouble::Refused(in_public(&diagnostics))));
            return log::error!("{label} is refused; the configuration stays as it is");
        };
        let changes = diff::changes(&control.config(), &config);
        if let Err(failure) = control.reload(config).await {
            control.note_trouble(Some(Trouble::Refused("the gateway failed over it; its log says more".into())));
            return log::error!("{label}: {}", failure.message);
        }
        self.in_force = Version { seen: self.seen.clone(), errors: count };
        match changes.as_slice() {
            [] => log::info!("{label} is reloaded; nothing changes by it"),
            changes => {
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                log::info!("{label} is reloaded; {}", changes.join("; "));
            }
        }
    }
}

fn errors(diagnostics: &[Diagnostic]) -> impl Iterator<Item = &Diagnostic> {
    diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error)
}

fn tell(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        match diagnostic.severity {
            Severity::Error => log::error!("{diagnostic}"),
            Severity::Warning => log::warn!("{diagnostic}"),
        }
    }
}

/// How many mistakes there are, and where the first one is; nothing of what is written there.
fn in_public(diagnostics: &[Diagnostic]) -> String {
    let mistakes = counted(errors(diagnostics).count(), "mistake");
    let first = errors(diagnostics).find_map(|first| Some((first.line?, first.column?)));
    let place = first.map(|(line, column)| format!(", first: line {line}, column {column}")).unwrap_or_default();
    format!("{mistakes}{place}; the log has the rest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_is_told_where_and_not_what() {
        let text = "providers: [{provider: CANARY, base_url: CANARY}]\napi_keys:\n  - {api: sk-CANARY, model: CANARY/CANARY}\n";
        let diagnostics = parse(text, "CANARY.yaml", &|_| None, Duration::from_secs(1)).diagnostics;
        let public = in_public(&diagnostics);
        assert!(errors(&diagnostics).count() > 0 && !public.contains("CANARY"), "{public}");
        assert!(public.contains(" mistake") && public.contains(", first: line 1, column "), "{public}");
    }
}

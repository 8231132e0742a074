//! `uni-api`: serves until a signal ends it.

use std::path::Path;

use url::Url;

use crate::app::{self, Settings};
use crate::config::{Config, Loaded, Severity};
use crate::upstream::{fetch_text, install_crypto};

use super::CANNOT_START;
use super::check::{self, Surroundings};
use super::environment::Environment;

/// Serves with the configuration that `file` or the environment names. Returns the exit code.
pub fn run(file: Option<&Path>, working_dir: &Path, environment: Environment) -> u8 {
    let config = match load(file, working_dir, &environment) {
        Ok(config) => config,
        Err(why) => {
            log::error!("{why}");
            return CANNOT_START;
        }
    };
    match actix_web::rt::System::new().block_on(serve(config, environment)) {
        Ok(()) => 0,
        Err(error) => {
            log::error!("cannot serve: {error}; is another program listening there?");
            1
        }
    }
}

fn load(file: Option<&Path>, working_dir: &Path, environment: &Environment) -> Result<Config, String> {
    let around = Surroundings { working_dir, env: &variable, fetch: &fetch, patience: environment.patience };
    let (label, Loaded { config, diagnostics, .. }) = check::load(file, &around)?;
    for diagnostic in diagnostics {
        match diagnostic.severity {
            Severity::Error => log::error!("{diagnostic}"),
            Severity::Warning => log::warn!("{diagnostic}"),
        }
    }
    config.ok_or_else(|| format!("{label} cannot be used; `uni-api check` shows it together with its table"))
}

async fn serve(config: Config, environment: Environment) -> std::io::Result<()> {
    let channels = config.channels.len();
    let settings =
        Settings { listen: environment.listen, database: environment.database, workers: None, signals: true };
    let running = app::start(config, settings)?;
    for address in &running.addresses {
        log::info!("uni-api {} listens on http://{address}, channels: {channels}", env!("CARGO_PKG_VERSION"));
    }
    running.finished().await
}

/// An environment variable; one that is not text counts as unset.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The text behind an address, asked for before anything else runs.
///
/// # Errors
///
/// What to tell the user; without the address.
pub fn fetch(url: &Url) -> Result<String, String> {
    install_crypto();
    let runtime = actix_web::rt::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(fetch_text(url)).map_err(|failure| failure.message)
}

//! `uni-api serve`: serves until a signal ends it.

use std::path::Path;

use url::Url;

use crate::app::{self, Settings};
use crate::config::Config;
use crate::upstream::{fetch_text, install_crypto};

use super::CANNOT_START;
use super::environment::Environment;
use super::reload::Reloading;
use super::signals::{Endings, Hangups};

/// It served, and ended in good order.
pub const SERVED: u8 = 0;
/// It could not listen, or broke.
pub const BROKEN: u8 = 1;

/// Serves with the configuration that `file` or the environment names. Returns the exit code.
pub fn run(file: Option<&Path>, working_dir: &Path, environment: Environment) -> u8 {
    actix_web::rt::System::new().block_on(async {
        // Before anything that takes time.
        let (mut endings, hangups) = match (Endings::listen(), Hangups::listen()) {
            (Ok(endings), Ok(hangups)) => (endings, hangups),
            (Err(error), _) | (_, Err(error)) => {
                log::error!("signals cannot be listened for: {error}");
                return BROKEN;
            }
        };
        let opened = tokio::select! {
            opened = Reloading::open(file, working_dir, &environment) => opened,
            signal = endings.next() => return signal.exit_code(),
        };
        match opened {
            Ok((reloading, config)) => serve(config, reloading, environment, endings, hangups).await,
            Err(why) => {
                log::error!("{why}");
                CANNOT_START
            }
        }
    })
}

async fn serve(
    config: Config,
    reloading: Reloading,
    environment: Environment,
    mut endings: Endings,
    hangups: Hangups,
) -> u8 {
    let channels = config.channels.len();
    let open_files = raise_file_limit();
    let settings = Settings { listen: environment.listen, database: environment.database, workers: None, open_files };
    let mut running = match app::start(config, settings) {
        Ok(running) => running,
        Err(error) => {
            log::error!("cannot serve: {error}; is another program listening there?");
            return BROKEN;
        }
    };
    for address in &running.addresses {
        log::info!("uni-api {} listens on http://{address}, channels: {channels}", env!("CARGO_PKG_VERSION"));
    }
    let reloading = actix_web::rt::spawn(reloading.run(running.control.clone(), hangups));
    let signal = tokio::select! {
        signal = endings.next() => signal,
        error = running.broken() => {
            log::error!("cannot serve: {error}");
            return BROKEN;
        }
    };
    reloading.abort();
    let limit = environment.shutdown_timeout;
    log::info!("{}: answers may take {limit:?} to end; a second signal ends them at once", signal.name());
    tokio::select! {
        () = running.drain(limit) => SERVED,
        second = endings.next() => {
            log::warn!("{}: ended at once", second.name());
            second.exit_code()
        }
    }
}

/// Lets the process have as many files open as the system allows, and says how many these are. The
/// usual limit is lower for the sake of programs that cannot handle more.
fn raise_file_limit() -> Option<u64> {
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    match &raised {
        Ok(files) => log::debug!("up to {files} files can be open"),
        Err(error) => log::warn!("the limit of open files is as it was: {error}"),
    }
    raised.ok().filter(|files| *files < rlimit::INFINITY)
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

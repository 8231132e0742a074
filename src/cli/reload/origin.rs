//! Where the configuration comes from, read again and again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;
use url::Url;

use crate::cli::check;
use crate::config::{Fingerprint, Source, find_source, read_file};
use crate::upstream::{Document, Validators, fetch_changed, install_crypto};

use super::watch::Watch;

/// A file is looked at so often even when nothing tells of a change: of what is mounted into a
/// container, and of what a link leads to, often nothing does.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What has changed must stay as it is for so long: it may be half written.
const SETTLED_AFTER: Duration = Duration::from_millis(200);
/// What never stays as it is, is read after having been looked at so often.
const MAX_LOOKS: usize = 25;

/// The text, or why it cannot be read.
pub type Reading = Result<String, String>;

/// What tells one reading from another.
pub type Seen = Result<Fingerprint, String>;

/// What tells this reading from others.
pub fn seen(reading: &Reading) -> Seen {
    reading.as_ref().map(|text| Fingerprint::of(text.as_bytes())).map_err(Clone::clone)
}

/// The source of the configuration.
pub struct Origin {
    /// Its name in messages.
    pub label: String,
    kind: Kind,
}

enum Kind {
    File {
        path: PathBuf,
        /// `None` if the system does not allow it.
        watch: Option<Watch>,
    },
    Address {
        url: Url,
        /// `None`: it is read when that is asked for, and never else.
        refresh: Option<Duration>,
        /// The version read last.
        known: Option<Document>,
    },
}

impl Origin {
    /// The source that `file` or the environment names. A file is watched from now on, so that no
    /// change after it was first read goes unnoticed. An address is asked every `refresh`.
    ///
    /// # Errors
    ///
    /// There is none; what to tell the user.
    pub fn find(
        file: Option<&Path>,
        working_dir: &Path,
        env: &dyn Fn(&str) -> Option<String>,
        refresh: Option<Duration>,
    ) -> Result<Self, String> {
        let source = find_source(file, working_dir, env).map_err(|error| error.to_string())?;
        let label = check::label(&source, working_dir);
        let kind = match source {
            Source::File(path) => Kind::File { watch: Watch::beside(&path), path },
            Source::Url(url) => {
                install_crypto();
                Kind::Address { url, refresh, known: None }
            }
        };
        Ok(Self { label, kind })
    }

    /// Reads it now.
    pub async fn read(&mut self) -> Reading {
        match &mut self.kind {
            Kind::File { path, .. } => read(path),
            Kind::Address { url, known, .. } => {
                fetch(url, known).await.map_err(|message| format!("{}: {message}", self.label))
            }
        }
    }

    /// Waits until it reads otherwise than it did.
    pub async fn another(&mut self, before: &Seen) -> Reading {
        loop {
            match &self.kind {
                Kind::File { watch: Some(watch), .. } => tokio::select! {
                    // Changes come in swarms.
                    () = watch.change() => sleep(SETTLED_AFTER).await,
                    () = sleep(LOOK_EVERY) => {}
                },
                Kind::File { watch: None, .. } => sleep(LOOK_EVERY).await,
                Kind::Address { refresh: Some(refresh), .. } => sleep(*refresh).await,
                Kind::Address { refresh: None, .. } => std::future::pending().await,
            }
            let mut reading = self.read().await;
            if let Kind::File { path, .. } = &self.kind
                && seen(&reading) != *before
            {
                reading = settled(path, reading).await;
            }
            if seen(&reading) != *before {
                return reading;
            }
        }
    }
}

fn read(path: &Path) -> Reading {
    read_file(path).map_err(|error| error.to_string())
}

async fn settled(path: &Path, mut reading: Reading) -> Reading {
    for _ in 0..MAX_LOOKS {
        sleep(SETTLED_AFTER).await;
        let before = std::mem::replace(&mut reading, read(path));
        if reading == before {
            break;
        }
    }
    reading
}

async fn fetch(url: &Url, known: &mut Option<Document>) -> Reading {
    let nothing = Validators::default();
    let validators = known.as_ref().map_or(&nothing, |known| &known.validators);
    let fetched = fetch_changed(url, validators).await.map_err(|failure| failure.message)?;
    if let Some(document) = fetched {
        if known.as_ref().is_none_or(|known| known.text != document.text) {
            document.warn_of_unknown_end();
        }
        *known = Some(document);
    }
    known.as_ref().map(|known| known.text.clone()).ok_or_else(|| "the answer has status 304".to_owned())
}

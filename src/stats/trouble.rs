//! Why statistics cannot be kept, and what helps against it.

use std::io::ErrorKind;

use diesel::ConnectionError;
use thiserror::Error;

/// Why statistics cannot be kept.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder of the file cannot be made.
    #[error("cannot create its folder: {0}")]
    Folder(#[from] std::io::Error),
    /// The file cannot be opened.
    #[error("{0}")]
    Open(#[from] ConnectionError),
    /// The schema cannot be brought up to date.
    #[error("cannot migrate it: {0}")]
    Migrate(String),
    /// SQLite does not do what it is told.
    #[error("{0}")]
    Sql(#[from] diesel::result::Error),
}

/// The kinds of trouble, by what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Another program has locked the file: waiting.
    Locked,
    /// The disk is full or broken: nothing but space.
    NoRoom,
    /// The file can be opened by nobody: a new one.
    Damaged,
    /// The file cannot be opened or written to by this process: whoever may change that.
    Unusable,
    /// These rows are refused: doing without them.
    Refused,
}

impl StoreError {
    /// What kind of trouble it is.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Folder(error) if error.kind() == ErrorKind::StorageFull => Trouble::NoRoom,
            Self::Folder(_) => Trouble::Unusable,
            Self::Open(error) => told_by(&error.to_string()).unwrap_or(Trouble::Unusable),
            Self::Migrate(message) => told_by(message).unwrap_or(Trouble::Unusable),
            Self::Sql(error) => told_by(&error.to_string()).unwrap_or(Trouble::Refused),
        }
    }
}

/// diesel keeps SQLite's code to itself. Its messages are constants of SQLite:
/// <https://www.sqlite.org/c3ref/errcode.html>.
fn told_by(message: &str) -> Option<Trouble> {
    let kinds: [(&[&str], Trouble); 4] = [
        (&["is locked", "locking protocol"], Trouble::Locked),
        (&["disk is full", "disk I/O error"], Trouble::NoRoom),
        (&["is not a database", "malformed"], Trouble::Damaged),
        (&["unable to open", "readonly database", "access permission denied", "out of memory"], Trouble::Unusable),
    ];
    let is_told = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    kinds.iter().find(|(phrases, _)| is_told(phrases)).map(|(_, trouble)| *trouble)
}

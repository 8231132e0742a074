//! How the configuration in force stands to what its source says now.

use std::time::SystemTime;

/// Since when the configuration is in force, and what is wrong with what should follow it.
pub struct Standing {
    /// When it came into force.
    pub loaded_at: SystemTime,
    /// Why it is still in force although its source may say something else.
    pub trouble: Option<Trouble>,
}

impl Standing {
    /// In force since then, and up to date.
    pub(super) fn since(loaded_at: SystemTime) -> Self {
        Self { loaded_at, trouble: None }
    }
}

/// What is wrong with a newer version. Everybody may read it: it says where to look, and nothing of
/// what is written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It has mistakes.
    Refused(String),
    /// It cannot be read.
    Unreadable(String),
}

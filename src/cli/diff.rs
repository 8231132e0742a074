//! `uni-api diff`: what a gateway would change that reloads another configuration.

mod channel;
mod client;
mod details;
mod preferences;

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::config::{Channel, Config, Loaded, Severity};

use super::CANNOT_START;
use super::check::{Surroundings, counted, load};

/// The gateway would go on as it is.
pub const SAME: u8 = 0;
/// Something would change.
pub const DIFFERENT: u8 = 1;

/// Prints what changes from one file to another. Returns the exit code, as of `diff`: 0 if nothing
/// does, 1 if something does, 2 if a gateway that runs with the old file would refuse the new one, or
/// if one of them cannot be used at all.
pub fn run(old: &Path, new: &Path, around: &Surroundings, out: &mut dyn Write) -> io::Result<u8> {
    let (Some((old, errors_before)), Some((new, errors_after))) = (used(old, around, out)?, used(new, around, out)?)
    else {
        return Ok(CANNOT_START);
    };
    let changes = changes(&old, &new);
    for change in &changes {
        writeln!(out, "{}", change.on_lines())?;
    }
    if changes.is_empty() {
        writeln!(out, "nothing changes")?;
    }
    if errors_after > errors_before {
        writeln!(out, "\nthe new file has more errors than the old one; a gateway that runs refuses it")?;
        return Ok(CANNOT_START);
    }
    Ok(if changes.is_empty() { SAME } else { DIFFERENT })
}

/// What a file comes to, and how many errors it has; `None` if it cannot be used, which is said.
fn used(file: &Path, around: &Surroundings, out: &mut dyn Write) -> io::Result<Option<(Config, usize)>> {
    let (label, Loaded { config, diagnostics, .. }) = match load(Some(file), around) {
        Ok(loaded) => loaded,
        Err(message) => {
            writeln!(out, "error: {message}")?;
            return Ok(None);
        }
    };
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    if config.is_none() {
        writeln!(out, "{label}: {}; the gateway cannot start (see `uni-api check`)", counted(errors, "error"))?;
    } else if errors > 0 {
        writeln!(out, "{label}: {} (see `uni-api check`); this is what the rest comes to\n", counted(errors, "error"))?;
    }
    Ok(config.map(|config| (config, errors)))
}

/// What becomes of one thing.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// Which it is.
    subject: String,
    /// What becomes of it.
    details: Vec<String>,
}

impl Change {
    fn new(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { subject: subject.into(), details: vec![detail.into()] }
    }

    /// With a line for each detail, if there are several.
    fn on_lines(&self) -> String {
        match self.details.as_slice() {
            [detail] => format!("{}: {detail}", self.subject),
            details => format!("{}:\n  {}", self.subject, details.join("\n  ")),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.details.join(", "))
    }
}

/// What changes from one configuration to another: channels, client keys, and then the rest. Keys
/// are told by their label.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = channel_changes(&old.channels, &new.channels);
    changes.extend(client::changes(&old.client_keys, &new.client_keys));
    changes.extend(changed("preferences".to_owned(), preferences::details(old, new)));
    changes
}

/// The same channels as [`Config::succeeding`] takes for the same.
fn channel_changes(old: &[Arc<Channel>], new: &[Arc<Channel>]) -> Vec<Change> {
    let mut successors: Vec<Option<usize>> = vec![None; old.len()];
    let mut predecessors: Vec<Option<usize>> = vec![None; new.len()];
    let is_same: [fn(&Channel, &Channel) -> bool; 2] = [Channel::is_like, |old, new| old.name == new.name];
    for is_same in is_same {
        for ((at, channel), predecessor) in new.iter().enumerate().zip(&mut predecessors) {
            let free = |(_, (before, successor)): &(usize, (&Arc<Channel>, &mut Option<usize>))| {
                predecessor.is_none() && successor.is_none() && is_same(before, channel)
            };
            if let Some((before, (_, successor))) = old.iter().zip(&mut successors).enumerate().find(free) {
                *successor = Some(at);
                *predecessor = Some(before);
            }
        }
    }
    let subject = |channel: &Channel| format!("channel {}", channel.name);
    let mut changes = Vec::new();
    for (channel, successor) in old.iter().zip(&successors) {
        match successor.and_then(|at| new.get(at)) {
            Some(successor) => changes.extend(changed(subject(channel), channel::details(channel, successor))),
            None => changes.push(Change::new(subject(channel), "removed")),
        }
    }
    let added = new.iter().zip(&predecessors).filter(|(_, predecessor)| predecessor.is_none());
    changes.extend(added.map(|(channel, _)| Change::new(subject(channel), "added")));
    if !successors.iter().flatten().is_sorted() {
        let names: Vec<&str> = new.iter().map(|channel| &*channel.name).collect();
        changes.push(Change::new("order of the channels", names.join(", ")));
    }
    changes
}

fn changed(subject: String, details: Vec<String>) -> Option<Change> {
    if details.is_empty() { None } else { Some(Change { subject, details }) }
}

#[cfg(test)]
mod tests;

//! `uni-api explain`: which channels a request would be tried at, in what order, and why not at the
//! others.
//!
//! The answers are those of [`crate::routing`], asked as the Router of a gateway that has just
//! started asks it. Nothing is sent anywhere, except for a configuration that is behind an address.

use std::io::{self, Write};
use std::path::Path;

use crate::config::{ChannelId, Config, Severity, did_you_mean, shown};

use super::CANNOT_START;
use super::check::{Surroundings, counted, load};

mod case;
mod key;
mod limits;
mod not_tried;
mod settings;
mod tried;
mod turns;

use case::Case;

/// The answer is printed.
pub const EXPLAINED: u8 = 0;
/// There is no such key, or it may not use the model.
pub const REFUSED: u8 = 1;

/// How many models are named to whoever asks for one that is not there.
const MAX_NAMED: usize = 10;

/// What to explain.
pub struct Question<'a> {
    /// The configuration; without it whatever the gateway would use.
    pub file: Option<&'a Path>,
    /// The client key, or something that is true of no other: its position, its masked form, its role.
    pub key: &'a str,
    /// The model that it asks for.
    pub model: &'a str,
}

/// Answers a question. Returns the exit code.
pub fn run(question: &Question, around: &Surroundings, out: &mut dyn Write) -> io::Result<u8> {
    let (label, loaded) = match load(question.file, around) {
        Ok(loaded) => loaded,
        Err(message) => {
            writeln!(out, "error: {message}")?;
            return Ok(CANNOT_START);
        }
    };
    let errors = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    let errors = counted(errors, "error");
    let Some(config) = &loaded.config else {
        writeln!(out, "{label}: {errors}; the gateway cannot start (see `uni-api check`)")?;
        return Ok(CANNOT_START);
    };
    if !errors.starts_with("0 ") {
        writeln!(out, "{label}: {errors} (see `uni-api check`); this is what the rest comes to\n")?;
    }
    let client = match key::find(&config.client_keys, question.key) {
        Ok(client) => client,
        Err(message) => {
            write!(out, "{message}")?;
            return Ok(REFUSED);
        }
    };
    let case = Case::new(config, client, question.model);
    let (who, model) = (client.secret.masked(), shown(question.model));
    match (&case.pool, &case.at_most) {
        (Some(pool), _) => {
            writeln!(out, "{who} asks for {model}, by {}\n", client.schedule.name())?;
            write!(out, "{}", tried::table(&case, pool))?;
        }
        (None, Some(_)) => writeln!(out, "{who} asks for {model}, which no channel is known to have yet")?,
        (None, None) => {
            writeln!(out, "{who} may not use {model}{}", did_you_mean(question.model, case.names()))?;
            writeln!(out, "{}", may_use(&case))?;
        }
    }
    let not_tried = not_tried::table(&case, &loaded.off);
    if !not_tried.is_empty() {
        write!(out, "\nnot tried\n{not_tried}")?;
    }
    if case.at_most.is_none() {
        return Ok(REFUSED);
    }
    write!(out, "\n{}", limits::lines(&case))?;
    Ok(EXPLAINED)
}

/// What the key may use, if not this.
fn may_use(case: &Case) -> String {
    let names: Vec<String> = case.names().map(shown).collect();
    let more = match names.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match names.as_slice() {
        [] => "it may use no model that is known yet".to_owned(),
        names => format!("it may use {}{more}", names.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ")),
    }
}

/// The name of a channel. Of several with the same one, which of them it is.
fn channel_name(config: &Config, id: ChannelId) -> String {
    let Some(channel) = config.channel(id) else { return String::new() };
    let same = || config.channels.iter().filter(|other| other.name == channel.name);
    match same().count() {
        1 => channel.name.to_string(),
        _ => format!("{} ({})", channel.name, same().take_while(|other| other.id != channel.id).count() + 1),
    }
}

#[cfg(test)]
mod tests;

//! The keys of one channel, or the one slot of a channel without keys.

use std::sync::Arc;

use crate::config::Channel;
use crate::routing::KeyRing;
use crate::upstream::{InvalidTarget, Target};

use super::messages::Ticket;
use super::slot::{Slot, Without};
use super::targets::Targets;

/// The keys in turn, with their targets.
pub(super) struct Keys {
    channel: Arc<Channel>,
    ring: KeyRing,
    /// How the keys appear in the statistics.
    labels: Vec<Arc<str>>,
    targets: Targets,
}

impl Keys {
    /// The keys of a channel.
    ///
    /// # Errors
    ///
    /// The channel's URL or one of its keys cannot be put on the wire.
    pub fn of(channel: &Arc<Channel>) -> Result<Self, InvalidTarget> {
        Ok(Self {
            ring: KeyRing::new(channel.keys.len()),
            labels: channel.keys.iter().map(|key| Arc::from(key.label())).collect(),
            targets: Targets::new(Arc::clone(channel))?,
            channel: Arc::clone(channel),
        })
    }

    /// A key for the next attempt of this request.
    pub fn slot(&mut self, ticket: &Ticket, model: &Arc<str>) -> Result<Slot, Without> {
        let is_spent = |key| ticket.attempts.iter().any(|attempt| attempt.spent(self.channel.id, key));
        let key = self.ring.pick(is_spent).ok_or(Without::Slot)?;
        let target = self.targets.chat(key, model, ticket.stream).map_err(Without::Target)?;
        Ok(Slot { key, label: self.labels.get(key).cloned(), target, token: None })
    }

    /// Where to ask for the list of models, with each key.
    ///
    /// # Errors
    ///
    /// As of [`Keys::of`].
    pub fn lists(&self) -> Result<Vec<Arc<Target>>, InvalidTarget> {
        self.targets.lists()
    }
}

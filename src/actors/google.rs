//! A channel of Google Vertex AI: its regions, its access token, and the requests that wait for one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::canon::{Failure, FailureKind};
use crate::config::{Channel, Vertex};
use crate::routing::{Regions, Rests};
use crate::upstream::{Placement, Token, vertex_target};

use super::access::{Access, Entry};
use super::lease::{Outcome, Settle};
use super::messages::Dispatch;
use super::slot::{Applicant, Slot, Without};
use super::targets::{Ask, Kept};

/// What such a channel has in place of keys.
pub(super) struct Google {
    channel: Arc<Channel>,
    regions: Regions,
    access: Access,
    /// Prepared with the token of this serial.
    targets: (u64, Kept),
    /// Requests that came while there was no token. Each is one that a client waits for, so there
    /// are no more of them than requests in flight.
    waiting: Vec<Dispatch>,
}

impl Google {
    /// What the channel has, if it is one of Vertex AI.
    pub fn of(channel: &Arc<Channel>) -> Option<Self> {
        let vertex = channel.vertex.as_ref()?;
        Some(Self {
            channel: Arc::clone(channel),
            regions: Regions::new(&vertex.regions),
            access: Access::default(),
            targets: (0, Kept::default()),
            waiting: Vec::new(),
        })
    }

    /// Whether a token has to be asked for now.
    pub fn must_fetch(&mut self, now: Instant) -> bool {
        self.access.must_fetch(now)
    }

    /// A region for the next attempt of this request.
    pub fn slot(&mut self, applicant: Applicant<'_>, rests: &Rests) -> Result<Slot, Without> {
        let Applicant { ticket, model, now } = applicant;
        let Some(Vertex { account, .. }) = self.channel.vertex.as_deref() else { return Err(Without::Slot(None)) };
        let ask = (ticket.purpose.operation(), ticket.purpose.stream());
        let held = match self.access.enter(Instant::now()) {
            Entry::Granted(held) => held,
            Entry::Wait => return Err(Without::Token),
            Entry::Refused(why) => return Err(Without::Failure(Box::new(why))),
        };
        let is_spent = |region| ticket.attempts.iter().any(|attempt| attempt.spent(self.channel.id, region, now));
        let rest_of = |region| rests.of(region, model, now);
        let region = match self.regions.pick(model, |region| is_spent(region) || rest_of(region).is_some(), now) {
            Some(region) => region,
            None => applicant.first_to_wake(self.regions.of(model).filter(|region| !is_spent(*region)), rest_of)?,
        };
        let name = self.regions.name(region).ok_or(Without::Slot(None))?;
        let (serial, kept) = &mut self.targets;
        if *serial != held.serial {
            *serial = held.serial;
            kept.clear();
        }
        let target = kept.get(Ask { key: region, operation: ask.0, model: Some((Arc::clone(model), ask.1)) }, || {
            let placement = Placement { project: &account.project_id, region: name, model };
            vertex_target(&self.channel, &placement, ask, &held.value)
        });
        let target = target.map_err(Without::Target)?;
        Ok(Slot { key: region, label: None, region: Some(Arc::clone(name)), target, token: Some(held.serial) })
    }

    /// Keeps a request until there is a token.
    pub fn wait(&mut self, dispatch: Dispatch) {
        self.waiting.push(dispatch);
    }

    /// Takes in what came of asking for a token, and gives back the requests that waited for it.
    pub fn arrived(&mut self, answer: Result<Token, Failure>, now: Instant) -> Vec<Dispatch> {
        let name = &self.channel.name;
        let answer = answer.map_err(|failure| {
            log::warn!("channel {name}: no access token: {}", failure.message);
            Failure { message: format!("{name}: {}", failure.message), ..failure }
        });
        self.access.arrived(answer, now);
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|dispatch| !dispatch.reply.is_closed());
        waiting
    }

    /// Learns from how an attempt ended.
    pub fn learn(&mut self, settle: &Settle, now: Duration) {
        let Some(token) = settle.token else { return };
        match settle.outcome {
            Outcome::Begun | Outcome::Succeeded => self.access.accepted(token),
            Outcome::Failed(FailureKind::KeyRefused) if settle.is_unauthorized => {
                self.access.refused(token, Instant::now());
            }
            Outcome::Failed(FailureKind::UpstreamNotFound) => {
                self.regions.lacks(settle.slot, Arc::clone(&settle.model), now);
            }
            _ => {}
        }
    }

    /// Gives back the requests that wait, because no token will come.
    pub fn retire(&mut self) -> Vec<Dispatch> {
        std::mem::take(&mut self.waiting)
    }

    /// Begins anew after a panic, of which nobody knows what it left behind. Who waited asks again.
    pub fn restart(&mut self) {
        self.waiting.clear();
        self.access.forget_exchange();
    }
}

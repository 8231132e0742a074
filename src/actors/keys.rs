//! The keys of one channel, or the one slot of a channel without keys.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use crate::canon::{Failure, FailureKind};
use crate::config::{Channel, RateLimit};
use crate::routing::{Buckets, KeyRing, Rest, Rests, Why};
use crate::upstream::{InvalidTarget, Target};

use super::slot::{Applicant, Slot, Without};
use super::targets::Targets;

/// The keys in turn, with their targets and limits.
pub(super) struct Keys {
    channel: Arc<Channel>,
    ring: KeyRing,
    rng: Rng,
    /// How the keys appear in the statistics.
    labels: Vec<Arc<str>>,
    targets: Targets,
    /// What each key has sent to each model, where that is limited.
    sent: Buckets<(usize, Arc<str>)>,
}

impl Keys {
    /// The keys of a channel.
    ///
    /// # Errors
    ///
    /// The channel's URL or one of its keys cannot be put on the wire.
    pub fn of(channel: &Arc<Channel>) -> Result<Self, InvalidTarget> {
        Ok(Self {
            ring: KeyRing::new(channel.keys.len(), channel.key_schedule),
            rng: Rng::new(),
            labels: channel.keys.iter().map(|key| Arc::from(key.label())).collect(),
            targets: Targets::new(Arc::clone(channel))?,
            sent: Buckets::default(),
            channel: Arc::clone(channel),
        })
    }

    /// A key for the next attempt of this request.
    pub fn slot(&mut self, applicant: Applicant<'_>, rests: &Rests) -> Result<Slot, Without> {
        let Applicant { ticket, model, now } = applicant;
        let Self { channel, ring, rng, labels, targets, sent } = self;
        let limit = channel.key_limit.find(&[model, &ticket.model]).map(|(_, limit)| limit);
        if let Some(most) = limit.and_then(|limit| limit.tokens_per_request)
            && let Some(tokens) = ticket.prompt_tokens.filter(|tokens| *tokens > most)
        {
            let message = format!("{}: takes up to {most} tokens, and this prompt has about {tokens}", channel.name);
            return Err(Without::Failure(Box::new(Failure::new(FailureKind::BodyTooLarge, message))));
        }
        let is_spent = |key| ticket.attempts.iter().any(|attempt| attempt.spent(channel.id, key, now));
        let rest_of = |key| full_until(sent, key, model, limit, now).or_else(|| rests.of(key, model, now));
        let key = match ring.pick(|key| is_spent(key) || rest_of(key).is_some(), rng) {
            Some(key) => key,
            None => applicant.first_to_wake(ring.positions().filter(|key| !is_spent(*key)), rest_of)?,
        };
        let target = targets.answer(key, model, ticket.purpose).map_err(Without::Target)?;
        if let Some(limit) = limit {
            // Looked at before, so that it cannot be spent.
            let _ = sent.take(&(key, Arc::clone(model)), &limit.rates, now);
        }
        Ok(Slot { key, label: labels.get(key).cloned(), region: None, target, token: None })
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

/// Until when a key has reached its limit.
fn full_until(
    sent: &Buckets<(usize, Arc<str>)>,
    key: usize,
    model: &Arc<str>,
    limit: Option<&RateLimit>,
    now: Duration,
) -> Option<Rest> {
    let quota = sent.look(&(key, Arc::clone(model)), &limit?.rates, now)?;
    quota.is_spent().then(|| Rest { until: now.saturating_add(quota.wait), why: Why::Full })
}

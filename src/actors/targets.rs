//! The prepared targets of one channel.

use std::sync::Arc;

use foldhash::HashMap;

use crate::canon::Operation;
use crate::config::{Channel, Secret};
use crate::upstream::{Endpoint, InvalidTarget, Target, address_names_model};

use super::messages::Purpose;

/// How many targets are kept. Beyond it, which takes hundreds of models, they are prepared anew.
const MAX_KEPT: usize = 4096;

/// What a target depends on.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Ask {
    /// The position of the key or the region.
    pub key: usize,
    /// What is asked for.
    pub operation: Operation,
    /// The model, and whether it streams. Where the address does not name the model, all models
    /// share one target.
    pub model: Option<(Arc<str>, bool)>,
}

/// Targets, each prepared when it is first wanted.
#[derive(Default)]
pub(super) struct Kept(HashMap<Ask, Arc<Target>>);

impl Kept {
    /// The target for this, which `prepare` makes.
    pub fn get(
        &mut self,
        ask: Ask,
        prepare: impl FnOnce() -> Result<Target, InvalidTarget>,
    ) -> Result<Arc<Target>, InvalidTarget> {
        if let Some(target) = self.0.get(&ask) {
            return Ok(Arc::clone(target));
        }
        let target = Arc::new(prepare()?);
        if self.0.len() >= MAX_KEPT {
            self.0.clear();
        }
        self.0.insert(ask, Arc::clone(&target));
        Ok(target)
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// The targets of a channel with keys, or with none.
pub(super) struct Targets {
    channel: Arc<Channel>,
    kept: Kept,
}

impl Targets {
    /// No target yet.
    ///
    /// # Errors
    ///
    /// The channel's URL or one of its keys cannot be put on the wire.
    pub fn new(channel: Arc<Channel>) -> Result<Self, InvalidTarget> {
        let targets = Self { channel, kept: Kept::default() };
        targets.lists()?;
        Ok(targets)
    }

    /// Where to ask for an answer of this model, with the key at this position.
    ///
    /// # Errors
    ///
    /// The address of the model cannot be put on the wire, or the channel's format has no such
    /// operation.
    pub fn answer(&mut self, key: usize, model: &Arc<str>, purpose: Purpose) -> Result<Arc<Target>, InvalidTarget> {
        let (operation, stream) = (purpose.operation(), purpose.stream());
        let model_in_address = address_names_model(self.channel.dialect).then(|| (Arc::clone(model), stream));
        let Self { channel, kept } = self;
        kept.get(Ask { key, operation, model: model_in_address }, || {
            Target::new(channel, Endpoint::Answer { operation, model, stream }, channel.keys.get(key))
        })
    }

    /// Where to ask for the list of models, with each key.
    ///
    /// # Errors
    ///
    /// As of [`Targets::new`].
    pub fn lists(&self) -> Result<Vec<Arc<Target>>, InvalidTarget> {
        let keys: Vec<Option<&Secret>> = match self.channel.keys.as_slice() {
            [] => vec![None],
            keys => keys.iter().map(Some).collect(),
        };
        let list = |key: Option<&Secret>| Target::new(&self.channel, Endpoint::ListModels, key).map(Arc::new);
        keys.into_iter().map(list).collect()
    }
}

//! The prepared targets of one channel.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Channel, Secret};
use crate::upstream::{InvalidTarget, Operation, Target, address_names_model};

/// How many targets are kept. Beyond it, which takes hundreds of models, they are prepared anew.
const MAX_KEPT: usize = 4096;

/// What a target depends on. Where the address does not name the model, all models share one.
#[derive(PartialEq, Eq, Hash)]
struct Ask {
    key: usize,
    model: Option<(Arc<str>, bool)>,
}

/// The targets of a channel, each prepared when it is first wanted.
pub(super) struct Targets {
    channel: Arc<Channel>,
    kept: HashMap<Ask, Arc<Target>>,
}

impl Targets {
    /// No target yet.
    ///
    /// # Errors
    ///
    /// The channel's URL or one of its keys cannot be put on the wire.
    pub fn new(channel: Arc<Channel>) -> Result<Self, InvalidTarget> {
        let targets = Self { channel, kept: HashMap::new() };
        for key in 0..targets.keys().len() {
            targets.prepare(key, Operation::ListModels)?;
        }
        Ok(targets)
    }

    /// The channel's keys; one that stands for none, if it has none.
    fn keys(&self) -> Vec<Option<&Secret>> {
        let keys: Vec<_> = self.channel.keys.iter().map(Some).collect();
        if keys.is_empty() { vec![None] } else { keys }
    }

    fn prepare(&self, key: usize, operation: Operation<'_>) -> Result<Arc<Target>, InvalidTarget> {
        Target::new(&self.channel, operation, self.channel.keys.get(key)).map(Arc::new)
    }

    /// Where to ask for an answer of this model, with the key at this position.
    ///
    /// # Errors
    ///
    /// The address of the model cannot be put on the wire.
    pub fn chat(&mut self, key: usize, model: &Arc<str>, stream: bool) -> Result<Arc<Target>, InvalidTarget> {
        let model_in_address = address_names_model(self.channel.dialect).then(|| (Arc::clone(model), stream));
        let ask = Ask { key, model: model_in_address };
        if let Some(target) = self.kept.get(&ask) {
            return Ok(Arc::clone(target));
        }
        let target = self.prepare(key, Operation::Chat { model, stream })?;
        if self.kept.len() >= MAX_KEPT {
            self.kept.clear();
        }
        self.kept.insert(ask, Arc::clone(&target));
        Ok(target)
    }

    /// Where to ask for the list of models, with each key.
    ///
    /// # Errors
    ///
    /// As of [`Targets::new`].
    pub fn lists(&self) -> Result<Vec<Arc<Target>>, InvalidTarget> {
        (0..self.keys().len()).map(|key| self.prepare(key, Operation::ListModels)).collect()
    }
}

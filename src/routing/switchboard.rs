//! Everything the Router decides: who may use which channel, and where a request starts.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{ChannelId, ClientKey, ModelName, Schedule};

use super::plan::{Candidate, Plan};
use super::rules::{self, Offer};

/// The channels with their current models, and one cursor per (client key, model).
///
/// Memory is bounded by the configuration: only models that some channel offers get an entry.
pub struct Switchboard {
    lines: Vec<Line>,
    /// By position of the client key, then by alias.
    rings: Vec<HashMap<Box<str>, Ring>>,
    /// Grows with every change of models, so that rings know they are out of date.
    edition: u64,
}

struct Line {
    channel: ChannelId,
    name: Arc<str>,
    models: Vec<ModelName>,
}

struct Ring {
    candidates: Arc<[Candidate]>,
    cursor: usize,
    edition: u64,
}

impl Switchboard {
    /// A switchboard over these channels: position, name and the models known so far.
    pub fn new(channels: impl IntoIterator<Item = (ChannelId, Arc<str>, Vec<ModelName>)>) -> Self {
        let lines = channels.into_iter().map(|(channel, name, models)| Line { channel, name, models });
        Self { lines: lines.collect(), rings: Vec::new(), edition: 0 }
    }

    /// Replaces the models of one channel. Cursors stay where they are.
    pub fn set_models(&mut self, channel: ChannelId, models: Vec<ModelName>) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.channel == channel) {
            line.models = models;
            self.edition += 1;
        }
    }

    /// The order in which channels are tried for this request; `None` when the client key has no
    /// channel for the model. Each call is one request: round robin moves on.
    pub fn plan(&mut self, client: &ClientKey, alias: &str) -> Option<Plan> {
        if self.rings.len() <= client.id {
            self.rings.resize_with(client.id + 1, HashMap::new);
        }
        let rings = self.rings.get_mut(client.id)?;
        if let Some(ring) = rings.get_mut(alias).filter(|ring| ring.edition == self.edition) {
            return Some(ring.next(client.schedule));
        }
        let candidates = rules::candidates(&client.rules, &offers(&self.lines), alias);
        if candidates.is_empty() {
            rings.remove(alias);
            return None;
        }
        let ring =
            rings.entry(alias.into()).or_insert(Ring { candidates: Arc::new([]), cursor: 0, edition: self.edition });
        ring.candidates = candidates.into();
        ring.edition = self.edition;
        Some(ring.next(client.schedule))
    }

    /// Every alias this client key may use.
    pub fn aliases(&self, client: &ClientKey) -> Vec<Arc<str>> {
        rules::aliases(&client.rules, &offers(&self.lines))
    }
}

impl Ring {
    fn next(&mut self, schedule: Schedule) -> Plan {
        let start = match schedule {
            Schedule::FixedPriority => 0,
            _ => self.cursor,
        };
        self.cursor = (self.cursor + 1).checked_rem(self.candidates.len()).unwrap_or(0);
        Plan::new(Arc::clone(&self.candidates), start)
    }
}

fn offers(lines: &[Line]) -> Vec<Offer<'_>> {
    lines.iter().map(|line| Offer { channel: line.channel, name: &line.name, models: &line.models }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Retries, Rule, RuleTarget, Secret};

    fn client(id: usize, schedule: Schedule) -> ClientKey {
        ClientKey {
            id,
            secret: Secret::new("sk-client"),
            label: "sk-client".into(),
            is_admin: false,
            rules: vec![Rule { target: RuleTarget::Everything, weight: None }],
            schedule,
            retries: Retries::UntilExhausted,
            rate_limit: Default::default(),
            is_moderated: false,
        }
    }

    fn model(name: &str) -> ModelName {
        ModelName { alias: name.into(), upstream: name.into() }
    }

    fn two_channels() -> Switchboard {
        let line = |id: usize| (ChannelId(id), Arc::from(format!("channel-{id}")), vec![model("m")]);
        Switchboard::new([line(0), line(1)])
    }

    fn starts(board: &mut Switchboard, client: &ClientKey, requests: usize) -> Vec<usize> {
        (0..requests).filter_map(|_| board.plan(client, "m")?.current().map(|candidate| candidate.channel.0)).collect()
    }

    #[test]
    fn round_robin_rotates_per_client_key() {
        let mut board = two_channels();
        let (one, other) = (client(0, Schedule::RoundRobin), client(1, Schedule::RoundRobin));
        assert_eq!(starts(&mut board, &one, 3), [0, 1, 0]);
        assert_eq!(starts(&mut board, &other, 2), [0, 1]);
    }

    #[test]
    fn fixed_priority_always_starts_at_the_first() {
        let mut board = two_channels();
        assert_eq!(starts(&mut board, &client(0, Schedule::FixedPriority), 3), [0, 0, 0]);
    }

    #[test]
    fn discovered_models_appear_and_leave_the_cursor_alone() {
        let mut board = two_channels();
        let client = client(0, Schedule::RoundRobin);
        assert_eq!(starts(&mut board, &client, 1), [0]);
        board.set_models(ChannelId(1), vec![model("m"), model("new")]);
        assert_eq!(starts(&mut board, &client, 1), [1]);
        assert!(board.plan(&client, "new").is_some());
        board.set_models(ChannelId(1), vec![model("m")]);
        assert!(board.plan(&client, "new").is_none());
    }

    #[test]
    fn an_unknown_model_leaves_nothing_behind() {
        let mut board = two_channels();
        assert!(board.plan(&client(0, Schedule::RoundRobin), "nobody-has-this").is_none());
        assert!(board.rings.iter().all(HashMap::is_empty));
    }
}

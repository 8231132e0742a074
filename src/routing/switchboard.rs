//! Everything the Router decides: who may use which channel, and where a request starts.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use crate::config::{ChannelId, ClientKey, ClientKeys, ModelName};

use super::pool::Pool;
use super::rules::{Ground, Offer, Usable};

/// The channels with their current models, and one pool per (client key, model).
///
/// Memory is bounded by the configuration: only models that some channel offers get an entry.
pub struct Switchboard {
    lines: Vec<Line>,
    /// By client key, then by alias.
    pools: HashMap<usize, HashMap<Box<str>, Edition>>,
    /// Every alias that some channel has: nothing is looked through for others.
    known: HashSet<Arc<str>>,
    /// Grows with every change of models, so that pools know they are out of date.
    edition: u64,
}

/// A channel: its position, its name, and the models known so far.
pub struct Line {
    /// Which channel.
    pub channel: ChannelId,
    /// Its name.
    pub name: Arc<str>,
    /// Its models.
    pub models: Vec<ModelName>,
}

struct Edition {
    pool: Pool,
    /// By the rules of this client key. A request from before a reload brings those of before.
    client: Arc<ClientKey>,
    number: u64,
}

impl Switchboard {
    /// A switchboard over these channels.
    pub fn new(lines: Vec<Line>) -> Self {
        let mut board = Self { lines, pools: HashMap::new(), known: HashSet::new(), edition: 0 };
        board.begin_edition();
        board
    }

    /// Replaces the models of one channel. Turns stay where they are.
    pub fn set_models(&mut self, channel: ChannelId, models: Vec<ModelName>) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.channel == channel) {
            line.models = models;
            self.begin_edition();
        }
    }

    fn begin_edition(&mut self) {
        let models = self.lines.iter().flat_map(|line| &line.models);
        self.known = models.map(|model| Arc::clone(&model.alias)).collect();
        self.pools.values_mut().for_each(|pools| pools.retain(|alias, _| self.known.contains(&**alias)));
        self.edition += 1;
    }

    /// Replaces all channels, by those of another configuration that has these client keys. Turns
    /// stay where they are.
    pub fn reload(&mut self, lines: Vec<Line>, clients: &ClientKeys) {
        self.lines = lines;
        self.begin_edition();
        let ids: HashSet<usize> = clients.iter().map(|client| client.id).collect();
        self.pools.retain(|client, _| ids.contains(client));
    }

    /// The channels that a client key has for a model; `None` when there are none.
    pub fn pool(&mut self, client: &Arc<ClientKey>, clients: &ClientKeys, alias: &str) -> Option<&mut Pool> {
        let Self { lines, pools, known, edition } = self;
        if !known.contains(alias) {
            return None;
        }
        let pools = pools.entry(client.id).or_default();
        let is_current =
            pools.get(alias).is_some_and(|entry| entry.number == *edition && Arc::ptr_eq(&entry.client, client));
        if !is_current {
            let before = pools.remove(alias);
            let mut pool = Ground { offers: &offers(lines), clients }.pool(client, alias)?;
            if let Some(before) = before {
                pool.inherit(before.pool);
            }
            pools.insert(alias.into(), Edition { pool, client: Arc::clone(client), number: *edition });
        }
        pools.get_mut(alias).map(|entry| &mut entry.pool)
    }

    /// Every model this client key may use.
    pub fn usable(&self, client: &ClientKey, clients: &ClientKeys) -> Vec<Usable> {
        Ground { offers: &offers(&self.lines), clients }.usable(client)
    }
}

fn offers(lines: &[Line]) -> Vec<Offer<'_>> {
    lines.iter().map(|line| Offer { channel: line.channel, name: &line.name, models: &line.models }).collect()
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::config::Schedule;
    use crate::routing::tests;

    fn client(id: usize, schedule: Schedule) -> Arc<ClientKey> {
        Arc::new(tests::client(id, schedule))
    }

    fn model(name: &str) -> ModelName {
        ModelName { alias: name.into(), upstream: name.into() }
    }

    fn two_channels() -> Switchboard {
        let line =
            |id: usize| Line { channel: ChannelId(id), name: format!("channel-{id}").into(), models: vec![model("m")] };
        Switchboard::new(vec![line(0), line(1)])
    }

    fn has(board: &mut Switchboard, client: &Arc<ClientKey>, alias: &str) -> bool {
        board.pool(client, &ClientKeys::default(), alias).is_some()
    }

    fn starts(board: &mut Switchboard, client: &Arc<ClientKey>, requests: usize) -> Vec<usize> {
        let mut rng = Rng::with_seed(5);
        let mut first = |_| {
            let pool = board.pool(client, &ClientKeys::default(), "m")?;
            Some(pool.next(&mut rng).current()?.channel.0)
        };
        (0..requests).filter_map(&mut first).collect()
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
    fn discovered_models_appear_and_leave_the_turn_alone() {
        let mut board = two_channels();
        let client = client(0, Schedule::RoundRobin);
        assert_eq!(starts(&mut board, &client, 1), [0]);
        board.set_models(ChannelId(1), vec![model("m"), model("new")]);
        assert_eq!(starts(&mut board, &client, 1), [1]);
        assert!(has(&mut board, &client, "new"));
        board.set_models(ChannelId(1), vec![model("m")]);
        assert!(!has(&mut board, &client, "new"));
    }

    #[test]
    fn a_reload_leaves_turns_where_they_are_and_obeys_new_rules_at_once() {
        let mut board = two_channels();
        let before = client(0, Schedule::RoundRobin);
        assert_eq!(starts(&mut board, &before, 1), [0]);
        let line = |id: usize| Line { channel: ChannelId(id), name: "c".into(), models: vec![model("m")] };
        let after = client(0, Schedule::RoundRobin);
        board.reload(vec![line(0), line(1), line(2)], &ClientKeys::new(vec![(*after).clone()]));
        assert_eq!(starts(&mut board, &after, 3), [1, 2, 0]);

        let fixed = client(0, Schedule::FixedPriority);
        assert_eq!(starts(&mut board, &fixed, 1), [0], "another client key of the same id is another edition");
        board.reload(Vec::new(), &ClientKeys::default());
        assert!(board.pools.is_empty(), "a client key that is gone leaves nothing");
    }

    #[test]
    fn an_unknown_model_leaves_nothing_behind() {
        let mut board = two_channels();
        assert!(!has(&mut board, &client(0, Schedule::RoundRobin), "nobody-has-this"));
        assert!(board.pools.values().all(HashMap::is_empty));
    }
}

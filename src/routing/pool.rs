//! The channels that a client key has for one model, and the order in which each request tries them.
//!
//! Members with a weight come before those without, whatever the schedule. A member may be a pool
//! itself: what another client key has for the model, by the schedule of that key.

use std::sync::Arc;

use fastrand::Rng;

use crate::config::{Fingerprint, Schedule};

use super::plan::{Candidate, Plan};

/// Channels with a schedule.
#[derive(Clone, Debug)]
pub struct Pool {
    schedule: Schedule,
    /// Those with weights, then those without.
    tiers: [Tier; 2],
    /// All of them, where each order is a rotation of it: saves building one for each request.
    ring: Option<Arc<[Candidate]>>,
}

/// One place in a pool.
#[derive(Clone, Debug)]
pub struct Member {
    /// What is there.
    pub entry: Entry,
    /// Its weight, if one was written.
    pub weight: Option<u32>,
    /// The rule that brought it in, by its position among those of the client key.
    pub rule: usize,
}

/// What a place in a pool holds.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A channel.
    Channel(Candidate),
    /// What the client key of this fingerprint has.
    Client(Fingerprint, Pool),
}

#[derive(Clone, Debug, Default)]
struct Tier {
    seats: Vec<Seat>,
    /// Whose turn it is.
    cursor: usize,
}

#[derive(Clone, Debug)]
struct Seat {
    member: Member,
    /// What smooth weighted round robin owes it.
    credit: i64,
}

impl Pool {
    /// A pool of these members, in the order written. `None` if there are none.
    pub fn new(schedule: Schedule, members: Vec<Member>) -> Option<Self> {
        if members.is_empty() {
            return None;
        }
        let mut tiers = [Tier::default(), Tier::default()];
        let [weighted, others] = &mut tiers;
        for member in members {
            let tier = if member.weight.is_some() { &mut *weighted } else { &mut *others };
            tier.seats.push(Seat { member, credit: 0 });
        }
        let is_one_tier = tiers.iter().any(|tier| tier.seats.is_empty());
        let rotates = matches!(schedule, Schedule::RoundRobin | Schedule::FixedPriority);
        let candidates = tiers.iter().flat_map(|tier| &tier.seats).map(|seat| match &seat.member.entry {
            Entry::Channel(candidate) => Some(candidate.clone()),
            Entry::Client(..) => None,
        });
        let ring = if is_one_tier && rotates { candidates.collect() } else { None };
        Some(Self { schedule, tiers, ring })
    }

    /// In which order its members are tried.
    pub fn schedule(&self) -> Schedule {
        self.schedule
    }

    /// What it holds: the members with weights, then those without, as written.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.tiers.iter().flat_map(|tier| &tier.seats).map(|seat| &seat.member)
    }

    /// The order for the next request. Each call is one request: turns move on.
    pub fn next(&mut self, rng: &mut Rng) -> Plan {
        if let Some(ring) = &self.ring {
            let tier = self.tiers.iter_mut().find(|tier| !tier.seats.is_empty());
            let start = match self.schedule {
                Schedule::RoundRobin => tier.map(Tier::turn).unwrap_or_default(),
                _ => 0,
            };
            return Plan::new(Arc::clone(ring), start);
        }
        let mut order = Vec::new();
        self.append(&mut order, rng);
        Plan::new(order.into(), 0)
    }

    /// Goes on where `before` was, with whatever is still there.
    pub fn inherit(&mut self, before: Pool) {
        let Pool { tiers: before, .. } = before;
        for (tier, before) in self.tiers.iter_mut().zip(before) {
            tier.inherit(before);
        }
    }

    /// Appends the order for one request. Only a pool that gives the first candidate moves on: the
    /// others were not used, and moving them as well would couple their turns to those of this one.
    fn append(&mut self, order: &mut Vec<Candidate>, rng: &mut Rng) {
        for tier in &mut self.tiers {
            for position in tier.order(self.schedule, order.is_empty(), rng) {
                match tier.seats.get_mut(position).map(|seat| &mut seat.member.entry) {
                    Some(Entry::Channel(candidate)) => order.push(candidate.clone()),
                    Some(Entry::Client(_, pool)) => pool.append(order, rng),
                    None => {}
                }
            }
        }
    }
}

impl Tier {
    /// Whose turn it is, by position; the turn passes on.
    fn turn(&mut self) -> usize {
        let at = self.cursor.checked_rem(self.seats.len()).unwrap_or(0);
        self.cursor = at + 1;
        at
    }

    /// The order of seats, by position.
    fn order(&mut self, schedule: Schedule, moves_on: bool, rng: &mut Rng) -> Vec<usize> {
        let count = self.seats.len();
        let mut order: Vec<usize> = (0..count).collect();
        if count < 2 {
            return order;
        }
        match schedule {
            Schedule::FixedPriority => {}
            Schedule::RoundRobin => {
                let start = if moves_on { self.turn() } else { self.cursor.checked_rem(count).unwrap_or(0) };
                order.rotate_left(start);
            }
            Schedule::WeightedRoundRobin => {
                let first = self.most_owed(moves_on);
                order.rotate_left(first);
                if let Some((_, rest)) = order.split_first_mut() {
                    rest.sort_by_key(|at| std::cmp::Reverse(self.seats.get(*at).map(Seat::weight)));
                }
            }
            Schedule::Lottery => {
                // Who comes first of those that wait for events of these rates is a draw by weight, and so
                // is who comes next (Efraimidis and Spirakis, "Weighted random sampling").
                let mut waits = |seat: &Seat| -rng.f64().ln() / f64::from(seat.weight());
                let waits: Vec<f64> = self.seats.iter().map(&mut waits).collect();
                let wait = |at: &usize| waits.get(*at).copied().unwrap_or(f64::INFINITY);
                order.sort_unstable_by(|one, other| wait(one).total_cmp(&wait(other)));
            }
            Schedule::Random => rng.shuffle(&mut order),
        }
        order
    }

    /// Smooth weighted round robin, as nginx has it: each seat is owed its weight a request, and who
    /// is owed most is served and pays for all.
    fn most_owed(&mut self, moves_on: bool) -> usize {
        let owed = |seat: &Seat| seat.credit + i64::from(seat.weight());
        let most = self.seats.iter().enumerate().rev().max_by_key(|(_, seat)| owed(seat)).map(|(at, _)| at);
        let most = most.unwrap_or_default();
        if moves_on {
            let total: i64 = self.seats.iter().map(|seat| i64::from(seat.weight())).sum();
            self.seats.iter_mut().for_each(|seat| seat.credit = owed(seat));
            if let Some(seat) = self.seats.get_mut(most) {
                seat.credit -= total;
            }
        }
        most
    }

    fn inherit(&mut self, before: Tier) {
        self.cursor = before.cursor;
        let mut before = before.seats;
        for seat in &mut self.seats {
            let Some(at) = before.iter().position(|old| old.member.entry.is_same(&seat.member.entry)) else { continue };
            let old = before.swap_remove(at);
            if old.weight() == seat.weight() {
                seat.credit = old.credit;
            }
            if let (Entry::Client(_, pool), Entry::Client(_, old)) = (&mut seat.member.entry, old.member.entry) {
                pool.inherit(old);
            }
        }
        // Credits sum up to nothing, or else one seat would be served for ever before its turn.
        if self.seats.iter().map(|seat| seat.credit).sum::<i64>() != 0 {
            self.seats.iter_mut().for_each(|seat| seat.credit = 0);
        }
    }
}

impl Seat {
    fn weight(&self) -> u32 {
        self.member.weight.unwrap_or(1)
    }
}

impl Entry {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Channel(one), Self::Channel(other)) => one.channel == other.channel,
            (Self::Client(one, _), Self::Client(other, _)) => one == other,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ChannelId;

    fn channel(id: usize) -> Entry {
        Entry::Channel(Candidate { channel: ChannelId(id), upstream_model: "m".into() })
    }

    fn plain(ids: impl IntoIterator<Item = usize>) -> Vec<Member> {
        ids.into_iter().map(|id| Member { entry: channel(id), weight: None, rule: 0 }).collect()
    }

    fn weighted(weights: &[u32]) -> Vec<Member> {
        let member = |(id, weight): (usize, &u32)| Member { entry: channel(id), weight: Some(*weight), rule: 0 };
        weights.iter().enumerate().map(member).collect()
    }

    fn nested(schedule: Schedule, members: Vec<Member>) -> Member {
        let pool = Pool::new(schedule, members).unwrap();
        Member { entry: Entry::Client(Fingerprint::of(b"inner"), pool), weight: None, rule: 0 }
    }

    fn order(pool: &mut Pool, rng: &mut Rng) -> Vec<usize> {
        pool.next(rng).in_order().map(|candidate| candidate.channel.0).collect()
    }

    fn orders(schedule: Schedule, members: Vec<Member>, requests: usize) -> Vec<Vec<usize>> {
        let mut pool = Pool::new(schedule, members).unwrap();
        let mut rng = Rng::with_seed(7);
        (0..requests).map(|_| order(&mut pool, &mut rng)).collect()
    }

    fn firsts(schedule: Schedule, members: Vec<Member>, requests: usize) -> Vec<usize> {
        orders(schedule, members, requests).iter().map(|order| order[0]).collect()
    }

    fn count(firsts: &[usize], id: usize) -> usize {
        firsts.iter().filter(|first| **first == id).count()
    }

    #[test]
    fn round_robin_rotates_and_fixed_priority_does_not() {
        let rotated = orders(Schedule::RoundRobin, plain(0..3), 4);
        assert_eq!(rotated, [vec![0, 1, 2], vec![1, 2, 0], vec![2, 0, 1], vec![0, 1, 2]]);
        assert_eq!(orders(Schedule::FixedPriority, plain(0..3), 2), [vec![0, 1, 2], vec![0, 1, 2]]);
    }

    #[test]
    fn smooth_weights_are_exact_in_every_cycle_and_spread_over_it() {
        let served = firsts(Schedule::WeightedRoundRobin, weighted(&[5, 3, 2]), 1000);
        assert_eq!(served[..10], [0, 1, 2, 0, 0, 1, 0, 2, 1, 0]);
        for ten in served.windows(10) {
            assert_eq!([0, 1, 2].map(|id| count(ten, id)), [5, 3, 2], "{ten:?}");
        }
        assert_eq!(firsts(Schedule::WeightedRoundRobin, weighted(&[4, 1]), 5), [0, 0, 1, 0, 0]);
    }

    #[test]
    fn after_the_weighted_first_one_the_others_follow_by_weight() {
        let tried = orders(Schedule::WeightedRoundRobin, weighted(&[2, 3, 5]), 3);
        assert_eq!(tried, [vec![2, 1, 0], vec![1, 2, 0], vec![0, 2, 1]]);
    }

    #[test]
    fn the_lottery_draws_by_weight_and_nobody_twice() {
        let drawn = orders(Schedule::Lottery, weighted(&[5, 3, 2]), 10_000);
        let first: Vec<usize> = drawn.iter().map(|order| order[0]).collect();
        for (id, share) in [(0, 5000), (1, 3000), (2, 2000)] {
            assert!(count(&first, id).abs_diff(share) < 200, "{id}: {}", count(&first, id));
        }
        for (order, share) in [([0, 1, 2], 3000), ([0, 2, 1], 2000), ([2, 0, 1], 1250), ([2, 1, 0], 750)] {
            let times = drawn.iter().filter(|drawn| drawn[..] == order).count();
            assert!(times.abs_diff(share) < 200, "{order:?}: {times}");
        }
        for mut order in drawn {
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2]);
        }
    }

    #[test]
    fn random_has_every_order_as_often() {
        let drawn = orders(Schedule::Random, plain(0..3), 6000);
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let times = drawn.iter().filter(|drawn| drawn[..] == order).count();
            assert!(times.abs_diff(1000) < 150, "{order:?}: {times}");
        }
    }

    #[test]
    fn members_without_weight_come_after_those_with_one() {
        for (schedule, _) in Schedule::ALL {
            let members = || plain([7, 8]).into_iter().chain(weighted(&[1, 2])).collect();
            for order in orders(schedule, members(), 20) {
                let (mut weighted, mut others) = (order[..2].to_vec(), order[2..].to_vec());
                weighted.sort_unstable();
                others.sort_unstable();
                assert_eq!((weighted, others), (vec![0, 1], vec![7, 8]), "{schedule:?}");
            }
        }
    }

    #[test]
    fn another_key_keeps_its_schedule_inside() {
        let members = || nested(Schedule::Random, plain([0, 1]));
        let fixed = [members()].into_iter().chain(plain([2])).collect();
        let tried = orders(Schedule::FixedPriority, fixed, 1000);
        assert!(tried.iter().all(|order| order[2] == 2), "the last resort stays last");
        let first: Vec<usize> = tried.iter().map(|order| order[0]).collect();
        assert!(count(&first, 0).abs_diff(500) < 80, "{}", count(&first, 0));
    }

    #[test]
    fn turns_inside_and_outside_do_not_fall_into_step() {
        let members = [nested(Schedule::RoundRobin, plain([0, 1]))].into_iter().chain(plain([2])).collect();
        assert_eq!(firsts(Schedule::RoundRobin, members, 8), [0, 2, 1, 2, 0, 2, 1, 2]);
    }

    #[test]
    fn turns_and_debts_survive_a_change_of_members() {
        let mut rng = Rng::with_seed(7);
        let mut before = Pool::new(Schedule::RoundRobin, plain(0..3)).unwrap();
        assert_eq!(order(&mut before, &mut rng)[0], 0);
        let mut after = Pool::new(Schedule::RoundRobin, plain(0..4)).unwrap();
        after.inherit(before);
        assert_eq!(order(&mut after, &mut rng)[0], 1);

        let both = || [nested(Schedule::WeightedRoundRobin, weighted(&[2, 1]))].into();
        let mut before = Pool::new(Schedule::RoundRobin, both()).unwrap();
        let first: Vec<_> = (0..2).map(|_| order(&mut before, &mut rng)[0]).collect();
        let mut after = Pool::new(Schedule::RoundRobin, both()).unwrap();
        after.inherit(before);
        let then: Vec<_> = (0..4).map(|_| order(&mut after, &mut rng)[0]).collect();
        assert_eq!([first, then].concat(), [0, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn a_member_that_leaves_takes_its_debts_with_it() {
        let mut rng = Rng::with_seed(7);
        let mut before = Pool::new(Schedule::WeightedRoundRobin, weighted(&[1, 1, 1])).unwrap();
        assert_eq!(order(&mut before, &mut rng)[0], 0);
        let mut after = Pool::new(Schedule::WeightedRoundRobin, weighted(&[1, 1])).unwrap();
        after.inherit(before);
        let then: Vec<_> = (0..6).map(|_| order(&mut after, &mut rng)[0]).collect();
        assert_eq!([0, 1].map(|id| count(&then, id)), [3, 3]);
    }
}

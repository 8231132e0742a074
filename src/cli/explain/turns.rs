//! How the order changes from request to request.

use fastrand::Rng;

use crate::config::{ChannelId, Schedule};
use crate::routing::{Entry, Member, Pool};

use super::case::Case;
use super::channel_name;

/// The longest round of turns that is counted out.
const MAX_ROUND: u64 = 1000;

/// A line for the pool, and one for each pool in it; none for a single channel.
pub(super) fn lines(case: &Case, pool: &Pool) -> Vec<String> {
    let mut lines = Vec::new();
    add(case, pool, None, &mut lines);
    lines
}

fn add(case: &Case, pool: &Pool, owner: Option<&str>, lines: &mut Vec<String>) {
    if pool.members().count() > 1 {
        lines.push(match owner {
            None => format!("order: {}", sentence(case, pool, "requests")),
            Some(key) => {
                let schedule = pool.schedule().name();
                format!("order within {key}, by {schedule}: {}", sentence(case, pool, "requests that begin there"))
            }
        });
    }
    for member in pool.members() {
        if let Entry::Client(_, pool) = &member.entry {
            add(case, pool, Some(&name(case, member)), lines);
        }
    }
}

fn sentence(case: &Case, pool: &Pool, requests: &str) -> String {
    let has_weight = |member: &&Member| member.weight.is_some();
    let (all, weighted) = (pool.members().count(), pool.members().filter(has_weight).count());
    let leaders: Vec<&Member> = pool.members().take(if weighted > 0 { weighted } else { all }).collect();
    let is_drawn = matches!(pool.schedule(), Schedule::Lottery | Schedule::Random);
    let rest = if leaders.len() == all { "" } else { "; those without a weight follow" };
    let shares = |shares: &[u64]| {
        let shares = leaders.iter().zip(shares).map(|(member, share)| format!("{share} with {}", name(case, member)));
        shares.collect::<Vec<_>>().join(", ").replacen(" with", " begin with", 1)
    };
    let weights: Vec<u64> = leaders.iter().map(|member| weight(member)).collect();
    let beginning = match (leaders.as_slice(), pool.schedule()) {
        (_, Schedule::FixedPriority) => "the same for all requests".to_owned(),
        ([first], _) => format!("all {requests} begin with {}", name(case, first)),
        (_, Schedule::RoundRobin) => format!("{requests} begin with each in turn"),
        (_, Schedule::WeightedRoundRobin) => match round(pool, &leaders) {
            Some((length, counts)) => format!("of every {length} {requests}, {}; then by weight", shares(&counts)),
            None => format!("{requests} begin with each as often as its weight says; then by weight"),
        },
        (_, Schedule::Lottery) => {
            format!("on average, of {} {requests}, {}", weights.iter().sum::<u64>(), shares(&weights))
        }
        (_, Schedule::Random) => format!("{requests} begin with any"),
    };
    let draw = if is_drawn { "; it is drawn anew for each, and this is one draw" } else { "" };
    format!("{beginning}{rest}{draw}")
}

/// How many requests it takes until all turns begin anew, and how many of them begin with each.
fn round(pool: &Pool, leaders: &[&Member]) -> Option<(u64, Vec<u64>)> {
    let divisor = leaders.iter().map(|member| weight(member)).fold(0, greatest_common_divisor);
    let length = leaders.iter().map(|member| weight(member)).sum::<u64>().checked_div(divisor)?;
    if length > MAX_ROUND {
        return None;
    }
    let (mut pool, mut rng) = (pool.clone(), Rng::with_seed(0));
    let mut counts = vec![0; leaders.len()];
    for _ in 0..length {
        let plan = pool.next(&mut rng);
        let first = plan.current()?.channel;
        *leaders.iter().zip(&mut counts).find(|(member, _)| has(member, first))?.1 += 1;
    }
    Some((length, counts))
}

fn has(member: &Member, channel: ChannelId) -> bool {
    match &member.entry {
        Entry::Channel(candidate) => candidate.channel == channel,
        Entry::Client(_, pool) => pool.members().any(|member| has(member, channel)),
    }
}

fn weight(member: &Member) -> u64 {
    member.weight.unwrap_or(1).into()
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    match a.checked_rem(b) {
        Some(rest) => greatest_common_divisor(b, rest),
        None => a,
    }
}

fn name(case: &Case, member: &Member) -> String {
    match &member.entry {
        Entry::Channel(candidate) => channel_name(case.config, candidate.channel),
        Entry::Client(key, _) => {
            case.config.client_keys.get(*key).map(|client| client.secret.masked()).unwrap_or_default()
        }
    }
}

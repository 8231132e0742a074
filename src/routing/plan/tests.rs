use proptest::prelude::*;

use super::*;

const NOW: Duration = Duration::from_secs(1000);
const DEADLINE: Duration = Duration::from_secs(1300);

fn plan(channels: usize, start: usize) -> Plan {
    let candidate = |id| Candidate { channel: ChannelId(id), upstream_model: format!("m{}", id / 2).into() };
    Plan::new((0..channels).map(candidate).collect(), start)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn attempted(channel: usize, next: Next) -> Attempted {
    let upstream_model = format!("m{}", channel / 2).into();
    Attempted { channel: ChannelId(channel), key: 0, upstream_model, next, again: None }
}

fn again(channel: usize, after: u64) -> Attempted {
    Attempted { again: Some(NOW + seconds(after)), ..attempted(channel, Next::Key) }
}

fn resting(after: u64, why: Why) -> Option<Rest> {
    Some(Rest { until: NOW + seconds(after), why })
}

fn step(plan: &mut Plan, attempts: &[Attempted]) -> Step {
    plan.step(Situation { attempts, retries: Retries::UntilExhausted, now: NOW, deadline: DEADLINE })
}

fn ask(channel: usize) -> Step {
    Step::Ask(ChannelId(channel))
}

const OVER: Step = Step::Over { full_until: None };

#[test]
fn a_failed_channel_hands_over_to_the_next_in_the_ring() {
    let mut plan = plan(3, 2);
    assert_eq!(step(&mut plan, &[]), ask(2));
    plan.failed(Next::Channel);
    assert_eq!(step(&mut plan, &[attempted(2, Next::Channel)]), ask(0));
}

#[test]
fn a_failed_key_stays_at_its_channel() {
    let mut plan = plan(2, 0);
    plan.failed(Next::Key);
    assert_eq!(step(&mut plan, &[attempted(0, Next::Key)]), ask(0));
}

#[test]
fn a_key_is_spent_unless_it_is_to_be_tried_again() {
    assert!(!attempted(0, Next::SameKey).spent(ChannelId(0), 0, NOW));
    assert!(attempted(0, Next::Key).spent(ChannelId(0), 0, NOW));
    assert!(
        !attempted(0, Next::Key).spent(ChannelId(1), 0, NOW) && !attempted(0, Next::Key).spent(ChannelId(0), 1, NOW)
    );
    assert!(again(0, 2).spent(ChannelId(0), 0, NOW + seconds(1)));
    assert!(!again(0, 2).spent(ChannelId(0), 0, NOW + seconds(2)));
}

#[test]
fn a_round_of_declines_ends_the_walk() {
    let mut plan = plan(2, 0);
    plan.declined(None);
    assert_eq!(step(&mut plan, &[]), ask(1));
    plan.declined(None);
    assert_eq!(step(&mut plan, &[]), OVER);
}

#[test]
fn a_channel_that_cannot_be_reached_is_not_asked_again() {
    let mut plan = plan(2, 0);
    let attempts = [attempted(0, Next::OtherChannel), attempted(1, Next::Channel)];
    plan.failed(Next::OtherChannel);
    plan.failed(Next::Channel);
    assert_eq!(step(&mut plan, &attempts), ask(1));
    let both = [attempts[0].clone(), attempted(1, Next::OtherChannel)];
    assert_eq!(step(&mut plan, &both), OVER);
}

#[test]
fn a_model_that_is_too_small_is_asked_nowhere_again() {
    let mut plan = plan(3, 0);
    plan.failed(Next::OtherModel);
    assert_eq!(step(&mut plan, &[attempted(0, Next::OtherModel)]), ask(2), "0 and 1 have the same model");
}

#[test]
fn retries_are_limited_by_number() {
    let attempts = [attempted(0, Next::Channel), attempted(1, Next::Channel)];
    let next = |made: usize, retries| {
        let retries = Retries::AtMost(retries);
        plan(3, 0).step(Situation { attempts: &attempts[..made], retries, now: NOW, deadline: DEADLINE })
    };
    assert_eq!(next(0, 0), ask(0));
    assert_eq!(next(1, 0), OVER);
    assert_eq!(next(2, 2), ask(0));
}

#[test]
fn a_channel_full_of_dead_keys_leaves_the_others_their_attempt() {
    let attempts = vec![attempted(0, Next::Key); 11];
    assert_eq!(step(&mut plan(2, 0), &attempts[..10]), ask(0));
    assert_eq!(step(&mut plan(2, 0), &attempts), ask(1));
    assert_eq!(step(&mut plan(1, 0), &attempts), OVER);
}

#[test]
fn what_wakes_first_is_asked_when_everything_rests() {
    let mut plan = plan(3, 0);
    for after in [30, 10, 20] {
        plan.declined(resting(after, Why::Failing));
    }
    assert_eq!(step(&mut plan, &[]), ask(1));
    assert!(plan.insists());
    plan.failed(Next::Channel);
    assert!(!plan.insists());
    for _ in 0..3 {
        plan.declined(resting(30, Why::Failing));
    }
    assert_eq!(step(&mut plan, &[attempted(1, Next::Channel)]), ask(2), "then what this request has not tried");
    plan.failed(Next::Channel);
    for _ in 0..3 {
        plan.declined(resting(30, Why::Failing));
    }
    let tried = [attempted(1, Next::Channel), attempted(2, Next::Channel), attempted(0, Next::Channel)];
    assert_eq!(step(&mut plan, &tried), OVER, "and nothing twice");
}

#[test]
fn no_more_than_three_that_rest_are_asked() {
    let mut plan = plan(5, 0);
    let mut attempts = Vec::new();
    for channel in [0, 1, 2] {
        for _ in 0..5 {
            plan.declined(resting(30, Why::Failing));
        }
        assert_eq!(step(&mut plan, &attempts), ask(channel));
        attempts.push(attempted(channel, Next::Channel));
        plan.failed(Next::Channel);
    }
    for _ in 0..5 {
        plan.declined(resting(30, Why::Failing));
    }
    assert_eq!(step(&mut plan, &attempts), OVER);
}

#[test]
fn a_short_limit_is_waited_for_when_nothing_else_is_left() {
    let mut plan = plan(2, 0);
    plan.failed(Next::Key);
    let limited = [again(0, 2)];
    plan.declined(None);
    assert_eq!(step(&mut plan, &limited), ask(1), "another channel comes first");
    plan.declined(None);
    assert_eq!(step(&mut plan, &limited), Step::Wait(NOW + seconds(2)));
    assert!(matches!(step(&mut plan, &limited), Step::Ask(_)), "a new round");
}

#[test]
fn a_long_limit_is_not_waited_for() {
    let mut one = plan(1, 0);
    one.declined(None);
    assert_eq!(step(&mut one, &[again(0, 60)]), OVER);

    let mut other = plan(1, 0);
    other.declined(resting(60, Why::Limited));
    assert_eq!(step(&mut other, &[]), ask(0), "limited by an earlier request: asked for want of anything else");
    assert!(other.insists());
}

#[test]
fn nothing_is_waited_for_beyond_the_deadline_or_too_often() {
    let mut late = plan(1, 0);
    late.declined(None);
    let attempts = [again(0, 5)];
    let deadline = NOW + seconds(4);
    let situation = Situation { attempts: &attempts, retries: Retries::UntilExhausted, now: NOW, deadline };
    assert_eq!(late.step(situation), OVER);

    let mut often = plan(1, 0);
    for _ in 0..2 {
        often.declined(None);
        assert_eq!(step(&mut often, &attempts), Step::Wait(NOW + seconds(5)));
    }
    often.declined(None);
    assert_eq!(step(&mut often, &attempts), OVER);
}

#[test]
fn our_own_limit_holds_in_any_case() {
    let mut plan = plan(2, 0);
    plan.declined(resting(40, Why::Full));
    plan.declined(resting(30, Why::Full));
    assert_eq!(step(&mut plan, &[]), Step::Over { full_until: Some(NOW + seconds(30)) });
    assert!(!plan.insists());
}

#[test]
fn an_empty_ring_has_nothing_to_try() {
    let mut plan = plan(0, 5);
    assert_eq!(step(&mut plan, &[]), OVER);
    plan.declined(None);
    assert_eq!(step(&mut plan, &[]), OVER);
}

/// What a channel of a random network does when it is asked.
#[derive(Clone, Copy, Debug)]
enum Does {
    Fails(Next),
    Limits(u64),
    Rests(u64, Why),
    Answers,
}

fn does() -> impl Strategy<Value = Does> {
    let next = prop_oneof![
        Just(Next::Key),
        Just(Next::Channel),
        Just(Next::OtherChannel),
        Just(Next::OtherModel),
        Just(Next::SameKey)
    ];
    let why = prop_oneof![Just(Why::Failing), Just(Why::Limited), Just(Why::Full)];
    prop_oneof![
        3 => next.prop_map(Does::Fails),
        1 => (1u64..20).prop_map(Does::Limits),
        1 => (1u64..20, why).prop_map(|(after, why)| Does::Rests(after, why)),
        1 => Just(Does::Answers),
    ]
}

proptest! {
    /// Every distinct channel that is neither resting nor ruled out is tried before a request fails, and the number of
    /// attempts is bounded, whatever the channels do.
    #[test]
    fn no_healthy_channel_is_left_out_and_attempts_are_bounded(
        behaviours in prop::collection::vec(does(), 1..12),
        keys in 1usize..40,
        start in 0usize..12,
    ) {
        let candidate = |id| Candidate { channel: ChannelId(id), upstream_model: format!("m{id}").into() };
        let mut plan = Plan::new((0..behaviours.len()).map(candidate).collect(), start);
        let (mut attempts, mut now, mut answered) = (Vec::<Attempted>::new(), NOW, false);
        for turn in 0.. {
            prop_assert!(turn < 1000, "the walk does not end");
            let situation = Situation { attempts: &attempts, retries: Retries::UntilExhausted, now, deadline: DEADLINE };
            let channel = match plan.step(situation) {
                Step::Over { .. } => break,
                Step::Wait(until) => {
                    prop_assert!(until > now && until - now <= MAX_WAIT);
                    now = until;
                    continue;
                }
                Step::Ask(channel) => channel,
            };
            let free = (0..keys).find(|key| !attempts.iter().any(|attempt| attempt.spent(channel, *key, now)));
            let (next, again) = match behaviours[channel.0] {
                Does::Answers => {
                    answered = true;
                    break;
                }
                Does::Rests(after, why) if !plan.insists() || why == Why::Full => {
                    plan.declined(Some(Rest { until: now + seconds(after), why }));
                    continue;
                }
                Does::Rests(..) => (Next::Channel, None),
                Does::Limits(after) => (Next::Key, Some(now + seconds(after))),
                Does::Fails(next) => (next, None),
            };
            let Some(key) = free else {
                plan.declined(None);
                continue;
            };
            attempts.push(Attempted { channel, key, upstream_model: format!("m{}", channel.0).into(), next, again });
            plan.failed(next);
        }
        prop_assert!(attempts.len() <= behaviours.len() + EXTRA_ATTEMPTS + 1, "{} attempts", attempts.len());
        if !answered {
            for (id, does) in behaviours.iter().enumerate() {
                let is_tried = attempts.iter().any(|attempt| attempt.channel == ChannelId(id));
                prop_assert!(is_tried || matches!(does, Does::Rests(..)), "channel {id} was never tried");
            }
        }
    }
}

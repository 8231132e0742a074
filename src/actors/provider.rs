//! One channel: its keys or regions, its list of models, its health.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, SpawnHandle, Supervised};
use foldhash::{HashMap, HashMapExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::canon::{Failure, FailureKind};
use crate::config::{Channel, ModelName, ModelSource, TimeLimits};
use crate::metrics::ProviderSeries;
use crate::routing::{Cause, Condition, Rest, Rests, RetryBudget, Verdict, Why, verdict};
use crate::upstream::{InvalidTarget, Target, fetch_token, list_models};

use super::control::Control;
use super::google::Google;
use super::health::{ChannelHealth, Resting};
use super::keys::Keys;
use super::lease::{Lease, Line, Outcome, Settle};
use super::messages::{Crash, Decision, Discovered, Dispatch, Retire, Ticket, TokenArrived};
use super::slot::{Applicant, Slot, Without};

/// A discovered list of models is asked for again after this time.
const REFRESH: Duration = Duration::from_secs(3600);
/// The pause after a first failed discovery; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(5);
const MAX_PAUSE: Duration = Duration::from_secs(600);
/// Given back leases are noticed at least this often, also while nobody wants a new one.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The pause before an actor that panicked takes messages again.
const RESTART_PAUSE: Duration = Duration::from_millis(50);

/// The supervised owner of one channel. Grants leases and takes them back; asks for the list of
/// models when the configuration has none, and for access tokens where the channel needs them.
pub struct ProviderActor {
    line: Arc<Line>,
    slots: Slots,
    health: Arc<ChannelHealth>,
    control: Arc<Control>,
    /// Keys or regions that rest.
    rests: Rests,
    /// By upstream model: those that something is known against.
    conditions: HashMap<Arc<str>, Condition>,
    budget: RetryBudget,
    settled: UnboundedReceiver<Settle>,
    discovery: Option<Discovery>,
    address: Option<Addr<Self>>,
    looking: SpawnHandle,
}

/// What a channel grants.
enum Slots {
    Keys(Box<Keys>),
    /// What a channel of Vertex AI has in place of keys.
    Regions(Box<Google>),
}

/// What is needed to ask for models, and how often that failed in a row.
struct Discovery {
    /// One for each key; after a failure the next one is asked with.
    targets: Vec<Arc<Target>>,
    limits: TimeLimits,
    failures: usize,
}

impl ProviderActor {
    /// The actor of a channel.
    ///
    /// # Errors
    ///
    /// The channel's URL or one of its keys cannot be put on the wire.
    pub fn new(
        channel: Arc<Channel>,
        health: Arc<ChannelHealth>,
        control: Arc<Control>,
    ) -> Result<Self, InvalidTarget> {
        let slots = match Google::of(&channel) {
            Some(google) => Slots::Regions(Box::new(google)),
            None => Slots::Keys(Box::new(Keys::of(&channel)?)),
        };
        let discovery = match (&channel.models, &slots) {
            (ModelSource::Discovered, Slots::Keys(keys)) => {
                Some(Discovery { targets: keys.lists()?, limits: channel.limits, failures: 0 })
            }
            _ => None,
        };
        // What rested for an actor that is gone.
        health.rest(Vec::new());
        let (sender, settled) = unbounded_channel();
        let listed = match &channel.models {
            ModelSource::Listed(models) => models.as_slice(),
            ModelSource::Discovered => &[],
        };
        let aliases = listed.iter().map(|model| Arc::clone(&model.alias));
        let series = ProviderSeries::new(Arc::clone(control.metrics()), Arc::clone(&channel.name), aliases);
        let line = Arc::new(Line { channel, series, settled: sender });
        Ok(Self {
            line,
            slots,
            health,
            control,
            rests: Rests::default(),
            conditions: HashMap::new(),
            budget: RetryBudget::default(),
            settled,
            discovery,
            address: None,
            looking: SpawnHandle::default(),
        })
    }

    /// Answers the worker with a lease, has the request wait for an access token, or passes it on
    /// when no key or region is left for it.
    fn grant(&mut self, dispatch: Dispatch) {
        // Nobody waits for it any more, so that it should count for no limit.
        if dispatch.reply.is_closed() {
            return;
        }
        let model = dispatch.ticket.plan.as_ref().and_then(|plan| plan.current());
        let Some(model) = model.map(|candidate| Arc::clone(&candidate.upstream_model)) else {
            return self.decline(dispatch, None, None);
        };
        let now = self.control.now();
        let slot = self.slot(&dispatch.ticket, &model, now);
        match (slot, self.google()) {
            (Ok(slot), _) => {
                self.health.grant();
                let condition = self.conditions.get_mut(&model);
                let is_probe = condition.is_some_and(|condition| condition.enter(&self.line.channel, now));
                let limits = self.line.channel.limits_for(&dispatch.ticket.model, &model);
                let is_repeated = dispatch.ticket.has_blamed(self.line.channel.id);
                let lease = Lease::new(Arc::clone(&self.line), slot, limits, model, is_probe, is_repeated);
                dispatch.decide(Decision::Granted(lease));
            }
            (Err(Without::Token), Some(google)) => google.wait(dispatch),
            (Err(Without::Failure(why)), _) => self.decline(dispatch, None, Some(*why)),
            (Err(Without::Target(why @ InvalidTarget::Unsupported(_))), _) => {
                let why = format!("{}: {why}", self.line.channel.name);
                self.decline(dispatch, None, Some(Failure::new(FailureKind::Untranslatable, why)));
            }
            (Err(Without::Target(why)), _) => {
                log::error!("channel {}: {why}", self.line.channel.name);
                self.decline(dispatch, None, None);
            }
            (Err(Without::Slot(rest)), _) => self.decline(dispatch, rest, None),
            (Err(Without::Token), None) => self.decline(dispatch, None, None),
        }
    }

    /// A key or region for the next attempt of a request at a model.
    fn slot(&mut self, ticket: &Ticket, model: &Arc<str>, now: Duration) -> Result<Slot, Without> {
        let applicant = Applicant { ticket, model, now };
        if !applicant.insists()
            && let Some(until) = self.conditions.get(model).and_then(|condition| condition.rests_until(now))
        {
            return Err(Without::Slot(Some(Rest { until, why: Why::Failing })));
        }
        // Before a slot is taken, which counts for the limit of its key.
        let is_retry = ticket.attempts.iter().any(|attempt| attempt.channel == self.line.channel.id);
        if is_retry && !self.budget.has_retry(now) {
            return Err(Without::Slot(None));
        }
        let slot = match &mut self.slots {
            Slots::Keys(keys) => keys.slot(applicant, &self.rests)?,
            Slots::Regions(google) => {
                if google.must_fetch(Instant::now()) {
                    fetch_token_for(&self.line.channel, self.address.as_ref());
                }
                google.slot(applicant, &self.rests)?
            }
        };
        match is_retry {
            true => self.budget.retry(now),
            false => self.budget.first_attempt(now),
        }
        Ok(slot)
    }

    fn google(&mut self) -> Option<&mut Google> {
        match &mut self.slots {
            Slots::Regions(google) => Some(google),
            Slots::Keys(_) => None,
        }
    }

    /// Passes a request back, so that it is tried elsewhere.
    fn decline(&self, mut dispatch: Dispatch, rest: Option<Rest>, why: Option<Failure>) {
        dispatch.ticket.declined(rest, why);
        self.control.router().do_send(dispatch);
    }

    /// Takes back the leases that were given back since the last look, and learns from them.
    fn take_back(&mut self) {
        while let Ok(settle) = self.settled.try_recv() {
            let now = self.control.now();
            self.health.settle(settle.outcome);
            if let Some(google) = self.google() {
                google.learn(&settle, now);
            }
            self.learn_slot(&settle, now);
            self.learn_condition(&settle, now);
        }
    }

    fn learn_slot(&mut self, settle: &Settle, now: Duration) {
        let Settle { is_unauthorized, retry_after, .. } = *settle;
        match settle.outcome {
            Outcome::Begun | Outcome::Succeeded => self.rests.succeeded(settle.slot, &settle.model),
            // What an account is refused it is refused in every region; its token is dealt with elsewhere.
            Outcome::Failed(FailureKind::KeyRefused) if settle.token.is_some() => {}
            Outcome::Failed(kind) => {
                let channel = &self.line.channel;
                let is_only = settle.token.is_none() && channel.keys.len() < 2;
                let cause = Cause { kind, is_unauthorized, retry_after };
                self.rests.failed((settle.slot, &settle.model), cause, &channel.rests, is_only, now);
            }
            Outcome::Cancelled => {}
        }
    }

    fn learn_condition(&mut self, settle: &Settle, now: Duration) {
        let channel = &self.line.channel;
        let verdict = match settle.outcome {
            Outcome::Succeeded => verdict(None),
            // A request that fails wherever it goes says so once, however many keys it is tried with:
            // on its own it must not take a channel from all others.
            Outcome::Failed(_) if settle.is_repeated && !settle.is_probe => Verdict::Unknown,
            Outcome::Failed(kind) => verdict(Some(kind)),
            Outcome::Begun | Outcome::Cancelled => Verdict::Unknown,
        };
        if verdict == Verdict::Bad {
            self.conditions.entry(Arc::clone(&settle.model)).or_default();
        }
        let Some(condition) = self.conditions.get_mut(&settle.model) else { return };
        let rested = condition.rests_until(now);
        match settle.outcome {
            Outcome::Begun => condition.begun(settle.is_probe, channel, now),
            _ => condition.settled(verdict, settle.is_probe, channel, now),
        }
        let rests = condition.rests_until(now);
        match (rested, rests) {
            (None, Some(until)) => {
                let seconds = until.saturating_sub(now).as_secs_f64();
                log::warn!("channel {}: {:?} keeps failing and rests for {seconds:.1} s", channel.name, settle.model);
            }
            (Some(_), None) => log::info!("channel {}: {:?} answers again", channel.name, settle.model),
            _ => {}
        }
        if condition.is_clear(now) {
            self.conditions.remove(&settle.model);
        }
        if rests != rested {
            self.tell_resting(now);
        }
    }

    /// Puts the models that rest on the health board.
    fn tell_resting(&self, now: Duration) {
        let resting = self.conditions.iter().filter_map(|(model, condition)| {
            condition.rests_until(now).map(|until| Resting { model: Arc::clone(model), until })
        });
        self.health.rest(resting.collect());
    }

    /// Asks for the list of models in a task of its own; the answer comes back as a message.
    fn discover(&self) {
        let (Some(discovery), Some(address)) = (&self.discovery, self.address.clone()) else { return };
        let Some(target) = discovery.targets.iter().cycle().nth(discovery.failures).cloned() else { return };
        let limits = discovery.limits;
        actix::spawn(async move { address.do_send(Discovered(list_models(&target, &limits).await)) });
    }

    /// Takes in a discovered list and says when to ask again.
    fn learn(&mut self, answer: Result<Vec<String>, Failure>) -> Option<Duration> {
        let channel = &self.line.channel;
        let discovery = self.discovery.as_mut()?;
        match answer {
            Ok(ids) => {
                discovery.failures = 0;
                let models: Vec<_> = ids.into_iter().map(Arc::from).map(same_name).collect();
                if self.control.known_models(channel.id) != models {
                    log::info!("channel {}: discovered {} models", channel.name, models.len());
                    self.control.learn(channel.id, models);
                }
                Some(REFRESH)
            }
            Err(failure) => {
                let pause = pause_after(discovery.failures);
                discovery.failures = discovery.failures.saturating_add(1);
                let seconds = pause.as_secs();
                log::warn!("channel {}: no list of models, next try in {seconds} s: {}", channel.name, failure.message);
                Some(pause)
            }
        }
    }

    /// Runs a handler's body so that its panic restarts this actor instead of ending it.
    fn surviving(&mut self, context: &mut Context<Self>, body: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| body(self))).is_err() {
            log::error!("channel {}: its actor panicked and is restarted", self.line.channel.name);
            context.stop();
        }
    }
}

/// Asks for an access token in a task of its own; the answer comes back as a message, whatever
/// happens to the task.
fn fetch_token_for(channel: &Arc<Channel>, address: Option<&Addr<ProviderActor>>) {
    let (channel, Some(address)) = (Arc::clone(channel), address.cloned()) else { return };
    let exchange = actix::spawn(async move {
        match &channel.vertex {
            Some(vertex) => fetch_token(&vertex.account, &channel.outbound, &channel.limits).await,
            None => Err(Failure::new(FailureKind::Internal, "this channel has no account")),
        }
    });
    actix::spawn(async move {
        let answer = exchange.await.unwrap_or_else(|_| {
            Err(Failure::new(FailureKind::Internal, "asking for an access token failed; the gateway's log says why"))
        });
        address.do_send(TokenArrived(answer));
    });
}

fn same_name(name: Arc<str>) -> ModelName {
    ModelName { alias: Arc::clone(&name), upstream: name }
}

fn pause_after(failures: usize) -> Duration {
    let doublings = u32::try_from(failures).unwrap_or(u32::MAX);
    MIN_PAUSE.saturating_mul(2u32.saturating_pow(doublings.min(16))).min(MAX_PAUSE)
}

impl Actor for ProviderActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.address = Some(context.address());
        self.discover();
        self.looking = context.run_interval(LOOK_INTERVAL, |actor, context| actor.surviving(context, Self::take_back));
    }
}

impl Supervised for ProviderActor {
    fn restarting(&mut self, context: &mut Context<Self>) {
        if let Some(google) = self.google() {
            google.restart();
        }
        context.wait(actix::fut::wrap_future(actix::clock::sleep(RESTART_PAUSE)));
    }
}

impl Handler<Dispatch> for ProviderActor {
    type Result = ();

    fn handle(&mut self, dispatch: Dispatch, context: &mut Context<Self>) {
        self.surviving(context, |actor| {
            actor.take_back();
            actor.grant(dispatch);
        });
    }
}

impl Handler<Discovered> for ProviderActor {
    type Result = ();

    fn handle(&mut self, Discovered(answer): Discovered, context: &mut Context<Self>) {
        let mut again = None;
        self.surviving(context, |actor| again = actor.learn(answer));
        if let Some(again) = again {
            context.run_later(again, |actor, _| actor.discover());
        }
    }
}

impl Handler<TokenArrived> for ProviderActor {
    type Result = ();

    fn handle(&mut self, TokenArrived(answer): TokenArrived, context: &mut Context<Self>) {
        self.surviving(context, |actor| {
            actor.take_back();
            let waiting = actor.google().map(|google| google.arrived(answer, Instant::now()));
            waiting.into_iter().flatten().for_each(|dispatch| actor.grant(dispatch));
        });
    }
}

impl Handler<Retire> for ProviderActor {
    type Result = ();

    fn handle(&mut self, _: Retire, context: &mut Context<Self>) {
        // What holds the actor, apart from those who send to it.
        self.address = None;
        self.discovery = None;
        context.cancel_future(self.looking);
        let waiting = self.google().map(Google::retire);
        waiting.into_iter().flatten().for_each(|dispatch| self.decline(dispatch, None, None));
    }
}

impl Handler<Crash> for ProviderActor {
    type Result = ();

    #[expect(clippy::panic, reason = "it is what the message asks for")]
    fn handle(&mut self, crash: Crash, context: &mut Context<Self>) {
        match crash {
            Crash::InHandler => self.surviving(context, |_| panic!("crash on request")),
            Crash::Fatal => panic!("fatal crash on request"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_backs_off_up_to_ten_minutes() {
        let pauses: Vec<_> = [0, 1, 2, 6, 7, 1000].map(|failures| pause_after(failures).as_secs()).into();
        assert_eq!(pauses, [5, 10, 20, 320, 600, 600]);
    }
}

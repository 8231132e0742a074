//! The owner of all scheduling state.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Supervisor};
use fastrand::Rng;

use crate::canon::{Failure, FailureKind};
use crate::config::{Channel, ChannelId};
use crate::routing::{Asks, Gate, Line, Step, Switchboard};

use super::control::Control;
use super::messages::{Crash, Decision, Dispatch, DispatchBatch, ListModels, ModelsChanged, Purpose, Reload, Ticket};
use super::provider::ProviderActor;

/// Checks what a client may use, orders the channels, forwards requests to their actors and
/// re-creates an actor that is gone. A Router that is gone itself is re-created by [`Control`].
pub struct Router {
    control: Arc<Control>,
    switchboard: Switchboard,
    gate: Gate,
    rng: Rng,
}

impl Router {
    /// A router over the channels of the configuration.
    pub fn new(control: Arc<Control>) -> Self {
        Self {
            switchboard: Switchboard::new(lines(&control)),
            gate: Gate::default(),
            rng: Rng::new(),
            control: Arc::clone(&control),
        }
    }

    /// Sends a request on to the next channel, has it wait, or refuses it.
    fn route(&mut self, mut dispatch: Dispatch) {
        let now = self.control.now();
        if dispatch.ticket.plan.is_none()
            && let Err(why) = self.admit(&mut dispatch.ticket, now)
        {
            return dispatch.decide(Decision::Refused(Box::new(why)));
        }
        if std::mem::take(&mut dispatch.ticket.is_only_admitted) {
            return dispatch.decide(Decision::Admitted);
        }
        loop {
            match dispatch.ticket.step(now) {
                Step::Ask(channel) => {
                    // Sent through the table: an address of our own would be an allocation for each request.
                    if self.has_living_actor(channel)
                        && let Some(provider) = self.control.providers().get(&channel)
                    {
                        return provider.do_send(dispatch);
                    }
                    dispatch.ticket.declined(None, None);
                }
                Step::Wait(until) => return dispatch.decide(Decision::Wait(until)),
                Step::Over { full_until } => {
                    let why = dispatch.ticket.declined.take().map_or_else(|| nothing_left(full_until, now), |why| *why);
                    return dispatch.decide(Decision::Refused(Box::new(why)));
                }
            }
        }
    }

    /// Decides whether and where a request that has just come in may go.
    fn admit(&mut self, ticket: &mut Ticket, now: Duration) -> Result<(), Failure> {
        let config = self.control.config();
        let Some(pool) = self.switchboard.pool(&ticket.client, &config.client_keys, &ticket.model) else {
            let message =
                format!("the model \"{}\" is not available to this key; GET /v1/models lists what is", ticket.model);
            return Err(Failure::new(FailureKind::ModelNotFound, message).at("model"));
        };
        if ticket.purpose != Purpose::Judgement {
            let asks = Asks { client: &ticket.client, model: &ticket.model, prompt_tokens: ticket.prompt_tokens };
            let (quota, admitted) = self.gate.admit(asks, &config.rate_limit, now);
            ticket.quota = quota;
            admitted?;
        }
        ticket.plan = Some(pool.next(&mut self.rng));
        Ok(())
    }

    /// Sees to it that a channel's actor lives: starts one if there is none or it died.
    fn has_living_actor(&self, channel: ChannelId) -> bool {
        let providers = self.control.providers();
        if providers.get(&channel).is_some_and(|provider| provider.connected()) {
            return true;
        }
        let Some(config) = self.control.config().channel(channel).map(Arc::clone) else { return false };
        let health = Arc::default();
        self.control.health().insert(channel, Arc::clone(&health));
        let name = Arc::clone(&config.name);
        match ProviderActor::new(config, health, Arc::clone(&self.control)) {
            Ok(actor) => {
                providers.insert(channel, Supervisor::start(|_| actor));
                true
            }
            Err(why) => {
                log::error!("channel {name}: {why}");
                false
            }
        }
    }
}

/// The channels with the models known now.
fn lines(control: &Control) -> Vec<Line> {
    let line = |channel: &Arc<Channel>| Line {
        channel: channel.id,
        name: Arc::clone(&channel.name),
        models: control.known_models(channel.id),
    };
    control.config().channels.iter().map(line).collect()
}

/// Why nothing was tried.
fn nothing_left(full_until: Option<Duration>, now: Duration) -> Failure {
    match full_until {
        Some(until) => {
            let message = "every key for this model has reached its limit (api_key_rate_limit); try again later";
            let retry_after = Some(until.saturating_sub(now));
            Failure { retry_after, ..Failure::new(FailureKind::LimitReached, message) }
        }
        None => Failure::new(FailureKind::Unavailable, "no channel is left that could answer; try again later"),
    }
}

impl Actor for Router {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        for channel in &self.control.config().channels {
            self.has_living_actor(channel.id);
        }
    }
}

impl Handler<Dispatch> for Router {
    type Result = ();

    fn handle(&mut self, dispatch: Dispatch, _: &mut Context<Self>) {
        self.route(dispatch);
    }
}

impl Handler<DispatchBatch> for Router {
    type Result = ();

    fn handle(&mut self, DispatchBatch(dispatches): DispatchBatch, _: &mut Context<Self>) {
        for dispatch in dispatches {
            self.route(dispatch);
        }
    }
}

impl Handler<ListModels> for Router {
    type Result = ();

    fn handle(&mut self, ListModels { client, reply }: ListModels, _: &mut Context<Self>) {
        // A worker that is gone wants no answer.
        let _ = reply.send(self.switchboard.usable(&client, &self.control.config().client_keys));
    }
}

impl Handler<ModelsChanged> for Router {
    type Result = ();

    fn handle(&mut self, ModelsChanged(channel): ModelsChanged, _: &mut Context<Self>) {
        self.switchboard.set_models(channel, self.control.known_models(channel));
    }
}

impl Handler<Reload> for Router {
    type Result = ();

    fn handle(&mut self, Reload(config): Reload, context: &mut Context<Self>) {
        let config = Arc::new(config.succeeding(&self.control.config()));
        self.control.put_in_force(Arc::clone(&config));
        self.switchboard.reload(lines(&self.control), &config.client_keys);
        self.started(context);
    }
}

impl Handler<Crash> for Router {
    type Result = ();

    #[expect(clippy::panic, reason = "it is what the message asks for")]
    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("crash on request");
    }
}

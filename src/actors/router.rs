//! The owner of all scheduling state.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Supervisor};

use crate::canon::{Failure, FailureKind};
use crate::config::ChannelId;
use crate::routing::Switchboard;

use super::control::Control;
use super::messages::{Crash, Dispatch, DispatchBatch, ListModels, ModelsChanged};
use super::provider::ProviderActor;

/// Checks what a client may use, orders the channels, forwards requests to their actors and
/// re-creates an actor that is gone. A Router that is gone itself is re-created by [`Control`].
pub struct Router {
    control: Arc<Control>,
    switchboard: Switchboard,
}

impl Router {
    /// A router over the channels of the configuration.
    pub fn new(control: Arc<Control>) -> Self {
        let lines = control.config().channels.iter();
        let lines = lines.map(|channel| (channel.id, Arc::clone(&channel.name), control.known_models(channel.id)));
        Self { switchboard: Switchboard::new(lines), control: Arc::clone(&control) }
    }

    /// Sends a request on to the next channel, or refuses it.
    fn route(&mut self, mut dispatch: Dispatch) {
        let ticket = &mut dispatch.ticket;
        if ticket.plan.is_none() {
            ticket.plan = self.switchboard.plan(&ticket.client, &ticket.model);
        }
        let Some(plan) = &mut ticket.plan else {
            let message =
                format!("the model \"{}\" is not available to this key; GET /v1/models lists what is", ticket.model);
            return refuse(dispatch, Failure::new(FailureKind::ModelNotFound, message).at("model"));
        };
        while let Some(channel) = plan.advance(&ticket.attempts, ticket.client.retries).map(|now| now.channel) {
            // Sent through the table: an address of our own would be an allocation for each request.
            if self.has_living_actor(channel)
                && let Some(provider) = self.control.providers().get(&channel)
            {
                return provider.do_send(dispatch);
            }
            plan.declined();
        }
        let why = ticket.declined.take().map_or_else(
            || Failure::new(FailureKind::Unavailable, "no channel is left that could answer; try again later"),
            |why| *why,
        );
        refuse(dispatch, why);
    }

    /// Sees to it that a channel's actor lives: starts one if there is none or it died.
    fn has_living_actor(&self, channel: ChannelId) -> bool {
        let providers = self.control.providers();
        if providers.get(&channel).is_some_and(|provider| provider.connected()) {
            return true;
        }
        let Some(config) = self.control.config().channels.get(channel.0).map(Arc::clone) else { return false };
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

fn refuse(dispatch: Dispatch, why: Failure) {
    // A worker that is gone wants no answer.
    let _ = dispatch.reply.send(Err(why));
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
        let _ = reply.send(self.switchboard.aliases(&client));
    }
}

impl Handler<ModelsChanged> for Router {
    type Result = ();

    fn handle(&mut self, ModelsChanged(channel): ModelsChanged, _: &mut Context<Self>) {
        self.switchboard.set_models(channel, self.control.known_models(channel));
    }
}

impl Handler<Crash> for Router {
    type Result = ();

    #[expect(clippy::panic, reason = "it is what the message asks for")]
    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("crash on request");
    }
}

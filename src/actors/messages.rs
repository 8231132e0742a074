//! What the actors say to each other. Each message carries its reply channel, if it has a reply.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use crate::canon::{Failure, Next};
use crate::config::{ChannelId, ClientKey};
use crate::routing::{Attempted, Plan};
use crate::upstream::Token;

use super::lease::Lease;

/// Everything that scheduling knows of one request. Travels with it from attempt to attempt.
#[derive(Clone)]
pub struct Ticket {
    /// Who asks.
    pub client: Arc<ClientKey>,
    /// For which alias.
    pub model: Arc<str>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// The candidates and how far through them the request has come; made by the Router.
    pub plan: Option<Plan>,
    /// What was tried so far.
    pub attempts: Vec<Attempted>,
    /// Why a channel had nothing to try, where that says more than that it had nothing.
    pub declined: Option<Box<Failure>>,
}

impl Ticket {
    /// The ticket of a request that has just come in.
    pub fn new(client: Arc<ClientKey>, model: Arc<str>, stream: bool) -> Self {
        Self { client, model, stream, plan: None, attempts: Vec::new(), declined: None }
    }

    /// Notes that an attempt with this lease failed.
    pub fn failed(&mut self, lease: &Lease, next: Next) {
        self.attempts.push(Attempted { channel: lease.channel().id, key: lease.key(), next });
        if let Some(plan) = &mut self.plan {
            plan.failed(next);
        }
    }

    /// Notes that the channel asked last has nothing to try, and why, if it knows.
    pub fn declined(&mut self, why: Option<Failure>) {
        if let Some(why) = why {
            let telling = match self.declined.take() {
                Some(before) => before.more_informative(why),
                None => why,
            };
            self.declined = Some(Box::new(telling));
        }
        if let Some(plan) = &mut self.plan {
            plan.declined();
        }
    }
}

/// A lease with the ticket for a further attempt.
pub type Granted = (Lease, Ticket);

/// A worker wants a lease. Goes to the Router, which forwards it to a ProviderActor; comes back to
/// the Router when that declines.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Dispatch {
    /// The request.
    pub ticket: Ticket,
    /// Where exactly one answer goes.
    pub reply: oneshot::Sender<Result<Granted, Failure>>,
}

/// All requests of one worker that wanted a lease at about the same time.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DispatchBatch(pub Vec<Dispatch>);

/// A client wants to know what it may use.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ListModels {
    /// Who asks.
    pub client: Arc<ClientKey>,
    /// Where the aliases go.
    pub reply: oneshot::Sender<Vec<Arc<str>>>,
}

/// A list of models was asked for, and this came back to the ProviderActor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Discovered(pub Result<Vec<String>, Failure>);

/// An access token was asked for, and this came back to the ProviderActor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct TokenArrived(pub Result<Token, Failure>);

/// The Router is told that a channel's models have changed; [`Control`](super::Control) has them.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ModelsChanged(pub ChannelId);

/// Makes the actor panic. Nothing on the network can send this; tests prove by it that panics are
/// survived.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub enum Crash {
    /// In the body of a handler, which its supervisor survives.
    InHandler,
    /// Where nobody catches it: the actor is gone and its address closed.
    Fatal,
}

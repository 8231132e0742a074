//! What the actors say to each other. Each message carries its reply channel, if it has a reply.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use tokio::sync::oneshot;

use crate::canon::{Failure, Next, Operation};
use crate::config::{ChannelId, ClientKey, Config};
use crate::routing::{Attempted, Plan, Quota, Rest, Situation, Step, Usable};
use crate::upstream::Token;

use super::lease::Lease;

/// Everything that scheduling knows of one request. Travels with it from attempt to attempt. Times
/// count as [`Control::now`](super::Control::now) does.
#[derive(Clone)]
pub struct Ticket {
    /// Who asks.
    pub client: Arc<ClientKey>,
    /// For which alias.
    pub model: Arc<str>,
    /// For what.
    pub purpose: Purpose,
    /// Whether it is to be let in first, and only asks for a lease when it comes again.
    pub is_only_admitted: bool,
    /// The tokens of the prompt, as estimated, where a limit depends on it.
    pub prompt_tokens: Option<u64>,
    /// When the request has to have begun to be answered.
    pub deadline: Duration,
    /// What is left of the client's limit; filled in by the Router when it counts the request.
    pub quota: Option<Quota>,
    /// The candidates and how far through them the request has come; made by the Router.
    pub plan: Option<Plan>,
    /// What was tried so far.
    pub attempts: Vec<Attempted>,
    /// Why a channel had nothing to try, where that says more than that it had nothing.
    pub declined: Option<Box<Failure>>,
}

/// What a request wants of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An answer for the client.
    Answer {
        /// What the model is to do.
        operation: Operation,
        /// Whether the answer is streamed.
        stream: bool,
    },
    /// Its judgement of a prompt that a client has sent; counts for no limit of the client's.
    Judgement,
}

impl Purpose {
    /// What the model is to do.
    pub fn operation(self) -> Operation {
        match self {
            Self::Answer { operation, .. } => operation,
            Self::Judgement => Operation::Moderations,
        }
    }

    /// Whether the answer is streamed.
    pub fn stream(self) -> bool {
        matches!(self, Self::Answer { stream: true, .. })
    }
}

impl Ticket {
    /// The ticket of a request that has just come in.
    pub fn new(client: Arc<ClientKey>, model: Arc<str>, purpose: Purpose) -> Self {
        Self {
            client,
            model,
            purpose,
            is_only_admitted: false,
            prompt_tokens: None,
            deadline: Duration::MAX,
            quota: None,
            plan: None,
            attempts: Vec::new(),
            declined: None,
        }
    }

    /// What to do next; nothing without a plan.
    pub fn step(&mut self, now: Duration) -> Step {
        let Self { client, plan, attempts, deadline, .. } = self;
        let situation = Situation { attempts, retries: client.retries, now, deadline: *deadline };
        plan.as_mut().map_or(Step::Over { full_until: None }, |plan| plan.step(situation))
    }

    /// Notes that an attempt with this lease failed.
    pub fn failed(&mut self, lease: &Lease, failure: &Failure, next: Next, now: Duration) {
        let is_alone = self.plan.as_ref().is_none_or(|plan| plan.in_order().count() < 2);
        let again = lease.again_after(failure, is_alone && self.attempts.is_empty());
        self.attempts.push(Attempted {
            channel: lease.channel().id,
            key: lease.key(),
            upstream_model: Arc::clone(lease.upstream_model()),
            next,
            again: again.map(|pause| now.saturating_add(pause)),
        });
        if let Some(plan) = &mut self.plan {
            plan.failed(next);
        }
    }

    /// Whether an attempt at this channel has shown that it is not well: the next one would say it again.
    pub(super) fn has_blamed(&self, channel: ChannelId) -> bool {
        self.attempts.iter().any(|attempt| attempt.channel == channel && attempt.next == Next::Channel)
    }

    /// Notes that the channel asked last has nothing to try, until when, and why, if it knows.
    pub fn declined(&mut self, rest: Option<Rest>, why: Option<Failure>) {
        if let Some(why) = why {
            let telling = match self.declined.take() {
                Some(before) => before.more_informative(why),
                None => why,
            };
            self.declined = Some(Box::new(telling));
        }
        if let Some(plan) = &mut self.plan {
            plan.declined(rest);
        }
    }
}

/// A worker wants a lease. Goes to the Router, which forwards it to a ProviderActor; comes back to
/// the Router when that declines.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Dispatch {
    /// The request.
    pub ticket: Ticket,
    /// Where exactly one answer goes.
    pub reply: oneshot::Sender<Verdict>,
}

/// The answer to a [`Dispatch`].
pub struct Verdict {
    /// The request, for what comes next.
    pub ticket: Ticket,
    /// What was decided.
    pub decision: Decision,
}

/// What becomes of a request.
pub enum Decision {
    /// It may ask for a lease.
    Admitted,
    /// It may make an attempt.
    Granted(Lease),
    /// It should ask again then.
    Wait(Duration),
    /// Nothing; this is why.
    Refused(Box<Failure>),
}

impl Dispatch {
    /// Gives the answer. A worker that is gone wants none; a lease for it gives itself back.
    pub(super) fn decide(self, decision: Decision) {
        let _ = self.reply.send(Verdict { ticket: self.ticket, decision });
    }
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
    /// Where the models go.
    pub reply: oneshot::Sender<Vec<Usable>>,
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

/// The Router is to go on with another configuration.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reload(pub Box<Config>);

/// A ProviderActor is no longer wanted. It ends when the last message to it has been answered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Retire;

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

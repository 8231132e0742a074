//! The attempt loop.

use std::sync::Arc;

use bytes::Bytes;

use crate::actors::{Control, Lease, Outcome, StatsQueue, Ticket};
use crate::canon::{Failure, Next};
use crate::config::ClientKey;

use super::account::Account;
use super::attempt::{Begun, attempt};
use super::exchange::Asked;
use super::stream::EventStream;

/// Takes requests to upstreams and answers back. One for all workers.
pub struct Relay {
    /// Who schedules.
    pub control: Arc<Control>,
    /// Where accounts go.
    pub stats: StatsQueue,
}

/// What the client gets.
pub enum Answer {
    /// A whole JSON document.
    Whole(Bytes),
    /// A stream of events.
    Events(Box<EventStream>),
}

impl Relay {
    /// Answers a chat request from the first channel that can.
    ///
    /// # Errors
    ///
    /// The most informative failure of all attempts, or why there was none.
    pub async fn chat(&self, client: Arc<ClientKey>, asked: Asked, mut account: Account) -> Result<Answer, Failure> {
        let mut ticket = Ticket::new(client, Arc::clone(&asked.request.model), asked.request.stream);
        let mut telling: Option<Failure> = None;
        loop {
            let lease;
            (lease, ticket) = match self.control.lease(ticket).await {
                Ok(granted) => granted,
                Err(refusal) => return Err(telling.unwrap_or(refusal)),
            };
            account.attempt(&lease);
            match attempt(&asked, &lease).await {
                Ok(begun) => return Ok(deliver(begun, lease, account)),
                Err(failure) => {
                    let next = lease.next_after(&failure);
                    log::warn!(
                        "request {}: channel {} failed: {:?}, status {:?}",
                        account.request_id(),
                        lease.channel().name,
                        failure.kind,
                        failure.upstream_status
                    );
                    account.failed();
                    ticket.failed(&lease, next);
                    lease.failed(&failure);
                    if next == Next::Stop {
                        return Err(failure);
                    }
                    telling = Some(match telling {
                        Some(before) => before.more_informative(failure),
                        None => failure,
                    });
                }
            }
        }
    }
}

fn deliver(begun: Begun, lease: Lease, mut account: Account) -> Answer {
    account.first_event();
    match begun {
        Begun::Whole { body, usage } => {
            account.used(usage);
            account.succeeded();
            lease.settle(Outcome::Succeeded);
            Answer::Whole(body)
        }
        Begun::Stream { first, chat, body } => {
            Answer::Events(Box::new(EventStream::new(first, *chat, body, lease, account)))
        }
    }
}

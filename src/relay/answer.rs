//! From a client's request to what the client gets.

use std::sync::Arc;

use actix_web::http::header::HeaderValue;
use bytes::Bytes;

use crate::actors::{Control, Lease, Outcome, Purpose, StatsQueue, Ticket};
use crate::canon::{Failure, FailureKind};
use crate::config::ClientKey;
use crate::routing::Quota;

use super::account::Account;
use super::attempt::{Begun, attempt};
use super::byte_stream::ByteStream;
use super::drain::{Drain, Over, shutting_down};
use super::exchange::Asked;
use super::journey::Journey;
use super::kept_alive::KeptAlive;
use super::stream::EventStream;

/// Takes requests to upstreams and answers back. One for all workers.
pub struct Relay {
    /// Who schedules.
    pub control: Arc<Control>,
    /// Where accounts go.
    pub stats: StatsQueue,
    /// Whether there is time for answers.
    pub drain: Drain,
}

/// What the client gets.
pub enum Answer {
    /// All of it.
    Whole {
        /// What it is.
        content_type: HeaderValue,
        /// The answer.
        body: Bytes,
    },
    /// A stream of events.
    Events(Box<EventStream>),
    /// Bytes as they come.
    Bytes {
        /// What they are.
        content_type: HeaderValue,
        /// The answer.
        body: Box<ByteStream>,
    },
    /// A stream of events that has not begun, and comments until it has.
    KeptAlive(Box<KeptAlive>),
}

/// What became of a request, with what is to be said beside it.
pub struct Reply {
    /// The answer, or why there is none.
    pub answer: Result<Answer, Failure>,
    /// What is left of the client's limit, if there is one.
    pub quota: Option<Quota>,
    /// The attempts that were made, for a client who is to know.
    pub trail: Option<String>,
}

impl From<Failure> for Reply {
    /// A request that went nowhere.
    fn from(failure: Failure) -> Self {
        Self { answer: Err(failure), quota: None, trail: None }
    }
}

impl Relay {
    /// Answers a request from the first channel that can. The answer's failure is the most
    /// informative one of all attempts, or says why there was none.
    pub async fn answer(&self, client: Arc<ClientKey>, asked: Asked, mut account: Account) -> Reply {
        let purpose = Purpose::Answer { operation: asked.request.operation(), stream: asked.request.stream() };
        let mut ticket = Ticket::new(Arc::clone(&client), Arc::clone(asked.request.model()), purpose);
        ticket.prompt_tokens = asked.prompt_tokens;
        let mut journey = Journey::new(&self.control, ticket, self.control.now());
        let mut over = self.drain.over();
        let answer = tokio::select! {
            biased;
            answer = self.first_answer(&client, &asked, &mut journey, &mut account) => answer,
            () = &mut over => Err(shutting_down()),
        };
        if let Err(failure) = &answer {
            account.refused(failure);
        }
        let trail = client.is_admin.then(|| account.trail());
        let answer = answer.map(|(begun, lease)| deliver(begun, lease, account, over));
        Reply { answer, quota: journey.quota(), trail }
    }

    async fn first_answer(
        &self,
        client: &Arc<ClientKey>,
        asked: &Asked,
        journey: &mut Journey<'_>,
        account: &mut Account,
    ) -> Result<(Begun, Lease), Failure> {
        if client.is_moderated
            && let Some(field) = asked.request.wordless()
        {
            let message = format!("this key's prompts are moderated; send \"{field}\" as a text or a list of texts");
            return Err(Failure::new(FailureKind::InvalidRequest, message).at(field));
        }
        if client.is_moderated
            && let Some(text) = asked.request.words()
        {
            // Who is over the limit is not judged either.
            journey.admit().await?;
            self.moderate(client, &text, journey.started(), account).await?;
        }
        let attempt = async |lease: &Lease, deadline| {
            asked.keepalive.set(lease.limits().keepalive);
            attempt(asked, lease, deadline).await
        };
        journey.first_answer(account, attempt).await
    }
}

fn deliver(begun: Begun, lease: Lease, mut account: Account, over: Over) -> Answer {
    account.first_event(!matches!(begun, Begun::Whole { .. }));
    match begun {
        Begun::Whole { body, content_type, usage } => {
            account.used(usage);
            account.succeeded();
            lease.settle(Outcome::Succeeded);
            Answer::Whole { content_type, body }
        }
        Begun::Bytes { first, content_type, length, body } => {
            lease.begun();
            Answer::Bytes { content_type, body: Box::new(ByteStream::new(first, length, body, lease, account, over)) }
        }
        Begun::Stream { first, chat, body } => {
            lease.begun();
            Answer::Events(Box::new(EventStream::new(first, *chat, body, lease, account, over)))
        }
    }
}

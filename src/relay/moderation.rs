//! Has a prompt judged by a moderation model before it is sent on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::actors::{Lease, Outcome, Purpose, Ticket};
use crate::canon::{Failure, FailureKind};
use crate::config::{ClientKey, MODERATION_MODELS};
use crate::dialect::moderation;
use crate::upstream;

use super::account::Account;
use super::answer::Relay;
use super::attempt::{attributed, within};
use super::journey::Journey;

/// A judgement may be this long, in bytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// What every generation of uni-api says.
const FLAGGED: &str = "Content did not pass the moral check, please modify and try again.";

impl Relay {
    /// Has a text judged by the first moderation model that the client may use and that answers, in
    /// the time of a request that came in at `started`.
    ///
    /// # Errors
    ///
    /// `Flagged`; or `ModerationUnavailable`, unless the configuration lets prompts pass then.
    pub(super) async fn moderate(
        &self,
        client: &Arc<ClientKey>,
        text: &str,
        started: Duration,
        account: &mut Account,
    ) -> Result<(), Failure> {
        let mut reasons = Vec::new();
        for model in MODERATION_MODELS {
            let ticket = Ticket::new(Arc::clone(client), model.into(), Purpose::Judgement);
            let mut journey = Journey::new(&self.control, ticket, started);
            match journey.first_answer(account, async |lease, deadline| judge(text, lease, deadline).await).await {
                Ok((is_flagged, lease)) => {
                    account.judged();
                    lease.settle(Outcome::Succeeded);
                    return if is_flagged { Err(Failure::new(FailureKind::Flagged, FLAGGED)) } else { Ok(()) };
                }
                // The code alone: the message may repeat the prompt.
                Err(failure) => reasons.push(format!("{model}: {}", failure.kind.public().code)),
            }
        }
        log::error!("request {}: its prompt cannot be moderated: {}", account.request_id(), reasons.join("; "));
        if self.control.config().passes_unmoderated {
            return Ok(());
        }
        let message = "this prompt could not be moderated, and is not sent on without; try again later";
        Err(Failure::new(FailureKind::ModerationUnavailable, message))
    }
}

async fn judge(text: &str, lease: &Lease, deadline: Instant) -> Result<bool, Failure> {
    let body = Bytes::from(moderation::write_request(text, lease.upstream_model()));
    let limits = lease.limits();
    let judgement = async {
        let answer = upstream::send(lease.target(), body.into(), limits).await?;
        moderation::read_answer(&answer.body.collect(MAX_ANSWER_BYTES).await?)
    };
    within(Instant::now() + limits.first_event, deadline, FailureKind::FirstEventTimeout, judgement)
        .await
        .map_err(|failure| attributed(failure, lease))
}

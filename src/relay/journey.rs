//! The attempt loop: from the first lease to an answer, or to the failure that says most.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep};

use crate::actors::{Control, Decision, Lease, Outcome, Purpose, Ticket, Verdict};
use crate::canon::{Failure, FailureKind, Next};
use crate::routing::Quota;

use super::account::Account;

/// So long a request may wait for the beginning of its answer, where neither `deadline` nor the
/// limits of an attempt say otherwise.
const PATIENCE: Duration = Duration::from_secs(300);

/// One request on its way to an answer.
pub(super) struct Journey<'a> {
    control: &'a Arc<Control>,
    started: Duration,
    ticket: Option<Ticket>,
    told: Told,
}

/// What the failures so far come to.
#[derive(Default)]
struct Told {
    most: Option<Failure>,
    /// Whether any of them was something else than a limit.
    is_more_than_limits: bool,
    /// When the first of the limits ends.
    limited_until: Option<Duration>,
}

impl<'a> Journey<'a> {
    /// The journey of a request that came in at `started`, or of one that is made on its behalf.
    pub fn new(control: &'a Arc<Control>, mut ticket: Ticket, started: Duration) -> Self {
        ticket.deadline = started.saturating_add(control.config().deadline.unwrap_or(PATIENCE));
        Self { control, started, ticket: Some(ticket), told: Told::default() }
    }

    /// When the request came in.
    pub fn started(&self) -> Duration {
        self.started
    }

    /// What is left of the client's limit, as far as that is known.
    pub fn quota(&self) -> Option<Quota> {
        self.ticket.as_ref()?.quota
    }

    /// Has the request let in, for which it is counted, before anything is done for it.
    ///
    /// # Errors
    ///
    /// The client may not use the model, or has reached its limit.
    pub async fn admit(&mut self) -> Result<(), Failure> {
        if let Some(ticket) = &mut self.ticket {
            ticket.is_only_admitted = true;
        }
        match self.decide().await? {
            Decision::Refused(why) => Err(*why),
            Decision::Admitted | Decision::Granted(_) | Decision::Wait(_) => Ok(()),
        }
    }

    async fn decide(&mut self) -> Result<Decision, Failure> {
        let ticket = self.ticket.take().ok_or_else(lost)?;
        let Verdict { ticket, decision } = self.control.next(ticket).await?;
        self.ticket = Some(ticket);
        Ok(decision)
    }

    /// Makes attempts until one of them gives an answer.
    ///
    /// # Errors
    ///
    /// The most informative failure of all attempts, or why there was none.
    pub async fn first_answer<T>(
        &mut self,
        account: &mut Account,
        attempt: impl AsyncFn(&Lease, Instant) -> Result<T, Failure>,
    ) -> Result<(T, Lease), Failure> {
        loop {
            let decision = match self.decide().await {
                Ok(decision) => decision,
                Err(failure) => return Err(self.told.instead_of(failure)),
            };
            let Some(ticket) = &mut self.ticket else { return Err(lost()) };
            let moment = Instant::now();
            let now = self.control.at(moment.into_std());
            let lease = match decision {
                Decision::Granted(lease) => lease,
                Decision::Admitted => continue,
                Decision::Wait(until) => {
                    sleep(with_jitter(until.saturating_sub(now))).await;
                    continue;
                }
                Decision::Refused(why) => {
                    self.told.retry_after(now);
                    return Err(self.told.instead_of(*why));
                }
            };
            if self.control.config().deadline.is_none() {
                ticket.deadline =
                    ticket.deadline.max(self.started.saturating_add(own_deadline(ticket.purpose, &lease)));
            }
            let left = ticket.deadline.saturating_sub(now);
            if left.is_zero() {
                return Err(self.told.instead_of(deadline_passed()));
            }
            account.attempt(&lease, &ticket.model, moment.into_std());
            let failure = match attempt(&lease, moment + left).await {
                Ok(answer) => return Ok((answer, lease)),
                Err(failure) => failure,
            };
            let next = lease.next_after(&failure);
            let had_most_of_the_time = left >= ticket.deadline.saturating_sub(self.started) / 2;
            account.failed(&failure);
            ticket.failed(&lease, &failure, next, self.control.now());
            self.told.add(&failure, ticket.attempts.last().and_then(|attempt| attempt.again));
            match failure.kind {
                // Who was silent all that time has failed; who was asked late has not.
                FailureKind::DeadlinePassed if had_most_of_the_time => {
                    lease.settle(Outcome::Failed(FailureKind::FirstEventTimeout));
                }
                _ => lease.failed(&failure),
            }
            match failure.kind {
                FailureKind::DeadlinePassed => return Err(self.told.instead_of(failure)),
                _ if next == Next::Stop => return Err(failure),
                _ => {}
            }
        }
    }
}

impl Told {
    fn add(&mut self, failure: &Failure, again: Option<Duration>) {
        match failure.kind {
            FailureKind::RateLimited => self.limited_until = self.limited_until.into_iter().chain(again).min(),
            FailureKind::QuotaSpent => {}
            _ => self.is_more_than_limits = true,
        }
        self.most = Some(match self.most.take() {
            Some(before) => before.more_informative(failure.clone()),
            None => failure.clone(),
        });
    }

    /// Says when the limits end, if there was nothing else.
    fn retry_after(&mut self, now: Duration) {
        if let (Some(most), Some(until), false) = (&mut self.most, self.limited_until, self.is_more_than_limits) {
            most.retry_after = Some(until.saturating_sub(now).max(Duration::from_secs(1)));
        }
    }

    fn instead_of(&mut self, last: Failure) -> Failure {
        self.most.take().unwrap_or(last)
    }
}

/// How long a request may take because one attempt may take so long: twice the time to its first
/// event, and all the time for a whole answer.
fn own_deadline(purpose: Purpose, lease: &Lease) -> Duration {
    let limits = lease.limits();
    let begun = limits.first_event.saturating_mul(2);
    if purpose.stream() { begun } else { begun.max(limits.total) }
}

/// The time over which a request waits, so that those that wait for the same do not come at once.
fn with_jitter(wait: Duration) -> Duration {
    wait + Duration::from_millis(1) + wait.mul_f64(0.2 * Rng::new().f64())
}

/// The time for the whole request is over.
pub(super) fn deadline_passed() -> Failure {
    Failure::new(FailureKind::DeadlinePassed, "no channel has begun to answer before the deadline of the request")
}

fn lost() -> Failure {
    Failure::new(FailureKind::Internal, "the gateway has lost this request; its log says why")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(failures: &[(FailureKind, Option<u64>)]) -> Failure {
        let mut told = Told::default();
        for (kind, again) in failures {
            told.add(&Failure::new(*kind, ""), again.map(Duration::from_secs));
        }
        told.retry_after(Duration::from_secs(100));
        told.instead_of(lost())
    }

    #[test]
    fn when_all_were_limited_the_client_is_told_when_the_first_limit_ends() {
        let failure = told(&[(FailureKind::RateLimited, Some(140)), (FailureKind::RateLimited, Some(120))]);
        assert_eq!((failure.kind, failure.retry_after), (FailureKind::RateLimited, Some(Duration::from_secs(20))));
        let spent = told(&[(FailureKind::RateLimited, Some(140)), (FailureKind::QuotaSpent, None)]);
        assert_eq!((spent.kind, spent.retry_after), (FailureKind::QuotaSpent, Some(Duration::from_secs(40))));
    }

    #[test]
    fn when_something_else_failed_waiting_for_a_limit_may_not_help() {
        let failure = told(&[(FailureKind::RateLimited, Some(140)), (FailureKind::Overloaded, None)]);
        assert_eq!((failure.kind, failure.retry_after), (FailureKind::Overloaded, None));
    }
}

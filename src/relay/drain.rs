//! The end of the program: what is under way may finish for a while, and is then told to end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::canon::{Failure, FailureKind};

/// Whether there is time left for answers. Shared by all clones.
#[derive(Clone, Default)]
pub struct Drain(Arc<State>);

#[derive(Default)]
struct State {
    is_over: AtomicBool,
    over: Arc<Notify>,
}

impl Drain {
    /// There is no time left: every stream ends with an error, and every request without an answer
    /// gets one.
    pub fn end(&self) {
        self.0.is_over.store(true, Ordering::Release);
        self.0.over.notify_waiters();
    }

    /// Waits until there is no time left.
    pub fn over(&self) -> Over {
        let notified = Box::pin(Arc::clone(&self.0.over).notified_owned());
        Over { state: Arc::clone(&self.0), notified, registered: None }
    }
}

/// Ready when there is no time left for answers.
pub struct Over {
    state: Arc<State>,
    notified: Pin<Box<OwnedNotified>>,
    registered: Option<Waker>,
}

impl Future for Over {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.state.is_over.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        // A stream is polled with each piece, always by the same task; the list of all that wait is
        // behind a lock that all threads share.
        if this.registered.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        this.registered = Some(context.waker().clone());
        this.notified.as_mut().poll(context)
    }
}

/// Why there is no answer, or no more of it.
pub(super) fn shutting_down() -> Failure {
    Failure::new(FailureKind::ShuttingDown, "the gateway is shutting down; send the request again")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_end_is_noticed_by_who_waits_and_by_who_comes_later() {
        let drain = Drain::default();
        let (mut waiting, mut untouched) = (drain.over(), drain.over());
        assert!((&mut waiting).now_or_never().is_none());
        drain.end();
        assert!((&mut waiting).now_or_never().is_some());
        assert!((&mut untouched).now_or_never().is_some());
        assert!(drain.over().now_or_never().is_some());
    }

    #[actix_web::test]
    async fn who_waits_is_woken() {
        let drain = Drain::default();
        let waiting = actix_web::rt::spawn(drain.over());
        tokio::task::yield_now().await;
        drain.end();
        waiting.await.unwrap();
    }
}

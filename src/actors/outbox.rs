//! The requests of one worker thread on their way to the Router.
//!
//! Waking the Router's thread costs more than all that it then does, and on a busy machine each
//! request would wake it anew. So the requests that become ready in one turn of a worker's event
//! loop travel together: the first one schedules the sending behind the tasks that are ready now.

use std::cell::RefCell;
use std::sync::Arc;

use super::control::Control;
use super::messages::{Dispatch, DispatchBatch};

thread_local! {
    static WAITING: RefCell<Vec<(Arc<Control>, Dispatch)>> = const { RefCell::new(Vec::new()) };
}

/// Sends `dispatch` to the Router of `control` together with others of this turn.
pub fn put(control: &Arc<Control>, dispatch: Dispatch) {
    let is_first = WAITING.with_borrow_mut(|waiting| {
        waiting.push((Arc::clone(control), dispatch));
        waiting.len() == 1
    });
    if is_first {
        actix::spawn(async { send() });
    }
}

fn send() {
    let mut waiting = WAITING.take().into_iter().peekable();
    while let Some((control, dispatch)) = waiting.next() {
        let mut batch = vec![dispatch];
        // A thread has more than one gateway only in tests.
        while let Some((_, dispatch)) = waiting.next_if(|(other, _)| Arc::ptr_eq(other, &control)) {
            batch.push(dispatch);
        }
        control.router().do_send(DispatchBatch(batch));
    }
}

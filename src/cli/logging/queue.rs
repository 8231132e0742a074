//! Lines of the log on their way to whoever reads them. Those who log only put a line into the queue;
//! a thread of its own writes. So a reader that stalls stops nobody, and many lines are one write.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// As much may wait, in bytes. Lines that find no room are lost, and counted.
const CAPACITY: usize = 4 << 20;
/// After a write, lines may gather for so long.
const PAUSE: Duration = Duration::from_millis(20);
/// A reader that does not read is not waited for any longer at the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a burst has taken in memory is given back down to this, in bytes: the lines of a pause under load.
const KEPT: usize = 256 << 10;

/// The end of the queue where lines go in. Clones are the same queue.
#[derive(Clone)]
pub struct LogQueue(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something to write.
    arrived: Condvar,
    /// All is written.
    written: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    lost: usize,
    /// The thread waits for a line and has to be woken. Waking it is a system call, even in vain.
    is_idle: bool,
    is_writing: bool,
}

impl LogQueue {
    /// A queue that is written to `out` until the process ends. `tell_lost` logs that so many lines
    /// were lost.
    ///
    /// # Errors
    ///
    /// There can be no thread.
    pub fn start(out: impl Write + Send + 'static, tell_lost: fn(usize)) -> io::Result<Self> {
        let queue =
            Self(Arc::new(Shared { waiting: Mutex::default(), arrived: Condvar::new(), written: Condvar::new() }));
        let its_queue = queue.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || its_queue.write_to(out, tell_lost))?;
        Ok(queue)
    }

    /// Waits until everything is written, but not for a reader that does not read.
    pub fn flush(&self) {
        let is_under_way = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        drop(self.0.written.wait_timeout_while(self.waiting(), PATIENCE, is_under_way));
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut out: impl Write, tell_lost: fn(usize)) {
        let mut lines = Vec::new();
        loop {
            let lost = self.next(&mut lines);
            // There is nobody left to tell that the log cannot be written.
            let _ = out.write_all(&lines).and_then(|()| out.flush());
            lines.clear();
            lines.shrink_to(KEPT);
            self.waiting().is_writing = false;
            self.0.written.notify_all();
            if lost > 0 {
                tell_lost(lost);
            }
            thread::sleep(PAUSE);
        }
    }

    /// Waits for lines and takes them all, and tells how many were lost.
    fn next(&self, lines: &mut Vec<u8>) -> usize {
        let mut waiting = self.waiting();
        waiting.is_idle = true;
        let nothing = |waiting: &mut Waiting| waiting.lines.is_empty();
        let mut waiting = self.0.arrived.wait_while(waiting, nothing).unwrap_or_else(PoisonError::into_inner);
        (waiting.is_idle, waiting.is_writing) = (false, true);
        std::mem::swap(lines, &mut waiting.lines);
        std::mem::take(&mut waiting.lost)
    }
}

impl Write for LogQueue {
    /// Takes whole lines.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let mut waiting = self.waiting();
        if waiting.lines.len().saturating_add(lines.len()) > CAPACITY {
            waiting.lost += 1;
        } else {
            waiting.lines.extend_from_slice(lines);
            if std::mem::take(&mut waiting.is_idle) {
                self.0.arrived.notify_one();
            }
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A reader that takes a write only when it is allowed to.
    struct Reader {
        allowed: Receiver<()>,
        read: Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(io::Error::other)?;
            self.read.send(String::from_utf8(lines.to_vec()).unwrap()).map_err(io::Error::other)?;
            Ok(lines.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stalled(tell_lost: fn(usize)) -> (LogQueue, Sender<()>, Receiver<String>) {
        let ((allow, allowed), (read, seen)) = (channel(), channel());
        (LogQueue::start(Reader { allowed, read }, tell_lost).unwrap(), allow, seen)
    }

    #[test]
    fn lines_that_come_during_a_write_are_the_next_one() {
        let (mut queue, allow, seen) = stalled(|_| ());
        queue.write_all(b"1\n").unwrap();
        while !queue.waiting().is_writing {
            thread::yield_now();
        }
        for line in ["2\n", "3\n", "4\n"] {
            queue.write_all(line.as_bytes()).unwrap();
        }
        allow.send(()).unwrap();
        allow.send(()).unwrap();
        queue.flush();
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["1\n", "2\n3\n4\n"]);
    }

    #[test]
    fn a_reader_that_stalls_stops_nobody_and_what_is_lost_is_counted() {
        static LOST: AtomicUsize = AtomicUsize::new(0);
        let (mut queue, allow, seen) = stalled(|lost| LOST.store(lost, Ordering::SeqCst));
        let line = vec![b'x'; CAPACITY / 4];
        queue.write_all(&line).unwrap();
        while !queue.waiting().is_writing {
            thread::yield_now();
        }
        for _ in 0..7 {
            queue.write_all(&line).unwrap();
        }
        allow.send(()).unwrap();
        allow.send(()).unwrap();
        queue.flush();
        assert_eq!(seen.try_iter().map(|lines| lines.len()).collect::<Vec<_>>(), [CAPACITY / 4, CAPACITY]);
        while LOST.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        assert_eq!(LOST.load(Ordering::SeqCst), 3);
    }
}

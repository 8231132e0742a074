//! What the system tells the process.
//!
//! All of it is listened for: the first process of a container gets no signal that it does not
//! listen for, and any other process is ended by it.

use std::io;

/// A signal that ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// SIGINT, as of Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Ending {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// The exit code of what it ends at once, as shells tell it: 128 and its number.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

#[cfg(unix)]
mod system {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::*;

    /// The signals that end the process.
    pub struct Endings {
        interrupt: Signal,
        terminate: Signal,
    }

    impl Endings {
        /// Listens from now on.
        ///
        /// # Errors
        ///
        /// The system does not allow it.
        pub fn listen() -> io::Result<Self> {
            Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
        }

        /// The next one.
        pub async fn next(&mut self) -> Ending {
            tokio::select! {
                _ = self.interrupt.recv() => Ending::Interrupt,
                _ = self.terminate.recv() => Ending::Terminate,
            }
        }
    }

    /// SIGHUP: the configuration is to be read again.
    pub struct Hangups(Signal);

    impl Hangups {
        /// Listens from now on.
        ///
        /// # Errors
        ///
        /// The system does not allow it.
        pub fn listen() -> io::Result<Self> {
            signal(SignalKind::hangup()).map(Self)
        }

        /// Waits for the next one.
        pub async fn next(&mut self) {
            self.0.recv().await;
        }
    }
}

#[cfg(not(unix))]
mod system {
    use super::*;

    /// The signals that end the process; here, Ctrl-C alone.
    pub struct Endings;

    impl Endings {
        /// Listens from now on.
        ///
        /// # Errors
        ///
        /// None here.
        pub fn listen() -> io::Result<Self> {
            Ok(Self)
        }

        /// The next one.
        pub async fn next(&mut self) -> Ending {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            Ending::Interrupt
        }
    }

    /// There is no SIGHUP here.
    pub struct Hangups;

    impl Hangups {
        /// Listens for nothing.
        ///
        /// # Errors
        ///
        /// None here.
        pub fn listen() -> io::Result<Self> {
            Ok(Self)
        }

        /// Waits for ever.
        pub async fn next(&mut self) {
            std::future::pending().await
        }
    }
}

pub use system::{Endings, Hangups};

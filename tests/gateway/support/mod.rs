//! What the integration tests stand on: a scripted upstream that misbehaves on purpose, a client that can, too, and
//! the gateway between them.
//!
//! Upstream and client speak HTTP/1.1 over bare sockets and share no code with the gateway, so that they cannot share
//! its mistakes. Nothing here sleeps for a certain time: tests wait for the event they need, and a wait that takes
//! longer than [`PATIENCE`] fails.

mod client;
mod fake_proxy;
mod fake_upstream;
pub mod form;
pub mod gateway;
mod http2_upstream;
pub mod logs;
mod program;
mod reply;
mod tls;
pub mod wire;

use std::time::Duration;

pub use client::{Answer, Client, Connection, OpenStream, Request};
pub use fake_proxy::{FakeProxy, Manner};
pub use fake_upstream::{FakeUpstream, Received, refusing_address};
pub use gateway::{CHAT, Gateway, KEY, Setup, channel, channel_at, hello, hello_streamed, query, upstream_key, with};
pub use http2_upstream::{Abilities, Http2Upstream};
pub use program::Program;
pub use reply::Reply;
pub use tls::{Authority, TlsFront};

/// After this long a wait has failed. No passing test comes near it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for `future`, but fails the test when it takes longer than [`PATIENCE`].
pub async fn within_patience<T>(awaited: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited {} s in vain for {awaited}", PATIENCE.as_secs()))
}

//! Load and faults: the gateway under more than it will ever see, in front of upstreams that fail at random.
//!
//! A short version runs with all other tests. For everything, and for figures that mean something:
//! `LOAD=full cargo test --release --test load -- --nocapture --test-threads 1`. See [`scale`]. What starts a
//! process takes another binary than the one that was built with the tests, if `UNI_API_PROGRAM` names one.

// Always true here. It tells clippy that helper functions are tests as well: they may unwrap, index and panic.
#![cfg(test)]

mod client;
mod faults;
#[cfg(target_os = "linux")]
mod figures;
mod lot;
mod scale;
#[cfg(target_os = "linux")]
mod soak;
#[cfg(target_os = "linux")]
mod streams;
#[expect(dead_code, unused_imports, reason = "the tests of the gateway use what the load does not")]
#[path = "../gateway/support/mod.rs"]
mod support;
mod upstream;
mod wording;

//! The proof that translation loses nothing: every format, both directions, whole and streamed.
//!
//! Nothing of the product is used to check it. [`exchange`] is a model of its own of what an exchange says; `client` reads
//! and writes OpenAI's JSON for it as a client does, and [`native`] reads and writes a provider's JSON as the
//! provider does. What goes in at one end has to come out at the other.

// Always true here. It tells clippy that helper functions are tests as well: they may unwrap, index and panic.
#![cfg(test)]

mod agents;
mod arbitrary;
mod client;
mod exchange;
mod fixtures;
mod native;
mod pipe;
mod recordings;
mod round_trip;

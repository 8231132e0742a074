//! One request's journey: the attempt loop, the commit point, time limits, streaming, accounting.
//!
//! Nothing reaches the client until an upstream's first real event has been seen, or its whole body
//! when it does not stream. Until then a failure moves on; after it, a failure is an honest error
//! event and the stream ends without `[DONE]`.

mod account;
mod answer;
mod attempt;
mod byte_stream;
mod call;
mod drain;
mod exchange;
mod journey;
mod kept_alive;
mod media;
mod moderation;
mod overrides;
mod stream;
mod trail;

pub use account::Account;
pub use answer::{Answer, Relay, Reply};
pub use byte_stream::ByteStream;
pub use drain::Drain;
pub use exchange::{Asked, Request};
pub use kept_alive::{Interval, KeptAlive};
pub use media::Fetched;
pub use stream::EventStream;

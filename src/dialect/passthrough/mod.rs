//! The same format on both sides: the bytes of the client reach the upstream, and the upstream's
//! reach the client, with only what the configuration demands rewritten on the raw top-level
//! fields. Usage is read on the way past.

mod last_text;
mod prompt_chars;
mod request;
mod skim;
mod stream;
mod user_text;
mod walk;

pub use request::{ChatRequest, Demands};
pub use stream::ChatStream;

//! The client's side: writes requests and reads answers in OpenAI's format, as agents do that know the fields which
//! gateways add to it.

mod answer;
mod request;

pub use answer::{Details, answer, completion, plain};
pub use request::{body, call, read, text};

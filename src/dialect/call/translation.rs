//! How upstreams that do not speak like OpenAI say an operation.

use crate::canon::{Failure, Usage};

use super::Call;

/// One way to say one operation, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {}

impl Translation {
    /// The body of a request for this model.
    ///
    /// # Errors
    ///
    /// `Untranslatable` when the upstream cannot be told what the request asks for, `InvalidRequest`
    /// when nobody can.
    pub fn write_request(self, _: &Call, _: &str) -> Result<Vec<u8>, Failure> {
        match self {}
    }

    /// A whole answer for the client, and what it used. `created` is now, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// It is an error, or no answer to this request.
    pub fn read_answer(self, _: &Call, _: &[u8], _created: u64) -> Result<(Vec<u8>, Option<Usage>), Failure> {
        match self {}
    }
}

//! What a request is called.

use std::fmt::{self, Display, Formatter};

use uuid::Uuid;

/// What a request is called in the `x-request-id` of its answer, in the log and in both tables. It is kept as it is
/// written, so that it costs nothing to hand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId([u8; uuid::fmt::Hyphenated::LENGTH]);

impl RequestId {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        // It is of ASCII alone.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<u128> for RequestId {
    /// The bits of a UUID.
    fn from(uuid: u128) -> Self {
        let mut written = [0; uuid::fmt::Hyphenated::LENGTH];
        Uuid::from_u128(uuid).hyphenated().encode_lower(&mut written);
        Self(written)
    }
}

impl Display for RequestId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_uuids_are() {
        let written = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let id = RequestId::from(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
        assert_eq!((id.as_str(), id.to_string()), (written, written.to_owned()));
    }
}

//! What a channel's configuration changes in the JSON bodies of its clients, once they are in its words.

use bytes::Bytes;

use crate::config::Channel;
use crate::dialect::patch::{Patch, patched};

/// The body as the channel is to get it for the model of this alias.
pub(super) fn overridden(body: Bytes, channel: &Channel, alias: &str) -> Bytes {
    let patches = channel.overrides.of(alias);
    patched(body, patches.map(|patch| Patch { set: &patch.set, remove: &patch.remove }))
}

//! Load and faults: the gateway under more than it will ever see, in front of upstreams that fail at random.

// Always true here. It tells clippy that helper functions are tests as well: they may unwrap, index and panic.
#![cfg(test)]

mod faults;
#[expect(dead_code, unused_imports, reason = "the tests of the gateway use what the load does not")]
#[path = "../gateway/support/mod.rs"]
mod support;

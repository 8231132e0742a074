//! One upstream has a fault, and two hundred requests are made of it at once. The one beside it answers as if nothing
//! were, every request of the bad one comes to an honest end within its own limits, and then nothing is left of them.
//!
//! Where that takes longer than anybody wants to wait, `LOAD=full` does it.

mod bystander;
mod clock;
mod half_open;
mod network;
mod panics;
mod resets;
mod slow_names;
mod stalls;

use bystander::Bystander;

/// As many requests are made of a bad upstream at once.
const MANY: usize = 200;

/// Whether there is time for everything.
fn takes_its_time() -> bool {
    std::env::var("LOAD").is_ok_and(|load| load == "full")
}

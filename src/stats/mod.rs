//! What happened, in SQLite through diesel.
//!
//! `rows` is what the workers report, `store` writes it. The database is never on the request path:
//! only the [`StatsActor`](crate::actors::stats::StatsActor) writes to it.
//!
//! `request_stats` and `channel_stats` have a row for each request and attempt. So that a month of
//! them is told at once, `upkeep` adds them up by the hour: a [`tally`] as JSON in `stats_sums`;
//! `added_up` says up to which id. [`read`] tells what happened since a time from
//!
//! - the sums of the hours after the one of that time: `period > substr(since, 1, 13)`; where the span
//!   is long, of the days after that day,
//! - what is left of that hour: rows with `timestamp >= since`, before the next hour, and with an `id`
//!   up to `last_id`, and
//! - what has not been added up: rows with `timestamp >= since` and an `id` above `last_id`.
//!
//! All three are read in one transaction. `upkeep` also deletes what is too old, sums included.

mod adopt;
mod count;
mod damaged;
mod histogram;
mod inserts;
mod reader;
pub mod report;
mod rows;
mod schema;
mod span;
mod store;
mod sums;
pub mod tally;
mod trouble;
mod upkeep;
mod wall_clock;

pub use damaged::set_aside;
pub use reader::{ReadError, read};
pub use report::Report;
pub use rows::{AttemptRow, RequestRow};
pub use store::Store;
pub use trouble::{StoreError, Trouble};
pub use upkeep::{PORTION, Progress};
pub use wall_clock::{Credit, WallClock};

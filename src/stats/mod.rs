//! What happened, in SQLite through diesel.
//!
//! `rows` is what the workers report, `store` writes it. The database is never on the request path:
//! only the [`StatsActor`](crate::actors::stats::StatsActor) writes to it.
//!
//! `request_stats` and `channel_stats` have a row for each request and attempt. So that a month of
//! them is counted at once, `upkeep` adds them up: by the hour into `request_hours` and
//! `channel_hours`, by the day into `client_ip_days`; `added_up` says up to which id. What happened
//! since a time is the sum of
//!
//! - the hours after the one of that time: `hour > substr(since, 1, 13)`,
//! - what is left of that hour: rows with `timestamp >= since`, before the next hour, and with an `id`
//!   up to `last_id`, and
//! - what has not been added up: rows with `timestamp >= since` and an `id` above `last_id`.
//!
//! With days in place of hours it is the same. All three have to be read in one transaction. `upkeep`
//! also deletes what is too old, sums included.

mod adopt;
mod damaged;
mod inserts;
mod rows;
mod schema;
mod store;
mod trouble;
mod upkeep;

pub use damaged::set_aside;
pub use rows::{AttemptRow, RequestRow};
pub use store::Store;
pub use trouble::{StoreError, Trouble};
pub use upkeep::{PORTION, Progress};

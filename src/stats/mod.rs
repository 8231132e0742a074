//! What happened, in SQLite through diesel.
//!
//! `rows` is what the workers report, `store` writes it. The database is never on the request path:
//! only the [`StatsActor`](crate::actors::stats::StatsActor) has a connection.

mod rows;
mod schema;
mod store;

pub use rows::{AttemptRow, RequestRow};
pub use store::{Store, StoreError};

//! Requests written and answers read, held against snapshots.

mod answers;
mod recordings;
mod requests;

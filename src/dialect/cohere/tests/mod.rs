//! Requests written and answers read, held against snapshots.

mod answers;
mod requests;

//! Requests written, answers read and schemas cleaned.

mod answers;
mod requests;
mod schemas;
mod streams;

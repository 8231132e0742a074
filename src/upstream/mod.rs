//! The only room that sees HTTP clients, TLS or sockets.
//!
//! A [`Target`] is an endpoint with the headers of one key, prepared once. [`send`] makes one
//! attempt at it; [`list_models`], [`fetch_text`] and [`fetch_changed`] ask for small documents, [`fetch_token`] for the
//! access token of an account, [`fetch_media`] for what a client names by its address. Everything
//! that goes wrong comes back as a [`Failure`](crate::canon::Failure).

mod address;
mod attempt;
mod body;
mod client;
mod connect;
mod dial;
mod document;
mod google;
mod http1;
mod http2;
mod media;
mod names;
mod noting;
mod prepared;
mod proxy;
mod question;
mod response;
mod route;
mod socks;
mod target;
mod url;
mod vanished;
mod vertex;

pub use attempt::{Answer, Outgoing, send};
pub use body::Body;
pub use client::install_crypto;
pub use document::{Document, Validators, fetch_changed, fetch_text, list_models};
pub use google::{Token, fetch_token};
pub use media::{Media, fetch_media};
pub use route::{Endpoint, address_names_model};
pub use target::{InvalidTarget, Target, without_secrets};
pub use vanished::watch_over_client;
pub use vertex::{Placement, vertex_target};

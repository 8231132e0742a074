//! Routes, authentication, CORS and error bodies; one thin file per endpoint.

mod ask;
mod auth;
mod body;
mod client_ip;
mod connections;
mod direct;
mod edge;
mod errors;
mod health;
mod keys;
mod metrics;
mod models;
mod paced;
mod page;
mod reply;
mod reports;
mod routes;
mod stats;

pub use connections::Connections;
pub use edge::Edge;
pub use reports::Reports;
pub use routes::{Access, Route, configure, routes};

use std::sync::Arc;

use crate::config::Config;
use crate::relay::Relay;

/// What every handler has at hand.
pub struct Gateway {
    /// The way to the upstreams.
    pub relay: Relay,
    /// What the database of the statistics says.
    pub reports: Reports,
}

impl Gateway {
    /// The configuration of now.
    pub fn config(&self) -> Arc<Config> {
        self.relay.control.config()
    }
}

//! Counts and times since the start, as [`GET /metrics`](https://prometheus.io/docs/instrumenting/exposition_formats/)
//! tells them.
//!
//! [`Metrics`] has a counter block for each endpoint and for each model of a provider. Whoever counts
//! gets hold of a block once and then adds to it, without a lock and without an allocation. Labels
//! come from the program and from the configuration, never from a client: models that are not listed
//! there count together, as [`UNLISTED`].

mod counters;
mod ending;
mod endpoint;
mod process;
mod series;
mod text;

pub use counters::Counter;
pub use ending::Ending;
pub use endpoint::Endpoint;
pub use series::{ProviderSeries, Series};
pub use text::{CONTENT_TYPE, Kind, Text};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::canon::Operation;

use series::Place;

/// The label of all models that the configuration does not list.
pub const UNLISTED: &str = "(unlisted)";
/// The label of all requests that go to no model.
const OWN_ANSWERS: &str = "other";

/// By provider and model. A reload leaves them as they are, so that counts never go back.
type AllSeries = BTreeMap<Place, Arc<Series>>;

/// Everything that is counted.
pub struct Metrics {
    endpoints: [Endpoint; Operation::ALL.len()],
    own_answers: Endpoint,
    series: Mutex<AllSeries>,
    started: SystemTime,
    /// How often another configuration was put in force.
    pub reloads: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            endpoints: Operation::ALL.map(|operation| Endpoint::new(operation.row().endpoint)),
            own_answers: Endpoint::new(OWN_ANSWERS),
            series: Mutex::default(),
            started: SystemTime::now(),
            reloads: Counter::default(),
        }
    }
}

impl Metrics {
    /// What counts for requests to this endpoint, as [`Row::endpoint`](crate::canon::Row::endpoint)
    /// names it; those that go to no model count together.
    pub fn endpoint(&self, name: &'static str) -> &Endpoint {
        self.endpoints.iter().find(|endpoint| endpoint.name() == name).unwrap_or(&self.own_answers)
    }

    /// What counts for one model of a provider; made when it is first asked for.
    fn series(&self, provider: &Arc<str>, model: &Arc<str>) -> Arc<Series> {
        let place = (Arc::clone(provider), Arc::clone(model));
        Arc::clone(self.all_series().entry(place).or_default())
    }

    fn all_series(&self) -> MutexGuard<'_, AllSeries> {
        // What is in there are counts alone, so a panic under the lock has broken nothing.
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all of it down, and what the system says of the process. Reads files.
    pub fn write(&self, text: &mut Text) {
        let endpoints: Vec<&Endpoint> = self.endpoints.iter().chain([&self.own_answers]).collect();
        endpoint::write(&endpoints, text);
        // Copied, so that whoever needs a new one does not wait for all this text.
        let series = self.all_series().clone();
        series::write(&series, text);
        text.family("config_reloads_total", Kind::Counter, "How often another configuration was put in force.");
        text.sample(&[], self.reloads.get());
        process::write(self.started, text);
    }
}

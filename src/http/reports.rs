//! Reads statistics for whoever asks: one query at a time, on a thread where nobody waits for it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix_web::web;
use futures::lock::Mutex;

use crate::canon::{Failure, FailureKind};
use crate::stats::{self, Report};

/// Whoever asks this soon after somebody else gets the same answer.
const KEPT_FOR: Duration = Duration::from_millis(500);

/// The reports of the last moment, by hours.
type Kept = HashMap<u16, (Instant, Arc<Report>)>;

/// What the database file says.
pub struct Reports {
    path: Option<PathBuf>,
    kept: Arc<Mutex<Kept>>,
}

impl Reports {
    /// Of this file; `None` when statistics are switched off.
    pub fn of(path: Option<PathBuf>) -> Self {
        Self { path, kept: Arc::default() }
    }

    /// What happened in the last hours; `None` when statistics are switched off.
    ///
    /// # Errors
    ///
    /// `StatsUnreadable`.
    pub async fn last(&self, hours: u16) -> Result<Option<Arc<Report>>, Failure> {
        let Some(path) = self.path.clone() else { return Ok(None) };
        let mut kept = Arc::clone(&self.kept).lock_owned().await;
        kept.retain(|_, (at, _)| at.elapsed() < KEPT_FOR);
        if let Some((_, report)) = kept.get(&hours) {
            return Ok(Some(Arc::clone(report)));
        }
        // The lock goes along: a client that leaves must not make room for a second query beside its own.
        let reading = web::block(move || {
            let report = Arc::new(stats::read(&path, hours, SystemTime::now())?);
            kept.insert(hours, (Instant::now(), Arc::clone(&report)));
            Ok::<_, stats::ReadError>(report)
        });
        let report = reading.await.map_err(|error| unreadable(&error))?;
        report.map(Some).map_err(|error| unreadable(&error))
    }
}

fn unreadable(error: &dyn std::error::Error) -> Failure {
    Failure::new(FailureKind::StatsUnreadable, format!("there are no statistics now: {error}; requests go on"))
}

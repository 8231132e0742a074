//! What is noted of a request on its way, and reported once when it is over.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::actors::{Lease, StatsQueue};
use crate::canon::Usage;
use crate::config::ClientKey;
use crate::stats::{AttemptRow, RequestRow};

/// The account of one request. Whatever becomes of the request, dropping the account reports it:
/// an answer, a refusal, a client that went away.
pub struct Account {
    stats: StatsQueue,
    request_id: Arc<str>,
    started: Instant,
    row: Option<RequestRow>,
}

impl Account {
    /// Opens the account of a request that has just come in.
    pub fn open(stats: StatsQueue, request_id: Arc<str>, endpoint: &'static str, client_ip: Option<IpAddr>) -> Self {
        let row = stats.is_enabled().then(|| RequestRow {
            request_id: Arc::clone(&request_id),
            endpoint,
            client_ip: client_ip.map(|ip| ip.to_string().into()),
            process_time: Default::default(),
            first_response_time: None,
            provider: None,
            model: None,
            api_key: None,
            text: None,
            usage: None,
            timestamp: SystemTime::now(),
            attempts: Vec::new(),
        });
        Self { row, stats, request_id, started: Instant::now() }
    }

    /// The `x-request-id` of the answer.
    pub fn request_id(&self) -> &Arc<str> {
        &self.request_id
    }

    /// The client is known.
    pub fn client(&mut self, client: &ClientKey) {
        if let Some(row) = &mut self.row {
            row.api_key = Some(Arc::clone(&client.label));
        }
    }

    /// What the client asks for is known.
    pub fn asks(&mut self, model: &Arc<str>, text: Option<String>) {
        if let Some(row) = &mut self.row {
            row.model = Some(Arc::clone(model));
            row.text = text.map(Arc::from);
        }
    }

    /// An attempt begins. Neither succeeded nor failed, it ends undecided: the client left.
    pub fn attempt(&mut self, lease: &Lease) {
        if let Some(row) = &mut self.row {
            let provider = Arc::clone(&lease.channel().name);
            row.attempts.push(AttemptRow { provider, provider_api_key: lease.key_label(), success: None });
        }
    }

    /// The attempt's first event is here, and with it the answer.
    pub fn first_event(&mut self) {
        let elapsed = self.started.elapsed();
        if let Some(row) = &mut self.row {
            row.first_response_time = Some(elapsed);
            row.provider = row.attempts.last().map(|attempt| Arc::clone(&attempt.provider));
        }
    }

    /// Token counts are known.
    pub fn used(&mut self, usage: Option<Usage>) {
        if let Some(row) = &mut self.row {
            row.usage = usage.or(row.usage);
        }
    }

    /// The last attempt ended with a whole answer.
    pub fn succeeded(&mut self) {
        self.decide(true);
    }

    /// The last attempt failed.
    pub fn failed(&mut self) {
        self.decide(false);
    }

    fn decide(&mut self, success: bool) {
        if let Some(attempt) = self.row.as_mut().and_then(|row| row.attempts.last_mut()) {
            attempt.success = Some(success);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(mut row) = self.row.take() {
            row.process_time = self.started.elapsed();
            self.stats.push(row);
        }
    }
}

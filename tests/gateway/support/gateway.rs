//! The gateway under test, on a port of its own.
//!
//! ```ignore
//! let upstream = FakeUpstream::start().await;
//! let gateway = Gateway::before([channel("up", &upstream)]).await;
//! let answer = gateway.ask(&json!({"model": "gpt-4o", "messages": []})).await;
//! gateway.stop().await;
//! ```
//!
//! [`Setup`] has the settings beyond that. [`Gateway::stop`] is part of every test: it fails the test when a lease
//! was not given back or a statistics row was lost.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use diesel::{prelude::*, sql_types::Text};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use uni_api::{
    actors::{Control, Purpose, StatsQueue, Ticket, health::ChannelHealth, messages::Dispatch},
    app::{self, Running, Settings},
    canon::Operation,
    config::{self, ChannelId, Config, Severity},
};

use super::{Answer, Client, FakeUpstream, OpenStream, PATIENCE, Request, logs, within_patience};

/// The client key of a [`Setup`] that names none.
pub const KEY: &str = "sk-client-0123456789";
/// Where chat requests go.
pub const CHAT: &str = "/v1/chat/completions";

/// A provider entry: this name, one key made of it, and the model `gpt-4o`.
pub fn channel(name: &str, upstream: &FakeUpstream) -> Value {
    channel_at(name, &upstream.base_url())
}

/// The same for any address.
pub fn channel_at(name: &str, base_url: &str) -> Value {
    json!({"provider": name, "base_url": base_url, "api": upstream_key(name), "model": ["gpt-4o"]})
}

/// The key that [`channel`] gives the channel of this name.
pub fn upstream_key(name: &str) -> String {
    format!("sk-upstream-of-{name}-0123456789")
}

/// A chat request for `gpt-4o`.
pub fn hello() -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]})
}

/// The same, to be streamed.
pub fn hello_streamed() -> Value {
    with(hello(), json!({"stream": true}))
}

/// `document` with the fields of `more`.
pub fn with(mut document: Value, more: Value) -> Value {
    let fields = document.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    document
}

/// A gateway to be.
pub struct Setup {
    document: Value,
    patience: Duration,
    workers: usize,
    database: Option<TempDir>,
}

impl Setup {
    /// These providers, and one client key, [`KEY`], that may use everything.
    pub fn new(providers: impl IntoIterator<Item = Value>) -> Self {
        let providers: Vec<Value> = providers.into_iter().collect();
        let document = json!({"providers": providers, "api_keys": [{"api": KEY, "preferences": {}}]});
        Self { document, patience: Duration::from_secs(5), workers: 2, database: None }
    }

    /// Preferences of the client key, beside those it has.
    pub fn client_preferences(mut self, preferences: Value) -> Self {
        let before = self.document["api_keys"][0]["preferences"].take();
        self.document["api_keys"][0]["preferences"] = with(before, preferences);
        self
    }

    /// Each request starts at the first channel.
    pub fn fixed_priority(self) -> Self {
        self.client_preferences(json!({"SCHEDULING_ALGORITHM": "fixed_priority"}))
    }

    /// Other client keys.
    pub fn api_keys(mut self, entries: Value) -> Self {
        self.document["api_keys"] = entries;
        self
    }

    /// Preferences of the gateway as a whole.
    pub fn preferences(mut self, preferences: Value) -> Self {
        self.document["preferences"] = preferences;
        self
    }

    /// `TIMEOUT`.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How many workers there are, instead of two.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// With statistics, in a file that goes with the gateway.
    pub fn with_database(mut self) -> Self {
        self.database = Some(tempfile::tempdir().expect("a folder for the database"));
        self
    }

    /// With statistics, in a file that there was before: `make` makes it.
    pub fn with_database_made_by(self, make: impl FnOnce(&Path)) -> Self {
        let setup = self.with_database();
        make(&setup.database.as_ref().expect("the database of this setup").path().join("stats.db"));
        setup
    }

    /// With statistics that cannot be written: where the file should be is a folder.
    pub fn with_broken_database(self) -> Self {
        self.with_database_made_by(|path| std::fs::create_dir(path).expect("an empty folder"))
    }

    pub async fn start(self) -> Gateway {
        let yaml = self.yaml();
        self.start_from(&yaml).await
    }

    fn yaml(&self) -> String {
        let mut document = self.document.clone();
        let keys = document["api_keys"].as_array_mut().expect("a list of client keys");
        keys.iter_mut().for_each(without_usual_limit);
        // JSON is YAML.
        document.to_string()
    }

    async fn start_from(self, yaml: &str) -> Gateway {
        logs::install();
        let config = config_of(yaml, self.patience);
        let settings = Settings {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            database: self.database.as_ref().map(|folder| folder.path().join("stats.db")),
            workers: Some(self.workers),
            open_files: None,
        };
        let running = app::start(config, settings).expect("a free port");
        Gateway {
            address: running.addresses[0],
            control: Arc::clone(&running.control),
            stats: running.stats.clone(),
            database: self.database,
            running: Some(running),
        }
    }
}

/// A client key that has no limit of its own gets one that no test reaches, instead of the usual one.
fn without_usual_limit(key: &mut Value) {
    let preferences = &mut key["preferences"];
    if preferences.get("RATE_LIMIT").or(preferences.get("rate_limit")).is_none() {
        preferences["RATE_LIMIT"] = json!("1000000/min");
    }
}

/// What a configuration without mistakes says.
fn config_of(yaml: &str, patience: Duration) -> Config {
    let loaded = config::parse(yaml, "api.yaml", &|_| None, patience);
    let errors = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    let errors: Vec<String> = errors.map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    loaded.config.expect("a configuration")
}

/// A gateway that serves.
pub struct Gateway {
    pub address: SocketAddr,
    pub control: Arc<Control>,
    pub stats: StatsQueue,
    database: Option<TempDir>,
    running: Option<Running>,
}

impl Gateway {
    /// With this configuration, as a user would write it.
    pub async fn start(yaml: &str) -> Self {
        Setup::new([]).start_from(yaml).await
    }

    /// In front of these providers; see [`Setup::new`].
    pub async fn before(providers: impl IntoIterator<Item = Value>) -> Self {
        Setup::new(providers).start().await
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Posts a chat request with [`KEY`] and reads the whole answer, streamed or not.
    pub async fn ask(&self, body: &Value) -> Answer {
        self.client().post_json(CHAT, KEY, body).await
    }

    /// Posts a chat request with [`KEY`] and reads the head of the answer.
    pub async fn open(&self, body: &Value) -> OpenStream {
        self.client().open_stream(CHAT, KEY, body).await
    }

    /// Posts these bytes as a chat request with [`KEY`].
    pub async fn post(&self, body: impl Into<bytes::Bytes>) -> Answer {
        self.client().request(Request::post(CHAT).key(KEY).body("application/json", body)).await
    }

    /// The models that a client key may use, as `GET /v1/models` lists them.
    pub async fn models(&self, key: &str) -> Vec<String> {
        let answer = self.client().get("/v1/models", key).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let list = answer.json();
        let ids = list["data"].as_array().expect("a list").iter();
        ids.map(|model| model["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Goes on with another configuration, and waits until it is in force.
    pub async fn reload(&self, setup: Setup) {
        self.control.reload(config_of(&setup.yaml(), setup.patience)).await.expect("a Router that lives");
    }

    /// How many connections of clients are open.
    pub fn connections(&self) -> usize {
        self.running.as_ref().expect("a gateway that was not stopped").connections.count()
    }

    /// How the channel at this position of the configuration is doing.
    pub fn health(&self, position: usize) -> Arc<ChannelHealth> {
        let health = self.control.health().get(&ChannelId(position)).map(|entry| Arc::clone(&entry));
        health.expect("a channel at this position")
    }

    /// The file with the statistics, whatever is in it.
    pub fn database_path(&self) -> PathBuf {
        self.database.as_ref().expect("a setup with a database").path().join("stats.db")
    }

    /// The file with the statistics, when everything that was reported is in it.
    pub async fn database(&self) -> PathBuf {
        self.all_settled().await;
        self.stats.flush().await;
        self.database_path()
    }

    /// What a query finds in the statistics when everything that was reported is there: its column `line`.
    pub async fn query(&self, sql: &str) -> Vec<String> {
        query(&self.database().await, sql)
    }

    /// Waits until every lease has been given back.
    pub async fn all_settled(&self) {
        eventually("every lease to be given back", async || {
            self.look_at_settled_leases();
            self.control.health().iter().all(|channel| channel.in_flight() == 0)
        })
        .await;
    }

    /// Has every channel take back its leases now. It does so before each decision, and once a second for want of
    /// any; this is a request that it can only decline.
    fn look_at_settled_leases(&self) {
        let config = self.control.config();
        let client = config.client_keys.iter().next().expect("a client key");
        for provider in self.control.providers() {
            let purpose = Purpose::Answer { operation: Operation::Chat, stream: false };
            let ticket = Ticket::new(Arc::clone(client), "no-such-model".into(), purpose);
            provider.do_send(Dispatch { ticket, reply: oneshot::channel().0 });
        }
    }

    /// Ends a test: nothing may have leaked or got lost.
    pub async fn stop(self) {
        self.stats.flush().await;
        assert_eq!(self.stats.dropped(), 0, "statistics rows were lost");
        self.stop_with_losses().await;
    }

    /// Ends a test whose statistics were not to be written.
    pub async fn stop_with_losses(mut self) {
        self.all_settled().await;
        self.stats.flush().await;
        if let Some(running) = self.running.take() {
            within_patience("the server to stop", running.stop()).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        assert!(self.running.is_none() || std::thread::panicking(), "the test did not stop its gateway");
    }
}

/// Asks again and again, giving way to other tasks, until `reached` holds. For what nothing announces.
pub async fn eventually(awaited: &str, mut reached: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached().await {
        assert!(Instant::now() < deadline, "waited {} s in vain for {awaited}", PATIENCE.as_secs());
        // Longer than a yield, so that the other threads of a small machine have their turn.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What a query finds in this file with statistics: its column `line`.
pub fn query(path: &Path, sql: &str) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        line: String,
    }
    let mut connection = SqliteConnection::establish(path.to_str().expect("UTF-8")).expect("a database");
    let rows: Vec<Row> = diesel::sql_query(sql).load(&mut connection).expect("a query that fits the tables");
    rows.into_iter().map(|row| row.line).collect()
}

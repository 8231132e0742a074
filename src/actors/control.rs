//! The workers' door to the actors that schedule.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use actix::{Actor, Addr, Arbiter, ArbiterHandle};
use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use foldhash::fast::RandomState;
use tokio::sync::oneshot;

use crate::canon::{Failure, FailureKind};
use crate::config::{ChannelId, ClientKey, Config, ModelName, ModelSource};
use crate::metrics::Metrics;
use crate::routing::Usable;

use super::health::HealthBoard;
use super::messages::{Dispatch, ListModels, ModelsChanged, Reload, Retire, Ticket, Verdict};
use super::outbox;
use super::provider::ProviderActor;
use super::router::Router;
use super::standing::{Standing, Trouble};

/// How often a question whose answer got lost is asked again. An answer gets lost when an actor
/// panics over it; asking for ever would kill each of its successors.
const TRIES: usize = 3;

/// Knows the Router, re-creates it when it is gone, and keeps what must outlive it: the addresses
/// of the ProviderActors, the models they discovered and the health board.
pub struct Control {
    config: ArcSwap<Config>,
    arbiter: ArcSwapOption<ArbiterHandle>,
    router: ArcSwapOption<Addr<Router>>,
    reviving: Mutex<()>,
    providers: DashMap<ChannelId, Addr<ProviderActor>, RandomState>,
    discovered: DashMap<ChannelId, Vec<ModelName>, RandomState>,
    health: HealthBoard,
    metrics: Arc<Metrics>,
    standing: ArcSwap<Standing>,
    started: Instant,
}

impl Control {
    /// Knows the configuration; nothing runs yet.
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            config: ArcSwap::from_pointee(config),
            arbiter: ArcSwapOption::empty(),
            router: ArcSwapOption::empty(),
            reviving: Mutex::new(()),
            providers: DashMap::default(),
            discovered: DashMap::default(),
            health: HealthBoard::default(),
            metrics: Arc::default(),
            standing: ArcSwap::from_pointee(Standing::since(SystemTime::now())),
            started: Instant::now(),
        })
    }

    /// Starts the Router, and through it every ProviderActor, on this arbiter. Called again, it is
    /// where a Router that died is started anew.
    pub fn run_on(self: &Arc<Self>, arbiter: ArbiterHandle) {
        self.arbiter.store(Some(Arc::new(arbiter)));
        self.router();
    }

    /// The configuration of now.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Goes on with another configuration. Channels that have not changed notice nothing, requests
    /// under way end as they began, and turns and counts of whatever is still there go on. Waits until
    /// it is in force.
    ///
    /// # Errors
    ///
    /// Only when the Router dies of it.
    pub async fn reload(self: &Arc<Self>, config: Config) -> Result<(), Failure> {
        self.router().send(Reload(Box::new(config))).await.map_err(|_| {
            Failure::new(FailureKind::Internal, "the router panicked over the new configuration; please report it")
        })
    }

    /// How the configuration stands.
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// Takes note of what is wrong with what should follow the configuration in force; `None`: nothing
    /// any more.
    pub fn note_trouble(&self, trouble: Option<Trouble>) {
        let loaded_at = self.standing.load().loaded_at;
        self.standing.store(Arc::new(Standing { loaded_at, trouble }));
    }

    /// Puts a configuration in force, and lets go of the channels that the one before had alone.
    pub(super) fn put_in_force(&self, config: Arc<Config>) {
        let before = self.config.swap(Arc::clone(&config));
        self.metrics.reloads.add(1);
        self.standing.store(Arc::new(Standing::since(SystemTime::now())));
        for channel in before.lost_to(&config) {
            if let Some((_, provider)) = self.providers.remove(&channel.id) {
                provider.do_send(Retire);
            }
            self.health.remove(&channel.id);
            // One that has only changed most likely has the models it had, until it has asked again.
            if config.channel(channel.id).is_none() {
                self.discovered.remove(&channel.id);
            }
        }
    }

    /// The time, as all scheduling counts it.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// A moment, as all scheduling counts it.
    pub fn at(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.started)
    }

    /// How the channels are doing.
    pub fn health(&self) -> &HealthBoard {
        &self.health
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The models of a channel as far as they are known: listed, or discovered so far.
    pub fn known_models(&self, channel: ChannelId) -> Vec<ModelName> {
        match self.config.load().channel(channel).map(|channel| &channel.models) {
            Some(ModelSource::Listed(models)) => models.clone(),
            _ => self.discovered.get(&channel).map(|models| models.clone()).unwrap_or_default(),
        }
    }

    /// Takes note of a list that was discovered, and tells the Router.
    pub(super) fn learn(self: &Arc<Self>, channel: ChannelId, models: Vec<ModelName>) {
        self.discovered.insert(channel, models);
        self.router().do_send(ModelsChanged(channel));
    }

    /// The ProviderActors by channel.
    pub fn providers(&self) -> &DashMap<ChannelId, Addr<ProviderActor>, RandomState> {
        &self.providers
    }

    /// The Router; a new one if it died.
    pub fn router(self: &Arc<Self>) -> Arc<Addr<Router>> {
        if let Some(router) = self.living_router() {
            return router;
        }
        // The lock guards no data, so a panic under it has broken nothing.
        let _only_one = self.reviving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(router) = self.living_router() {
            return router;
        }
        if self.router.load().is_some() {
            log::error!("the router panicked and is started anew");
        }
        let control = Arc::clone(self);
        let arbiter = self.arbiter.load_full().unwrap_or_else(|| Arc::new(Arbiter::current()));
        let router = Arc::new(Router::start_in_arbiter(&arbiter, move |_| Router::new(control)));
        self.router.store(Some(Arc::clone(&router)));
        router
    }

    fn living_router(&self) -> Option<Arc<Addr<Router>>> {
        self.router.load_full().filter(|router| router.connected())
    }

    /// What to do next for a request: a lease for an attempt, a time to wait, or nothing.
    ///
    /// # Errors
    ///
    /// Only when the actors keep dying.
    pub async fn next(self: &Arc<Self>, ticket: Ticket) -> Result<Verdict, Failure> {
        self.ask(|control, reply| outbox::put(control, Dispatch { ticket: ticket.clone(), reply })).await
    }

    /// Every model that a client may use now.
    ///
    /// # Errors
    ///
    /// Only when the Router keeps dying.
    pub async fn models(self: &Arc<Self>, client: &Arc<ClientKey>) -> Result<Vec<Usable>, Failure> {
        self.ask(|control, reply| control.router().do_send(ListModels { client: Arc::clone(client), reply })).await
    }

    async fn ask<T>(self: &Arc<Self>, question: impl Fn(&Arc<Self>, oneshot::Sender<T>)) -> Result<T, Failure> {
        for _ in 0..TRIES {
            let (reply, answer) = oneshot::channel();
            question(self, reply);
            if let Ok(answer) = answer.await {
                return Ok(answer);
            }
        }
        Err(Failure::new(FailureKind::Internal, "the gateway could not schedule this request; its log says why"))
    }
}

//! The engines of the cluster: taking them in, what is noted of them, and what can be asked of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::view::{EngineEntry, View};
use super::{Cluster, EngineHandle, follow, monitor};
use crate::engine::{DockerEngine, EngineError, EngineErrorKind, EngineInfo};
use crate::model::{
    ClusterInfo, Cpus, Engine, EngineId, EngineSpec, EngineStatus, EngineSummary, HostUsage, MemoryMb, Resources,
};

impl Cluster {
    /// Takes an engine in and begins to watch it. It takes containers as soon as it was read once. One that has the id is taken
    /// out first.
    pub fn add_engine(&self, spec: EngineSpec, engine: Arc<dyn DockerEngine>) {
        let id = spec.id.clone();
        let shared = &self.shared;
        let generation = shared.generations.fetch_add(1, Ordering::Relaxed);
        let handle = EngineHandle::new(id.clone(), generation, engine, shared.background.stopping().child_token());
        {
            let mut view = shared.view.write();
            view.remove_engine(&id);
            view.add_engine(spec, handle.clone(), shared.clock.now());
        }
        let (settings, background) = (&shared.settings, &shared.background);
        let (cluster, engine) = (self.in_background(), handle.clone());
        let follow = move |report| follow::follow(cluster.clone(), engine.clone(), report);
        let period = Some(settings.resync_interval);
        background.spawn(format!("engine/{id}/follow"), period, handle.stop().clone(), follow);
        let (cluster, engine) = (self.in_background(), handle.clone());
        let monitor = move |report| monitor::monitor(cluster.clone(), engine.clone(), report);
        let period = Some(settings.probe_interval);
        background.spawn(format!("engine/{id}/monitor"), period, handle.stop().clone(), monitor);
        let (cluster, engine) = (self.in_background(), handle.clone());
        let measure = move |report| monitor::measure(cluster.clone(), engine.clone(), report);
        let period = Some(settings.usage_interval);
        background.spawn(format!("engine/{id}/measure"), period, handle.stop().clone(), measure);
    }

    /// Stops watching an engine and forgets it. Its containers go on running. False when there is none of that id.
    pub fn remove_engine(&self, id: &EngineId) -> bool {
        let removed = self.shared.view.write().remove_engine(id);
        self.forget_launches_on(id);
        self.shared.status_changes.notify_waiters();
        removed
    }

    /// Notes that an engine left the registry, or is back. While it is away it is down, even if its daemon answers.
    pub fn set_absent(&self, id: &EngineId, absent: bool) {
        self.shared.view.write().set_absent(id, absent, self.shared.clock.now());
        self.shared.status_changes.notify_waiters();
        if !absent && let Some(engine) = self.handle(id) {
            engine.wake();
        }
    }

    /// An engine as it was added.
    pub fn handle(&self, id: &EngineId) -> Option<EngineHandle> {
        self.shared.view.read().engine_handle(id)
    }

    pub(super) fn is_absent(&self, id: &EngineId) -> bool {
        self.shared.view.read().engine(id.as_str()).is_some_and(|entry| entry.absent)
    }

    /// Lets an engine take new containers, or not. False when there is none of that id.
    pub fn set_draining(&self, id: &EngineId, draining: bool) -> bool {
        self.shared.view.write().set_draining(id, draining)
    }

    /// Notes that an admin answers for an engine that somebody else added. False when there is none of that id.
    pub fn set_adopted(&self, id: &EngineId) -> bool {
        self.shared.view.write().set_adopted(id)
    }

    /// Changes what containers can ask of an engine by label. False when there is none of that id.
    pub fn set_labels(&self, id: &EngineId, labels: &[String]) -> bool {
        self.shared.view.write().set_labels(id, labels)
    }

    /// Notes what an engine says of itself.
    pub(crate) fn set_info(&self, id: &EngineId, info: EngineInfo) {
        self.shared.view.write().set_info(id, info);
    }

    /// Notes what is in use on the host of an engine, containers and everything else; `None` when nobody says.
    pub fn set_host_usage(&self, id: &EngineId, usage: Option<HostUsage>) {
        self.shared.view.write().set_host_usage(id, usage);
    }

    pub(super) fn tells_its_use(&self, id: &EngineId) -> bool {
        self.shared.view.read().engine(id.as_str()).is_some_and(|entry| entry.host_usage.is_some())
    }

    /// All engines, by id.
    pub fn engines(&self) -> Vec<Engine> {
        let view = self.shared.view.read();
        view.engines().map(|entry| shown_engine(&view, entry)).collect()
    }

    /// One engine.
    pub fn engine(&self, id: &str) -> Option<Engine> {
        let view = self.shared.view.read();
        view.engine(id).map(|entry| shown_engine(&view, entry))
    }

    /// What the operator said of an engine.
    pub fn engine_spec(&self, id: &EngineId) -> Option<Arc<EngineSpec>> {
        self.shared.view.read().engine(id.as_str()).map(|entry| entry.spec.clone())
    }

    /// What is said about an engine beside each of its containers.
    pub(crate) fn engine_summary(&self, id: &EngineId) -> Option<Arc<EngineSummary>> {
        self.shared.view.read().engine(id.as_str()).map(|entry| entry.summary.clone())
    }

    /// The CPUs of an engine; none while it is not known how many it has.
    pub fn cpus(&self, id: &EngineId) -> Cpus {
        self.shared.view.read().engine(id.as_str()).map_or(Cpus::default(), |entry| entry.summary.cpus)
    }

    /// The way to talk to an engine, whether or not it answers.
    pub fn connection(&self, id: &EngineId) -> Option<Arc<dyn DockerEngine>> {
        self.shared.view.read().engine(id.as_str()).map(|entry| entry.handle.client().clone())
    }

    /// The engine that is in use at a place already; see [`crate::model::EngineAddress::place`].
    pub fn engine_at(&self, place: &str) -> Option<EngineId> {
        let view = self.shared.view.read();
        view.engines().find(|entry| entry.spec.addr.place() == place).map(|entry| entry.spec.id.clone())
    }

    /// The engine other than `id` that is this daemon already.
    pub fn engine_of_daemon(&self, id: &EngineId, daemon_id: &str) -> Option<EngineId> {
        self.shared.view.read().same_daemon(id, daemon_id).cloned()
    }

    /// The engines that are up.
    pub fn engines_up(&self) -> Vec<EngineId> {
        let view = self.shared.view.read();
        let up = view.engines().filter(|entry| entry.health.status == EngineStatus::Up);
        up.map(|entry| entry.spec.id.clone()).collect()
    }

    /// How many CPUs the host of an engine has, as its daemon says.
    pub(crate) fn cpu_count(&self, id: &EngineId) -> Option<u32> {
        self.shared.view.read().state(id)?.cpu_count
    }

    /// Whether an engine answers.
    pub fn status(&self, id: &EngineId) -> Option<EngineStatus> {
        self.shared.view.read().engine(id.as_str()).map(|entry| entry.health.status)
    }

    /// Waits until an engine was read, or something is wrong with it, or it is gone.
    pub async fn wait_synced(&self, id: &EngineId) {
        self.until(|view| view.engine(id.as_str()).is_none_or(|entry| !is_unread(entry))).await;
    }

    /// Waits until every engine that is known was read, or something is wrong with it.
    pub async fn wait_all_synced(&self) {
        self.until(|view| !view.engines().any(is_unread)).await;
    }

    /// Whether there are engines, or is this one, of which nothing is known yet.
    pub(super) fn are_unread(&self, only: Option<&EngineId>) -> bool {
        let view = self.shared.view.read();
        match only {
            Some(only) => view.engine(only.as_str()).is_some_and(is_unread),
            None => view.engines().any(is_unread),
        }
    }

    async fn until(&self, is_so: impl Fn(&View) -> bool) {
        loop {
            // Listens before it looks, so that no change is missed in between.
            let change = self.shared.status_changes.notified();
            if is_so(&self.shared.view.read()) {
                return;
            }
            change.await;
        }
    }

    /// Waits for an answer of an engine, as long as the engine is up: when it is found down meanwhile, nobody waits for
    /// the deadline of the call.
    ///
    /// # Errors
    /// What the engine said, or [`EngineErrorKind::Unreachable`].
    pub async fn while_up<T>(
        &self,
        id: &EngineId,
        answer: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let lost = async {
            if let Some(engine) = self.handle(id) {
                engine.lost().await;
            }
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            () = lost => {
                Err(EngineError::new(EngineErrorKind::Unreachable, "wait for the engine", "it stopped answering"))
            }
        }
    }

    /// What comes from an engine, one after the other, until that stops answering: a host that is gone closes no connection.
    pub(crate) fn each_while_up<T: Send + 'static>(
        &self,
        id: &EngineId,
        stream: BoxStream<'static, Result<T, EngineError>>,
    ) -> BoxStream<'static, Result<T, EngineError>> {
        // A stream that somebody reads keeps nothing running.
        let (cluster, id) = (self.in_background(), id.clone());
        let items = stream::unfold(Some(stream), move |stream| {
            let (cluster, id) = (cluster.clone(), id.clone());
            async move {
                let mut stream = stream?;
                match cluster.while_up(&id, async { stream.next().await.transpose() }).await {
                    Ok(item) => Some((Ok(item?), Some(stream))),
                    Err(error) => Some((Err(error), None)),
                }
            }
        });
        items.boxed()
    }

    /// Totals over all engines.
    pub fn info(&self) -> ClusterInfo {
        let view = self.shared.view.read();
        let totals = view.totals();
        let counts = view.counts();
        ClusterInfo {
            cpus: totals.total.cpus,
            memory: totals.total.memory,
            reserved_cpus: totals.reserved.cpus,
            reserved_memory: totals.reserved.memory,
            used_cpus: totals.used_cpus,
            used_memory: totals.used_memory,
            container_count: counts.all,
            running_count: counts.running,
            unknown_count: counts.unknown,
            engine_count: view.engines().count(),
            engines_up: totals.up,
            image_count: totals.images,
            simulated_count: totals.simulated,
            leader: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Whether nothing is known of an engine yet, not even why it does not answer.
fn is_unread(entry: &EngineEntry) -> bool {
    entry.health.status == EngineStatus::Pending && entry.health.reason.is_none()
}

fn shown_engine(view: &View, entry: &EngineEntry) -> Engine {
    let id = &entry.spec.id;
    let reserved = view.state(id).map_or(Resources::ZERO, |state| state.reserved);
    Engine {
        id: id.clone(),
        addr: entry.summary.addr.clone(),
        cpus: entry.summary.cpus,
        memory: entry.summary.memory,
        // A number that no reader takes would keep all other engines from being shown.
        reserved_cpus: reserved.cpus.min(Cpus::MAX),
        reserved_memory: reserved.memory.min(MemoryMb::MAX),
        containers: view.containers_on(id),
        labels: entry.summary.labels.clone(),
        health: entry.health.clone(),
        draining: entry.spec.draining,
        tls: matches!(entry.spec.addr, crate::model::EngineAddress::Https { .. }),
        registry_user: entry.spec.registry_login.as_ref().map(|login| login.username.clone()),
        added_by: entry.spec.added_by.clone(),
        docker_version: entry.info.as_ref().map(|info| info.docker_version.clone()),
        simulated: entry.summary.simulated,
        warnings: entry.info.iter().flat_map(|info| &info.warnings).chain(&entry.warnings).cloned().collect(),
    }
}

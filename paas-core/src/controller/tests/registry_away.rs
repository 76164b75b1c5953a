//! The registry goes away and comes back, and hosts with it.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream::{BoxStream, StreamExt};

use super::*;
use crate::registry::{
    EmbeddedRegistry, LeaseId, Listing, Member, MemberChange, Registry, RegistryError, RegistryErrorKind, Revision,
};
use crate::store::LeaderKey;
use crate::testing::registry::member;

type Answer<T> = Result<T, RegistryError>;

/// A registry that can be out of reach, or lose everything.
#[derive(Debug)]
struct Fragile {
    registry: parking_lot::RwLock<Arc<EmbeddedRegistry>>,
    away: AtomicBool,
    /// The host that is never found.
    hangs_for: Option<EngineId>,
    /// Rings when everything is lost.
    lost: Arc<tokio::sync::Notify>,
}

impl Fragile {
    fn new() -> Arc<Self> {
        let registry = parking_lot::RwLock::new(Arc::new(EmbeddedRegistry::new()));
        Arc::new(Self { registry, away: false.into(), hangs_for: None, lost: Arc::default() })
    }

    fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// Everything that was registered is gone, and those who watch are told that they missed something.
    fn lose_all(&self) {
        *self.registry.write() = Arc::new(EmbeddedRegistry::new());
        self.lost.notify_waiters();
    }

    fn there(&self) -> Answer<Arc<EmbeddedRegistry>> {
        if self.away.load(Ordering::SeqCst) {
            return Err(RegistryError::new(RegistryErrorKind::Unavailable, "ask", "it is away"));
        }
        Ok(self.registry.read().clone())
    }

    /// Registers under a lease that does not run out during a test.
    async fn join(&self, member: &Member) -> LeaseId {
        let registry = self.registry.read().clone();
        let lease = registry.grant(Duration::from_secs(100_000)).await.unwrap();
        registry.register(member, lease).await.unwrap();
        lease
    }
}

#[async_trait::async_trait]
impl Registry for Fragile {
    async fn grant(&self, ttl: Duration) -> Answer<LeaseId> {
        self.there()?.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Answer<()> {
        self.there()?.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Answer<()> {
        self.there()?.revoke(lease).await
    }

    async fn register(&self, member: &Member, lease: LeaseId) -> Answer<()> {
        self.there()?.register(member, lease).await
    }

    async fn holder(&self, id: &EngineId) -> Answer<Option<(Member, LeaseId)>> {
        if self.hangs_for.as_ref() == Some(id) {
            std::future::pending::<()>().await;
        }
        self.there()?.holder(id).await
    }

    async fn list(&self) -> Answer<Listing> {
        self.there()?.list().await
    }

    async fn watch(&self, from: Revision) -> Answer<BoxStream<'static, MemberChange>> {
        let lost = self.lost.clone().notified_owned();
        let changes = self.there()?.watch(from).await?.take_until(lost);
        Ok(changes.chain(futures::stream::iter([MemberChange::Lagged])).boxed())
    }

    async fn campaign(&self, election: &str, candidate: &str, lease: LeaseId) -> Answer<Option<LeaderKey>> {
        self.there()?.campaign(election, candidate, lease).await
    }

    async fn leader(&self, election: &str) -> Answer<Option<String>> {
        self.there()?.leader(election).await
    }

    async fn watch_leader(&self, election: &str) -> Answer<BoxStream<'static, Option<String>>> {
        self.there()?.watch_leader(election).await
    }
}

impl Platform {
    async fn on(registry: &Arc<Fragile>, names: &[&str]) -> Self {
        let mut platform = Self::without_engines(names).await;
        platform.start_again_on(registry).await;
        platform
    }

    /// The server is killed and started again on the same store.
    async fn start_again_on(&mut self, registry: &Arc<Fragile>) {
        self.controller.shared.closing.cancel();
        self.controller.shared.cluster.shutdown().await;
        let builder = builder(&self.hosts, self.store.clone(), self.events.clone());
        self.controller = builder.registry(registry.clone()).build().await.unwrap();
    }

    fn told(&self, kind: &str, words: &str) -> usize {
        let events = self.events.events();
        events.iter().filter(|event| event.kind.as_str() == kind && event.message.contains(words)).count()
    }

    fn ids(&self) -> Vec<String> {
        self.controller.engines().into_iter().map(|engine| engine.id.to_string()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_while_the_registry_is_away_knows_who_had_registered() {
    let registry = Fragile::new();
    let mut platform = Platform::on(&registry, &["a", "b"]).await;
    platform.add("b").await;
    registry.join(&member("a")).await;
    platform.until_known("a").await;
    let running = platform.run(web(), 2).await;
    assert!(running.is_complete());
    registry.set_away(true);
    platform.start_again_on(&registry).await;
    platform.until("a", EngineStatus::Up).await;
    platform.until("b", EngineStatus::Up).await;
    assert_eq!(platform.controller.engine("a").unwrap().labels, ["ssd"]);
    assert_eq!(platform.controller.containers(false).len(), 2);
    // It goes on so for as long as it takes.
    tokio::time::sleep(Duration::from_secs(4000)).await;
    assert!(platform.run(web(), 2).await.is_complete());
    registry.set_away(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(platform.ids(), ["a", "b"]);
    assert_eq!(platform.told("engine-status", "left the registry"), 0);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn one_that_did_not_come_back_is_absent_after_a_while_and_a_new_start_does_not_bring_it_back_for_ever() {
    let registry = Fragile::new();
    let mut platform = Platform::on(&registry, &["a"]).await;
    let lease = registry.join(&member("a")).await;
    platform.until_known("a").await;
    registry.set_away(true);
    platform.start_again_on(&registry).await;
    platform.until("a", EngineStatus::Up).await;
    let there = registry.registry.read().clone();
    there.revoke(lease).await.unwrap();
    registry.set_away(false);
    platform.until("a", EngineStatus::Down).await;
    assert_eq!(platform.told("engine-status", "left the registry"), 1);
    tokio::time::sleep(Duration::from_secs(3700)).await;
    assert!(platform.ids().is_empty());
    platform.start_again_on(&registry).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(platform.ids().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_lost_everything_for_a_moment_takes_no_engine_down() {
    let registry = Fragile::new();
    let platform = Platform::on(&registry, &["a", "b"]).await;
    for name in ["a", "b"] {
        registry.join(&member(name)).await;
        platform.until_known(name).await;
    }
    registry.lose_all();
    tokio::time::sleep(Duration::from_secs(3)).await;
    registry.join(&member("a")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = |id: &str| platform.controller.engine(id).unwrap().health.status;
    assert_eq!((status("a"), status("b")), (EngineStatus::Up, EngineStatus::Up));
    platform.until("b", EngineStatus::Down).await;
    assert_eq!(status("a"), EngineStatus::Up);
    registry.join(&member("b")).await;
    platform.until("b", EngineStatus::Up).await;
    assert_eq!(platform.ids(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn the_registry_has_the_last_word_on_who_registered() {
    let registry = Fragile::new();
    let platform = Platform::on(&registry, &["a", "b", "c"]).await;
    let lease = registry.join(&member("a")).await;
    platform.until_known("a").await;
    // Other labels, then another place: one host has that id, and it is there now.
    let there = registry.registry.read().clone();
    let mut said = Member { labels: vec!["gpu".into()], ..member("a") };
    there.register(&said, lease).await.unwrap();
    assert!(eventually(|| platform.controller.engine("a").unwrap().labels == ["gpu"]).await);
    said.addr = "sim://b".parse().unwrap();
    there.register(&said, lease).await.unwrap();
    assert!(
        eventually(|| platform.controller.engine("a").is_ok_and(|engine| engine.addr.starts_with("sim://b"))).await
    );
    platform.until("a", EngineStatus::Up).await;
    // The same host under another name: refused while the first is alive, and the first's heir when it is not.
    registry.join(&Member { addr: "sim://b".parse().unwrap(), daemon_id: "other".into(), ..member("twin") }).await;
    registry.join(&Member { addr: "sim://c".parse().unwrap(), daemon_id: "a".into(), ..member("shadow") }).await;
    assert!(eventually(|| platform.told("refuse-engine", "of engine a; ") == 2).await);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((platform.ids(), platform.told("refuse-engine", "")), (vec!["a".to_owned()], 2), "told once");
    there.revoke(lease).await.unwrap();
    assert!(eventually(|| platform.ids() == ["shadow", "twin"]).await, "{:?}", platform.ids());
    platform.until("twin", EngineStatus::Up).await;
    assert_eq!(platform.told("delete-engine", "engine a is called"), 1);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_claim_on_the_id_of_a_host_that_is_alive_is_told_once() {
    let registry = Fragile::new();
    let platform = Platform::on(&registry, &["a", "b"]).await;
    registry.join(&member("a")).await;
    platform.until_known("a").await;
    let claim = Member { addr: "sim://b".parse().unwrap(), daemon_id: "b".into(), ..member("a") };
    for _ in 0..5 {
        let lease = registry.grant(Duration::from_secs(5)).await.unwrap();
        registry.register(&claim, lease).await.unwrap_err();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(platform.told("refuse-engine", "claims to be engine a, whose own agent is alive"), 1);
    assert!(platform.controller.engine("a").unwrap().addr.starts_with("sim://a"));
}

#[tokio::test(start_paused = true)]
async fn what_a_host_says_is_in_use_counts_in_the_cluster_info() {
    let registry = Fragile::new();
    let platform = Platform::on(&registry, &["a", "b"]).await;
    let used = crate::model::HostUsage { cpus: 2.5, memory: MemoryMb::new(777) };
    let lease = registry.join(&Member { usage: Some(used), ..member("a") }).await;
    registry.join(&member("b")).await;
    platform.until_known("a").await;
    platform.until_known("b").await;
    let info = platform.controller.cluster_info();
    assert_eq!((info.used_cpus, info.used_memory), (2.5, MemoryMb::new(777)));
    // One that is away uses nothing that anybody knows of.
    registry.revoke(lease).await.unwrap();
    platform.until("a", EngineStatus::Down).await;
    assert_eq!(platform.controller.cluster_info().used_memory, MemoryMb::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_was_deleted_stays_out_whatever_its_agent_says() {
    let registry = Fragile::new();
    let mut platform = Platform::on(&registry, &["a", "b"]).await;
    platform.add("b").await;
    let mut leases = Vec::new();
    for name in ["a", "b"] {
        leases.push(registry.join(&member(name)).await);
        platform.until_known(name).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (name, lease) in ["a", "b"].into_iter().zip(&leases) {
        platform.controller.delete_engine(&ann(), name, true).await.unwrap();
        let said = Member { labels: vec!["new".into()], ..member(name) };
        registry.register(&said, *lease).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(platform.ids().is_empty(), "neither the one that registered nor the one that was added");
    for lease in leases {
        registry.revoke(lease).await.unwrap();
    }
    for name in ["a", "b"] {
        registry.join(&member(name)).await;
        platform.until_known(name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_heartbeat_of_one_host_does_not_wait_for_that_of_another() {
    let registry = Arc::into_inner(Fragile::new()).unwrap();
    let registry = Arc::new(Fragile { hangs_for: Some(engine_id("slow")), ..registry });
    let platform = Platform::on(&registry, &["a"]).await;
    let (session, ttl) = (uuid::Uuid::now_v7(), Duration::from_secs(3));
    let mut slow = Box::pin(platform.controller.heartbeat(member("slow"), session, ttl));
    assert!(futures::poll!(&mut slow).is_pending());
    tokio::time::sleep(Duration::from_secs(1)).await;
    platform.controller.heartbeat(member("a"), session, ttl).await.unwrap();
    platform.until_known("a").await;
}

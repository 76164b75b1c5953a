//! Random schedules of faults, with work in between: whatever happens, nothing is overbooked, what is listed is what is there,
//! and every request that was accepted is accounted for.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;

/// Faults of one schedule.
const FAULTS: usize = 60;
/// Chooses one schedule again, and that alone.
const SEED_VARIABLE: &str = "PAAS_TEST_SEED";
const HOSTS: [&str; 4] = ["a", "b", "c", "d"];

fn small() -> ContainerSpec {
    ContainerSpec { memory: Some(MemoryMb::new(64)), ..web() }
}

/// One schedule, and what it may not forget.
struct Schedule {
    platform: Platform,
    random: StdRng,
    /// Containers that somebody was told of and nobody has destroyed since.
    reserved: BTreeSet<String>,
}

impl Schedule {
    async fn new(seed: u64) -> Self {
        let platform = Platform::of(&HOSTS).await;
        Self { platform, random: StdRng::seed_from_u64(seed), reserved: BTreeSet::new() }
    }

    fn host(&mut self) -> SimulatedEngine {
        let name = HOSTS.choose(&mut self.random).unwrap();
        self.platform.host(name).clone()
    }

    async fn fault(&mut self) {
        let host = self.host();
        match self.random.random_range(0..9) {
            0 => host.set_reachable(false),
            1 => host.set_reachable(true),
            2 => host.set_hanging(true),
            3 => host.set_hanging(false),
            4 => {
                let operation = ["create", "start", "inspect", "list", "remove"].choose(&mut self.random).unwrap();
                let times = self.random.random_range(1..4);
                host.fail_next(operation, times, crate::engine::EngineErrorKind::Failed);
            }
            5 => host.set_latency(Duration::from_millis(self.random.random_range(0..1500))),
            6 => {
                // Somebody else removes one of ours, or starts something of his own.
                if let Some(found) = host.really_there().first() {
                    host.outsider_remove(&found.id).unwrap();
                    self.reserved.remove(found.id.as_str());
                }
            }
            7 => drop(host.outsider_run("db:1".parse().unwrap(), None)),
            _ => self.start_again().await,
        }
    }

    /// The server dies, and another begins on the same store.
    async fn start_again(&mut self) {
        self.platform.controller.shared.cluster.shutdown().await;
        let Platform { hosts, store, events, .. } = &self.platform;
        self.platform.controller = build(hosts, store.clone(), events.clone()).await;
        self.platform.controller.wait_ready(Duration::from_secs(5)).await;
    }

    async fn work(&mut self) {
        let controller = self.platform.controller.clone();
        let known: Vec<_> = controller.containers(true).iter().map(|one| one.id.to_string()).collect();
        let one = known.choose(&mut self.random).cloned();
        match (self.random.random_range(0..5), one) {
            (0..=1, _) => {
                let request = RunRequest { spec: small(), count: self.random.random_range(1..6), pull: false };
                let count = request.count;
                if let Ok(operation) = controller.run(&ann(), request).await {
                    let summary = operation.finish().await;
                    assert_eq!(summary.started.len() + summary.failed.len(), count, "every container is accounted for");
                    self.reserved.extend(summary.started.iter().map(|container| container.id.to_string()));
                }
            }
            (2, Some(id)) => {
                let count = self.random.random_range(1..8);
                if let Ok(operation) = controller.scale(&ann(), &id, count).await {
                    let summary = operation.finish().await;
                    self.reserved.extend(summary.started.iter().map(|container| container.id.to_string()));
                    for gone in &summary.destroyed {
                        self.reserved.remove(gone.as_str());
                    }
                    // What goes when its engine is back.
                    for failure in summary.failed.iter().filter(|failure| failure.deferred) {
                        self.reserved.remove(failure.container.as_ref().unwrap().as_str());
                    }
                    // What was not destroyed, as far as the answer goes, may be gone all the same.
                    if !summary.failed.is_empty() {
                        self.forget_what_is_gone();
                    }
                }
            }
            (3, Some(id)) => {
                let destroyed = controller.destroy(&ann(), &id).await;
                self.reserved.remove(&id);
                drop(destroyed);
            }
            (_, Some(id)) => drop(controller.stop(&ann(), &id, Duration::ZERO).await),
            (_, None) => {}
        }
    }

    fn really_there(&self) -> BTreeSet<String> {
        let hosts = self.platform.hosts.values();
        hosts.flat_map(|host| host.really_there()).map(|found| found.id.to_string()).collect()
    }

    fn forget_what_is_gone(&mut self) {
        let there = self.really_there();
        self.reserved.retain(|id| there.contains(id));
    }

    /// What is reserved never goes beyond what there is, but for what others took.
    fn check_room(&self) {
        self.platform.controller.cluster().audit().unwrap();
        for host in HOSTS {
            let Ok(engine) = self.platform.controller.engine(host) else { continue };
            let listed = self.platform.controller.containers(false);
            let others = listed.iter().filter(|one| !one.managed && one.engine.id.as_str() == host).count() as u64;
            let taken_by_others = MemoryMb::new(256 * others);
            assert!(
                engine.memory == MemoryMb::ZERO || engine.reserved_memory <= engine.memory + taken_by_others,
                "{engine:?}"
            );
        }
    }

    /// Everything works again: what is listed is what is there.
    async fn calm(&mut self) {
        for host in self.platform.hosts.values() {
            host.set_reachable(true);
            host.set_hanging(false);
            host.set_latency(Duration::ZERO);
            for operation in ["create", "start", "inspect", "list", "remove"] {
                host.fail_next(operation, 0, crate::engine::EngineErrorKind::Failed);
            }
        }
        for host in HOSTS {
            self.platform.until(host, EngineStatus::Up).await;
        }
        let listed = || -> BTreeSet<String> {
            self.platform.controller.containers(true).iter().map(|one| one.id.to_string()).collect()
        };
        let agree = || listed() == self.really_there();
        assert!(eventually(agree).await, "listed {:#?}, there are {:#?}", listed(), self.really_there());
        let lost: Vec<_> = self.reserved.difference(&listed()).cloned().collect();
        assert!(lost.is_empty(), "somebody was told of {lost:?}, and they are not there");
        self.check_room();
        assert_eq!(self.platform.controller.cluster().reservation_count(), 0);
    }
}

async fn run_schedule(seed: u64) {
    println!("the same faults again: {SEED_VARIABLE}={seed}");
    let mut schedule = Schedule::new(seed).await;
    for fault in 0..FAULTS {
        schedule.fault().await;
        for _ in 0..schedule.random.random_range(0..3) {
            schedule.work().await;
            schedule.check_room();
        }
        let pause = schedule.random.random_range(0..3000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if fault % 15 == 14 {
            schedule.calm().await;
        }
    }
    schedule.calm().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_overbooked_or_unaccounted_for() {
    let given = std::env::var(SEED_VARIABLE).ok().map(|text| text.parse().unwrap());
    match given {
        Some(seed) => run_schedule(seed).await,
        None => {
            for _ in 0..crate::testing::tier::seeds(10) {
                run_schedule(rand::random()).await;
            }
        }
    }
}

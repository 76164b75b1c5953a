//! Many requests at once, in many orders: nothing is reserved twice, and at rest what is reserved is what runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use paas_core::controller::{Actor, Controller, ControllerError, RunRequest, Settings};
use paas_core::model::{ContainerSpec, ContainerType, Cpus, EngineId, EngineSpec, MemoryMb, Resources};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// One request of many.
#[derive(Clone, Debug)]
enum Ask {
    Run { spec: Box<ContainerSpec>, count: usize },
    Scale { which: usize, count: usize },
    Stop { which: usize },
    Start { which: usize },
    Restart { which: usize },
    Destroy { which: usize },
}

fn spec() -> impl Strategy<Value = Box<ContainerSpec>> {
    let sizes = (1..=20_u64, 1..=8_u64);
    (0..4_usize, sizes, prop::option::weighted(0.3, 8000..8004_u16)).prop_map(|(kind, (tenths, memory), port)| {
        // The image of a type is its own, so that counting images per engine shows whether unique ones are unique.
        let (image, kind) = [
            ("web:1", ContainerType::Service),
            ("web:2", ContainerType::Service),
            ("lone:1", ContainerType::Unique),
            ("lone:2", ContainerType::Multi),
        ][kind];
        let mut spec = ContainerSpec::new(image.parse().unwrap());
        spec.kind = kind;
        spec.cpus = Some(Cpus::from_milli(tenths * 100));
        spec.memory = Some(MemoryMb::new(memory * 64));
        spec.bind_ports = port.map(|port| format!(":{port}:80").parse().unwrap()).into_iter().collect();
        Box::new(spec)
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let which = 0..1000_usize;
    prop_oneof![
        4 => (spec(), 1..6_usize).prop_map(|(spec, count)| Ask::Run { spec, count }),
        3 => (which.clone(), 1..8_usize).prop_map(|(which, count)| Ask::Scale { which, count }),
        1 => which.clone().prop_map(|which| Ask::Stop { which }),
        1 => which.clone().prop_map(|which| Ask::Start { which }),
        1 => which.clone().prop_map(|which| Ask::Restart { which }),
        2 => which.prop_map(|which| Ask::Destroy { which }),
    ]
}

const ENGINES: [(&str, u64, u64); 4] = [("a", 4, 2048), ("b", 4, 2048), ("c", 8, 1024), ("d", 2, 4096)];

async fn cluster(case: u64) -> Controller {
    let settings = Settings { starts_per_engine: 3, ..Settings::default() };
    let controller = Controller::builder().settings(settings).build().await.unwrap();
    for (position, (id, cpus, memory)) in ENGINES.into_iter().enumerate() {
        let latency = 3 + 4 * position;
        let address =
            format!("sim://{id}-{case}-{}?cpus={cpus}&memory={memory}&latency_ms={latency}", uuid::Uuid::now_v7());
        let engine = EngineSpec::new(id.parse().unwrap(), address.parse().unwrap());
        let added = controller.add_engine(&Actor::system(), engine).await.unwrap();
        assert_eq!(added.health.status.to_string(), "up");
    }
    controller
}

async fn carry_out(controller: &Controller, ask: Ask) -> Result<(), String> {
    let actor = Actor::system();
    let pick = |which: usize| {
        let all = controller.containers(true);
        all.get(which % all.len().max(1)).map(|container| container.id.to_string())
    };
    let outcome = match ask {
        Ask::Run { spec, count } => {
            match controller.run(&actor, RunRequest { spec: *spec, count, pull: false }).await {
                Ok(operation) => return no_double_promise(operation.finish().await.failed),
                Err(error) => Err(error),
            }
        }
        Ask::Scale { which, count } => match pick(which) {
            Some(id) => match controller.scale(&actor, &id, count).await {
                Ok(operation) => return no_double_promise(operation.finish().await.failed),
                Err(error) => Err(error),
            },
            None => Ok(()),
        },
        Ask::Stop { which } => match pick(which) {
            Some(id) => controller.stop(&actor, &id, Duration::from_secs(1)).await,
            None => Ok(()),
        },
        Ask::Start { which } => match pick(which) {
            Some(id) => controller.start(&actor, &id).await,
            None => Ok(()),
        },
        Ask::Restart { which } => match pick(which) {
            Some(id) => controller.restart(&actor, &id, Duration::from_secs(1)).await,
            None => Ok(()),
        },
        Ask::Destroy { which } => match pick(which) {
            Some(id) => controller.destroy(&actor, &id).await,
            None => Ok(()),
        },
    };
    match outcome {
        Ok(()) | Err(ControllerError::NoRoom(_) | ControllerError::ContainerNotFound { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// A launch may fail because somebody destroyed the container meanwhile, and for no other reason here: the simulated
/// engines refuse a port that is bound twice, so a port reserved twice would show.
fn no_double_promise(failed: Vec<paas_core::controller::Failure>) -> Result<(), String> {
    match failed.into_iter().find(|failure| failure.error.contains("port")) {
        Some(failure) => Err(failure.error),
        None => Ok(()),
    }
}

/// What must hold at every moment.
fn check(controller: &Controller) -> Result<(), String> {
    controller.cluster().audit()?;
    for engine in controller.engines() {
        if engine.reserved_cpus > engine.cpus || engine.reserved_memory > engine.memory {
            return Err(format!("{} is overbooked: {engine:?}", engine.id));
        }
    }
    let mut lone: BTreeMap<(EngineId, String), usize> = BTreeMap::new();
    for container in controller.containers(true) {
        if container.image.kind.needs_unique() {
            *lone.entry((container.engine.id.clone(), container.image.name.to_string())).or_default() += 1;
        }
    }
    match lone.into_iter().find(|(_, count)| *count > 1) {
        Some((place, count)) => Err(format!("{count} of a unique image at {place:?}")),
        None => Ok(()),
    }
}

/// What must hold when nothing is under way any more.
fn check_at_rest(controller: &Controller) -> Result<(), String> {
    check(controller)?;
    if controller.cluster().reservation_count() > 0 {
        return Err(format!("{} reservations are left", controller.cluster().reservation_count()));
    }
    for engine in controller.engines() {
        let running: Resources = controller
            .containers(false)
            .iter()
            .filter(|container| container.engine.id == engine.id)
            .map(|container| container.image.reserved())
            .sum();
        if running != controller.cluster().reserved(&engine.id) {
            return Err(format!("{}: {running:?} runs, {engine:?} is reserved", engine.id));
        }
    }
    Ok(())
}

fn run_all(asks: Vec<Ask>, seed: u64) -> Result<(), String> {
    // Time stands still while there is something to do, so the simulated latencies cost nothing and order everything.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async move {
        let controller = cluster(seed).await;
        let done = Arc::new(AtomicBool::new(false));
        let watch = tokio::spawn({
            let (controller, done) = (controller.clone(), done.clone());
            async move {
                while !done.load(Ordering::Relaxed) {
                    check(&controller)?;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok::<(), String>(())
            }
        });
        let mut random = StdRng::seed_from_u64(seed);
        let mut tasks = tokio::task::JoinSet::new();
        for ask in asks {
            let controller = controller.clone();
            let begins = Duration::from_millis(random.random_range(0..200));
            tasks.spawn(async move {
                tokio::time::sleep(begins).await;
                carry_out(&controller, ask).await
            });
        }
        while let Some(outcome) = tasks.join_next().await {
            outcome.unwrap()?;
        }
        // The last events of the engines may still be under way.
        tokio::time::sleep(Duration::from_secs(2)).await;
        done.store(true, Ordering::Relaxed);
        watch.await.unwrap()?;
        check_at_rest(&controller)?;
        controller.shutdown().await;
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: paas_core::testing::tier::seeds(24) as u32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn two_hundred_requests_at_once_never_promise_anything_twice(
        asks in prop::collection::vec(ask(), 200),
        seed in any::<u64>(),
    ) {
        run_all(asks, seed).map_err(TestCaseError::fail)?;
    }
}

#[tokio::test]
async fn two_scales_at_once_end_at_one_of_the_two_counts() {
    for round in 0..20 {
        let controller = cluster(round).await;
        let mut spec = ContainerSpec::new("web:1".parse().unwrap());
        spec.memory = Some(MemoryMb::new(16));
        let first = controller.run(&Actor::system(), RunRequest { spec, count: 1, pull: false }).await.unwrap();
        let id = first.finish().await.started[0].id.to_string();
        let scale = |count| {
            let (controller, id) = (controller.clone(), id.clone());
            async move { controller.scale(&Actor::system(), &id, count).await.unwrap().finish().await }
        };
        tokio::join!(scale(4), scale(7));
        let left = controller.containers(false).len();
        assert!(left == 4 || left == 7, "{left} containers run");
        check_at_rest(&controller).unwrap();
        controller.shutdown().await;
    }
}

//! What runs in the background ends with the controller, however that ends; and no subscriber holds up anything.

use std::future::{Future, poll_fn};
use std::task::Poll;

use super::*;
use crate::events::EventSink;
use crate::model::EventKind;
use crate::testing::store::FailingStore;

/// How many streams of events are open on all hosts.
fn open_streams(platform: &Platform) -> usize {
    platform.hosts.values().map(SimulatedEngine::open_streams).sum()
}

/// A platform with two engines in its store, and nothing that runs.
async fn at_rest() -> Platform {
    let platform = Platform::of(&["a", "b"]).await;
    assert_eq!(open_streams(&platform), 2);
    platform.controller.shutdown().await;
    assert_eq!(open_streams(&platform), 0);
    platform
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_is_dropped_leaves_nothing_running() {
    let platform = at_rest().await;
    let mut left = Vec::new();
    for _ in 0..20 {
        let controller = build(&platform.hosts, platform.store.clone(), platform.events.clone()).await;
        controller.wait_ready(Duration::from_secs(10)).await;
        assert_eq!(open_streams(&platform), 2);
        let again = controller.clone();
        drop(controller);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(open_streams(&platform), 2, "there is another handle");
        left.push((again.background().clone(), Arc::downgrade(&again.shared)));
    }
    assert!(eventually(|| open_streams(&platform) == 0).await);
    assert!(eventually(|| left.iter().all(|(background, _)| background.tasks().is_empty())).await);
    assert!(eventually(|| left.iter().all(|(_, shared)| shared.strong_count() == 0)).await, "and nothing in memory");
}

#[tokio::test(start_paused = true)]
async fn a_build_that_fails_leaves_nothing_running() {
    let platform = at_rest().await;
    let mut failed = 0;
    for reads in 0..20 {
        let store = Arc::new(FailingStore::new(platform.store.clone()));
        store.fail_after_reads(Some(reads));
        match builder(&platform.hosts, store, platform.events.clone()).build().await {
            Ok(controller) => controller.shutdown().await,
            Err(_) => failed += 1,
        }
        assert!(eventually(|| open_streams(&platform) == 0).await, "after {reads} reads");
    }
    assert!(failed > 3, "{failed} failed, some of them after engines were taken in");
}

/// As when another server is elected meanwhile: the caller does not wait for the end.
#[tokio::test(start_paused = true)]
async fn a_build_that_is_given_up_leaves_nothing_running() {
    let platform = at_rest().await;
    for polls in 0..20 {
        let mut building = Box::pin(async {
            let controller = build(&platform.hosts, platform.store.clone(), platform.events.clone()).await;
            controller.wait_ready(Duration::from_secs(10)).await;
            std::future::pending::<()>().await;
            drop(controller);
        });
        for _ in 0..polls {
            poll_fn(|context| {
                let _ = building.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(building);
        assert!(eventually(|| open_streams(&platform) == 0).await, "given up after {polls}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_table_has_what_runs_and_how_it_went() {
    let platform = Platform::of(&["a"]).await;
    let names: Vec<String> = platform.controller.background().tasks().into_iter().map(|task| task.name).collect();
    assert_eq!(
        names,
        [
            "apps/follow",
            "blobs/forget",
            "engine/a/follow",
            "engine/a/measure",
            "engine/a/monitor",
            "engines/room",
            "events/forget",
            "events/record",
            "events/sink/0",
            "outputs/forget",
            "records/write",
            "registry/follow",
            "requests/forget",
        ]
    );
    let follow = || platform.controller.background().tasks().remove(2);
    let before = follow();
    assert_eq!((before.last_error, before.period), (None, Some(Duration::from_secs(60))));
    assert!(platform.controller.background().wake("engine/a/follow"));
    assert!(eventually(|| follow().runs == before.runs + 1).await, "woken, it reads everything again");
    platform.host("a").set_reachable(false);
    assert!(eventually(|| follow().last_error.is_some_and(|error| error.contains("reached"))).await);
    platform.controller.shutdown().await;
    assert_eq!(platform.controller.background().tasks(), []);
}

#[tokio::test(start_paused = true)]
async fn the_table_says_that_records_wait_and_why() {
    let platform = Platform::without_engines(&["a"]).await;
    let store = Arc::new(FailingStore::new(platform.store.clone()));
    let controller = build(&platform.hosts, store.clone(), platform.events.clone()).await;
    let writing = || controller.background().tasks().into_iter().find(|task| task.name == "records/write").unwrap();
    assert_eq!((writing().runs, writing().last_error), (0, None));
    store.fail_after_writes(Some(0));
    controller.record(Event::new(EventKind::StopContainer, "stopped web")).await.unwrap();
    assert!(eventually(|| writing().last_error.is_some_and(|error| error.contains("does not answer"))).await);
    store.fail_after_writes(None);
    assert!(eventually(|| writing().last_error.is_none()).await);
    assert_eq!(controller.store_state().records_waiting, 0);
    controller.shutdown().await;
}

/// What an embedder wrote.
#[derive(Debug)]
enum Odd {
    Hangs,
    Refuses,
    Panics,
}

#[async_trait::async_trait]
impl EventSink for Odd {
    async fn record(&self, _events: &[Event]) -> Result<(), EventError> {
        match self {
            Self::Hangs => std::future::pending().await,
            Self::Refuses => Err(EventError::Sink("no".into())),
            Self::Panics => panic!("an embedder's fault"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_sink_can_undo_a_launch_or_hold_it_up() {
    for odd in [Odd::Hangs, Odd::Refuses, Odd::Panics] {
        let name = format!("{odd:?}").to_lowercase();
        let after_it = Arc::new(RecordingSink::default());
        let controller = Controller::builder().sink(Arc::new(odd)).sink(after_it.clone()).build().await.unwrap();
        controller.add_engine(&ann(), engine_spec(&name)).await.unwrap();
        let begun = tokio::time::Instant::now();
        let request = RunRequest { spec: web(), count: 2, pull: false };
        let summary = controller.run(&ann(), request).await.unwrap().finish().await;
        assert_eq!((summary.started.len(), summary.failed.len()), (2, 0), "{name}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{name}");
        let runs = || after_it.events().iter().filter(|event| event.kind.as_str() == "run-container").count();
        assert!(eventually(|| runs() == 2).await, "the others hear of it");
        let closed = tokio::time::timeout(Duration::from_secs(10), controller.shutdown()).await;
        assert!(closed.is_ok(), "{name}: the end does not wait for it");
    }
}

use std::time::Duration;

use super::*;
use crate::engine::{Managed, Owner, RunState};
use crate::model::ContainerState;
use crate::testing::store::{FailingStore, GatedStore};

fn id(number: u8) -> ContainerId {
    format!("{number:064x}").parse().unwrap()
}

fn engine() -> EngineId {
    "a".parse().unwrap()
}

fn new(name: &str) -> NewLaunch {
    NewLaunch {
        launch: LaunchId::new(),
        record: LaunchRecord::asked(engine(), name.to_owned(), jiff::Timestamp::now()),
    }
}

fn event() -> Event {
    Event::new(EventKind::RunContainer, "run")
}

async fn on(store: &Arc<dyn Store>) -> Arc<Launches> {
    let log = Arc::new(EventLog::new(store.clone()));
    Arc::new(Launches::load(store.clone(), Publisher::new(log, Vec::new())).await.unwrap())
}

async fn logged(store: &Arc<dyn Store>) -> Vec<Event> {
    EventLog::new(store.clone()).newest(10).await.unwrap()
}

fn found(name: &str, container: ContainerId) -> ObservedContainer {
    let spec = crate::model::ContainerSpec::new("web:1".parse().unwrap());
    ObservedContainer {
        id: container,
        name: format!("/{name}"),
        reserved: spec.reserved(),
        limits_known: true,
        spec,
        state: ContainerState::Running,
        ports: Vec::new(),
        created: jiff::Timestamp::now(),
        managed: None,
        labels_of_another: None,
        run: RunState::default(),
    }
}

#[tokio::test]
async fn what_was_asked_is_interrupted_for_the_next_server_and_what_was_done_is_done() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let launches = on(&store).await;
    let (asked, done) = (new("asked"), new("done"));
    let (is_asked, is_done) = (asked.launch, done.launch);
    let mut under_way = launches.begin(vec![asked, done]).await.unwrap();
    assert_eq!(launches.judge(&engine(), &[], &found("asked", id(1)), is_asked), Verdict::Ours);
    under_way[1].done(&id(2), &event(), 1).await.unwrap();
    let next = on(&store).await;
    assert_eq!(next.judge(&engine(), &[], &found("asked", id(1)), is_asked), Verdict::Interrupted);
    assert_eq!(next.judge(&engine(), &[], &found("renamed", id(2)), is_done), Verdict::Ours);
    assert_eq!(next.judge(&engine(), &[], &found("asked", id(3)), is_done), Verdict::Another, "of another id");
    assert_eq!(next.judge(&engine(), &[], &found("other", id(1)), is_asked), Verdict::Another, "of another name");
    drop(under_way);
    assert_eq!(launches.judge(&engine(), &[], &found("asked", id(1)), is_asked), Verdict::Interrupted);
}

#[tokio::test]
async fn of_two_servers_the_first_to_write_decides() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (first, launch) = (on(&store).await, new("web"));
    let key = launch.launch;
    let mut under_way = first.begin(vec![launch]).await.unwrap().remove(0);
    let second = on(&store).await;
    assert_eq!(second.settle(&engine(), key, None, 1).await.unwrap(), Some(Settled::Nothing));
    let late = under_way.done(&id(1), &event(), 1).await.unwrap_err();
    assert!(Launching::is_decided(&late));
    assert!(logged(&store).await.is_empty(), "and nothing is told of it");

    let launch = new("web-2");
    let key = launch.launch;
    let mut under_way = first.begin(vec![launch]).await.unwrap().remove(0);
    let second = on(&store).await;
    under_way.done(&id(2), &event(), 1).await.unwrap();
    assert_eq!(second.settle(&engine(), key, None, 1).await.unwrap(), Some(Settled::Done(id(2))));
}

#[tokio::test(start_paused = true)]
async fn settling_a_launch_may_be_given_up_and_another_task_settles_it() {
    let gated = Arc::new(GatedStore::new(Arc::new(MemoryStore::new())));
    let store: Arc<dyn Store> = gated.clone();
    let (launches, launch) = (on(&store).await, new("web"));
    let key = launch.launch;
    drop(launches.begin(vec![launch]).await.unwrap());
    gated.close();
    let mut change = std::pin::pin!(launches.changed());
    change.as_mut().enable();
    let (engine, container) = (engine(), id(1));
    let settled = launches.settle(&engine, key, Some(&container), 1);
    let given_up = tokio::time::timeout(Duration::from_millis(20), settled).await;
    assert!(given_up.is_err(), "the gate is closed");
    change.await;
    gated.open();
    assert!(!launches.is_settled(&engine, key));
    let settled = launches.settle(&engine, key, Some(&container), 2).await.unwrap();
    assert_eq!(settled, Some(Settled::Done(container)));
    assert!(launches.is_settled(&engine, key));
}

#[tokio::test]
async fn a_launch_that_fails_elsewhere_is_written_down_with_the_one_in_its_place() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let launches = on(&store).await;
    let states = async || {
        let all = launches.records.all().await.unwrap();
        all.into_iter().map(|kept| (kept.value.name, kept.value.state)).collect::<Vec<_>>()
    };
    let first = launches.begin(vec![new("one")]).await.unwrap().remove(0);
    let second = first.next(Fate::Nothing, new("two")).await.unwrap();
    assert_eq!(states().await, [("two".to_owned(), LaunchState::Asked)]);
    let third = second.next(Fate::Perhaps, new("three")).await.unwrap();
    let all = [("two".to_owned(), LaunchState::Abandoned), ("three".to_owned(), LaunchState::Asked)];
    assert_eq!(states().await, all);
    third.failed(Fate::Nothing, event()).await;
    assert_eq!(states().await, all[..1]);
    assert_eq!(logged(&store).await.len(), 1);
}

#[tokio::test]
async fn what_a_launch_left_goes_also_when_that_could_not_be_written_down() {
    let failing = Arc::new(FailingStore::new(Arc::new(MemoryStore::new())));
    let store: Arc<dyn Store> = failing.clone();
    let launches = on(&store).await;
    let (one, other) = (new("one"), new("other"));
    let keys = [one.launch, other.launch];
    let under_way = launches.begin(vec![one, other]).await.unwrap();
    failing.fail_after_writes(Some(0));
    for launching in under_way {
        launching.failed(Fate::Perhaps, event()).await;
    }
    for (key, name) in keys.into_iter().zip(["one", "other"]) {
        let verdict = launches.judge(&engine(), &[], &found(name, id(1)), key);
        assert_eq!(verdict, Verdict::Unwanted(Why::Interrupted));
    }
}

#[tokio::test]
async fn an_engine_that_goes_by_another_name_keeps_its_launches() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (launches, launch) = (on(&store).await, new("web"));
    let key = launch.launch;
    let mut under_way = launches.begin(vec![launch]).await.unwrap().remove(0);
    under_way.done(&id(1), &event(), 1).await.unwrap();
    let renamed: EngineId = "b".parse().unwrap();
    assert_eq!(launches.judge(&renamed, &[], &found("web", id(1)), key), Verdict::Ours);
    let (gone, _) = launches.missing(&engine(), 10, jiff::Timestamp::now(), |_| false);
    assert!(gone.is_empty());
    assert_eq!(launches.missing(&renamed, 10, jiff::Timestamp::now(), |_| false).0, [key]);
}

#[tokio::test]
async fn a_container_that_starts_is_ours_also_where_its_host_is_another_engine_as_well() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (launches, launch) = (on(&store).await, new("web"));
    let key = launch.launch;
    let mut under_way = launches.begin(vec![launch]).await.unwrap().remove(0);
    let twin: EngineId = "b".parse().unwrap();
    assert_eq!(launches.judge(&twin, &[], &found("web", id(1)), key), Verdict::Ours);
    assert_eq!(launches.judge(&twin, &[], &found("other", id(1)), key), Verdict::Another);
    under_way.done(&id(1), &event(), 1).await.unwrap();
    assert_eq!(launches.judge(&twin, &[], &found("web", id(1)), key), Verdict::Ours);
}

/// Where it moved meanwhile, it would be settled on the one engine, and be waited for on the other without an end.
#[tokio::test]
async fn a_launch_that_is_being_settled_stays_where_it_is() {
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let store = Arc::new(GatedStore::new(inner));
    let (launches, launch) = (on(&(store.clone() as Arc<dyn Store>)).await, new("web"));
    let key = launch.launch;
    drop(launches.begin(vec![launch]).await.unwrap());
    store.close();
    let settling = tokio::spawn({
        let launches = launches.clone();
        async move { launches.settle(&engine(), key, Some(&id(1)), 1).await.unwrap() }
    });
    store.until_one_waits().await;
    let other: EngineId = "b".parse().unwrap();
    assert_eq!(launches.judge(&other, &[engine()], &found("web", id(1)), key), Verdict::Ours);
    store.open();
    assert_eq!(settling.await.unwrap(), Some(Settled::Done(id(1))));
    assert!(launches.is_settled(&engine(), key) && launches.is_settled(&other, key));
}

#[tokio::test]
async fn what_a_launch_left_goes_where_its_engine_turned_out_to_be_another_one() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (launches, launch) = (on(&store).await, new("web"));
    let key = launch.launch;
    let under_way = launches.begin(vec![launch]).await.unwrap().remove(0);
    under_way.failed(Fate::Perhaps, event()).await;
    let other: EngineId = "b".parse().unwrap();
    let there = found("web", id(1));
    assert_eq!(launches.judge(&other, &[], &there, key), Verdict::Another, "somebody's copy on another host");
    assert_eq!(launches.judge(&other, &[engine()], &there, key), Verdict::Unwanted(Why::Interrupted));
    assert!(launches.is_unwanted(&other, key), "it is removed there");
}

#[tokio::test]
async fn a_launch_that_is_taken_in_again_is_not_forgotten_by_what_was_late() {
    for forgotten_first in [true, false] {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (launches, launch) = (on(&store).await, new("web"));
        let key = launch.launch;
        let mut under_way = launches.begin(vec![launch]).await.unwrap().remove(0);
        under_way.done(&id(1), &event(), 1).await.unwrap();
        // Its engine is deleted, and added under another name before the store has forgotten the launch.
        let gone = launches.engine_removed(&engine());
        let other: EngineId = "b".parse().unwrap();
        let mut found = found("web", id(1));
        found.managed = Some(Managed {
            platform: "paas".into(),
            launch: key,
            user: "ann".into(),
            owner: Owner::Run { group: found.spec.group(), mark: None },
        });
        let taken = vec![launches.take_in(&other, &found, 2).unwrap()];
        if forgotten_first {
            launches.forget(gone).await;
            launches.keep_taken_in(taken).await;
        } else {
            launches.keep_taken_in(taken).await;
            launches.forget(gone).await;
        }
        assert!(launches.record(key).await.unwrap().is_some(), "forgotten first: {forgotten_first}");
        let next = on(&store).await;
        assert_eq!(next.judge(&other, &[], &found, key), Verdict::Ours);
        assert_eq!(launches.judge(&other, &[], &found, key), Verdict::Ours);
    }
}

//! Applications on simulated hosts: what is declared comes to be, and stays so.

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::clock::Clock;
use crate::engine::EngineErrorKind;
use crate::model::{ContainerState, ImageDigest};
use crate::wire::app::{AppState, AppStatus, ApplyRequest, RollbackRequest, RolloutOutcome, ScaleRequest, read_files};

/// A platform whose clock goes with the time of the test.
pub(super) async fn platform(names: &[&str]) -> Platform {
    let mut platform = Platform::without_engines(names).await;
    platform.controller = start(&platform).await;
    for name in names {
        platform.add(name).await;
    }
    platform
}

pub(super) async fn start(platform: &Platform) -> Controller {
    let clock = Clock::with_tokio(Timestamp::now());
    builder(&platform.hosts, platform.store.clone(), platform.events.clone()).clock(clock).build().await.unwrap()
}

pub(super) fn request(text: &str) -> ApplyRequest {
    let text = format!("app = 'shop'\n{text}");
    ApplyRequest { app: read_files(&[("paas.toml", &text)], |_| None).unwrap(), ..ApplyRequest::default() }
}

pub(super) fn web(image: &str, replicas: u32) -> ApplyRequest {
    request(&format!("[component.web]\nimage = '{image}'\nreplicas = {replicas}\nupdate = {{ drain = '1s' }}"))
}

impl Platform {
    /// Waits until the application is as declared.
    pub(super) async fn settled(&self) -> AppStatus {
        self.app_until(|app| app.summary.state == AppState::Running && app.rollout.is_none()).await
    }

    pub(super) async fn app_until(&self, is_so: impl Fn(&AppStatus) -> bool) -> AppStatus {
        let reached = || self.controller.app("shop").is_ok_and(|app| is_so(&app));
        assert!(eventually(reached).await, "{:#?}", self.controller.app("shop"));
        self.controller.app("shop").unwrap()
    }

    /// The images of the containers that really run, in their order.
    pub(super) fn images(&self) -> Vec<String> {
        let all = self.hosts.values().flat_map(SimulatedEngine::really_there);
        let running = all.filter(|found| found.state == ContainerState::Running);
        let mut images: Vec<String> = running.map(|found| found.spec.name.to_string()).collect();
        images.sort();
        images
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_comes_to_be_and_comes_back() {
    let platform = platform(&["one", "two"]).await;
    let applied = platform.controller.apply_app(&ann(), "shop", web("web:1", 3)).await.unwrap();
    assert_eq!((applied.revision, applied.changed), (1, true));
    let app = platform.settled().await;
    assert_eq!((app.summary.ready, app.summary.replicas), (3, 3));
    assert_eq!(app.last_rollout.unwrap().outcome, RolloutOutcome::Done);
    assert_eq!(platform.images(), ["web:1", "web:1", "web:1"]);
    // Applied again it is there already.
    let again = platform.controller.apply_app(&ann(), "shop", web("web:1", 3)).await.unwrap();
    assert_eq!((again.revision, again.changed), (1, false));

    // Somebody removes one behind the platform's back.
    let (_, container) = platform.controller.app_containers("shop", None).unwrap().remove(0);
    let host = platform.host(container.engine.id.as_str());
    host.remove(&container.id).await.unwrap();
    let is_it = |app: &AppStatus| {
        let mut replicas = app.component.values().flat_map(|component| &component.replicas);
        replicas.any(|replica| replica.container.as_ref() == Some(&container.id))
    };
    platform.app_until(|app| !is_it(app)).await;
    platform.settled().await;
    assert_eq!(platform.really_there(), 3);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_new_version_replaces_the_old_one_and_one_call_takes_it_back() {
    let platform = platform(&["one", "two"]).await;
    let controller = &platform.controller;
    controller.apply_app(&ann(), "shop", web("web:1", 3)).await.unwrap();
    platform.settled().await;
    controller.apply_app(&ann(), "shop", web("web:2", 3)).await.unwrap();
    let app = platform.settled().await;
    assert_eq!((app.summary.revision, platform.images()), (2, vec!["web:2".to_owned(); 3]));
    controller.rollback_app(&ann(), "shop", Default::default()).await.unwrap();
    let app = platform.settled().await;
    assert_eq!((app.summary.revision, platform.images()), (3, vec!["web:1".to_owned(); 3]));
    assert_eq!(app.last_rollout.unwrap().outcome, RolloutOutcome::Done, "it was asked for");
    let revisions = controller.app_revisions("shop").unwrap();
    let told: Vec<String> = revisions
        .into_iter()
        .map(|revision| format!("{} {}", revision.images.into_values().collect::<String>(), revision.message))
        .collect();
    assert_eq!(told, ["web:1 back to revision 1", "web:2 ", "web:1 "], "the newest first");
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_version_that_cannot_run_leaves_the_old_one_serving_and_says_why() {
    let platform = platform(&["one", "two"]).await;
    let controller = &platform.controller;
    controller.apply_app(&ann(), "shop", web("web:1", 2)).await.unwrap();
    platform.settled().await;
    controller.apply_app(&ann(), "shop", web("withdrawn:2", 2)).await.unwrap();
    let app = platform.settled().await;
    let result = app.last_rollout.unwrap();
    assert_eq!(result.outcome, RolloutOutcome::RolledBack);
    assert!(result.why.contains("withdrawn:2"), "{}", result.why);
    let revisions = controller.app_revisions("shop").unwrap();
    assert_eq!(revisions[0].message, "rolled back from 2, to what 1 was");
    assert_eq!(platform.images(), ["web:1", "web:1"]);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_stopped_leaves_nothing_to_be_made_of_its_version() {
    let platform = platform(&["one", "two"]).await;
    let controller = &platform.controller;
    controller.apply_app(&ann(), "shop", web("web:1", 2)).await.unwrap();
    platform.settled().await;
    for name in ["one", "two"] {
        // As with a registry that is away.
        platform.host(name).fail_next("create", 1000, EngineErrorKind::Failed);
    }
    controller.apply_app(&ann(), "shop", web("web:2", 2)).await.unwrap();
    let app = platform.app_until(|app| app.rollout.is_none()).await;
    let result = app.last_rollout.unwrap();
    assert_eq!(result.outcome, RolloutOutcome::Stopped, "{}", result.why);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let app = controller.app("shop").unwrap();
    assert_eq!((app.summary.state, app.summary.ready), (AppState::RolloutStopped, 2));
    let replicas = &app.component["web"].replicas;
    assert!(replicas.iter().all(|replica| replica.revision == Some(1) && replica.state == "ready"), "{replicas:#?}");
    assert_eq!(platform.images(), ["web:1", "web:1"]);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_host_that_dies_is_left_and_one_that_returns_has_nothing_twice() {
    let platform = platform(&["one", "two", "three"]).await;
    let controller = &platform.controller;
    controller.apply_app(&ann(), "shop", web("web:1", 6)).await.unwrap();
    platform.settled().await;
    platform.host("one").set_reachable(false);
    let is_on_one = |app: &AppStatus| {
        let replicas = &app.component["web"].replicas;
        replicas.iter().any(|replica| replica.engine.as_ref().is_some_and(|engine| engine.as_str() == "one"))
    };
    platform.app_until(|app| !is_on_one(app) && app.summary.ready == 6).await;
    platform.host("one").set_reachable(true);
    platform.until("one", EngineStatus::Up).await;
    assert!(eventually(|| platform.really_there() == 6).await, "{}", platform.really_there());
    platform.settled().await;
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn another_server_goes_on_where_one_died() {
    let mut platform = platform(&["one", "two"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 4)).await.unwrap();
    platform.settled().await;
    platform.controller.apply_app(&ann(), "shop", web("web:2", 4)).await.unwrap();
    platform.app_until(|app| platform.images().contains(&"web:2".to_owned()) && app.rollout.is_some()).await;
    platform.controller.shared.cluster.shutdown().await;
    platform.controller = start(&platform).await;
    platform.settled().await;
    assert_eq!(platform.images(), vec!["web:2".to_owned(); 4]);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn scaling_changes_the_number_alone_and_a_file_without_one_keeps_it() {
    let platform = platform(&["one", "two"]).await;
    let controller = &platform.controller;
    controller.apply_app(&ann(), "shop", web("web:1", 2)).await.unwrap();
    platform.settled().await;
    let scale = ScaleRequest { component: None, replicas: 5 };
    controller.scale_app(&ann(), "shop", scale).await.unwrap();
    platform.app_until(|app| app.summary.ready == 5).await;
    let file = request("[component.web]\nimage = 'web:1'\nupdate = { drain = '1s' }");
    assert!(!controller.apply_app(&ann(), "shop", file).await.unwrap().changed);
    controller.scale_app(&ann(), "shop", ScaleRequest { component: None, replicas: 1 }).await.unwrap();
    platform.settled().await;
    assert!(eventually(|| platform.really_there() == 1).await);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn one_that_is_destroyed_leaves_nothing_but_its_volumes() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let file = "[component.db]\nimage = 'db:1'\nvolumes = ['data:/data']\nupdate = { drain = '1s' }";
    controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
    platform.settled().await;
    assert!(platform.host("one").find_volume("shop.db.1.data").await.unwrap().is_some());
    controller.destroy_app(&ann(), "shop", false).await.unwrap();
    assert!(eventually(|| controller.app("shop").is_err()).await, "{:#?}", controller.app("shop"));
    assert_eq!(platform.really_there(), 0);
    assert!(platform.host("one").find_volume("shop.db.1.data").await.unwrap().is_some());
    // Declared again, it finds its data.
    controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
    platform.settled().await;
    controller.destroy_app(&ann(), "shop", true).await.unwrap();
    assert!(eventually(|| controller.app("shop").is_err()).await);
    assert!(platform.host("one").find_volume("shop.db.1.data").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn two_at_once_are_one_and_a_refusal() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let based = |image: &str, base| ApplyRequest { base: Some(base), ..web(image, 1) };
    controller.apply_app(&ann(), "shop", based("web:1", 0)).await.unwrap();
    let late = controller.apply_app(&ann(), "shop", based("web:2", 0)).await.unwrap_err();
    assert!(matches!(late, ControllerError::AppChanged { .. }), "{late}");
    let second = controller.apply_app(&ann(), "shop", based("web:2", 1)).await.unwrap_err();
    assert!(matches!(second, ControllerError::RolloutUnderWay { .. }), "{second}");
    let superseding = ApplyRequest { supersede: true, ..based("web:2", 1) };
    controller.apply_app(&ann(), "shop", superseding).await.unwrap();
    platform.settled().await;
    assert_eq!(platform.images(), ["web:2"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_leaves_nothing() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let tasks = controller.background().tasks().len();
    for number in 0..3 {
        let name = format!("shop-{number}");
        let wrong = ApplyRequest { app: Default::default(), ..ApplyRequest::default() };
        assert!(controller.apply_app(&ann(), &name, wrong).await.is_err());
    }
    assert!(eventually(|| controller.background().tasks().len() == tasks).await);
    assert!(
        controller.apps().is_empty() && matches!(controller.app("shop-0"), Err(ControllerError::AppNotFound { .. }))
    );
}

#[tokio::test(start_paused = true)]
async fn the_command_before_runs_once_and_nothing_is_replaced_until_it_ended() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let file = |image: &str| {
        request(&format!(
            "[component.web]\nimage = '{image}'\nbefore = {{ command = ['migrate'] }}\nupdate = {{ drain = '1s' }}"
        ))
    };
    let command = |name: &'static str| {
        let all = platform.host("one").really_there();
        all.into_iter().find(move |found| found.name.trim_start_matches('/') == name)
    };
    controller.apply_app(&ann(), "shop", file("web:1")).await.unwrap();
    assert!(eventually(|| command("shop.web.before.r1").is_some()).await);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(platform.really_there(), 1, "only the command");
    platform.host("one").outsider_end(&command("shop.web.before.r1").unwrap().id, 0).unwrap();
    platform.settled().await;
    assert_eq!(platform.images(), ["web:1"]);
    // The next one fails: nothing is replaced, and the one before is removed.
    controller.apply_app(&ann(), "shop", file("web:2")).await.unwrap();
    assert!(eventually(|| command("shop.web.before.r2").is_some()).await);
    platform.host("one").outsider_end(&command("shop.web.before.r2").unwrap().id, 1).unwrap();
    let app = platform.settled().await;
    let result = app.last_rollout.unwrap();
    assert_eq!(result.outcome, RolloutOutcome::RolledBack);
    assert!(result.why.contains("the command before web ended with 1"), "{}", result.why);
    assert_eq!(platform.images(), ["web:1"]);
    assert!(eventually(|| command("shop.web.before.r1").is_none()).await);
    controller.destroy_app(&ann(), "shop", false).await.unwrap();
    assert!(eventually(|| platform.really_there() == 0).await);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_command_before_has_the_time_that_it_is_given() {
    let platform = platform(&["one"]).await;
    let file = "[component.web]\nimage = 'web:1'\nbefore = { command = ['migrate'], timeout = '3s' }";
    let begun = tokio::time::Instant::now();
    platform.controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
    let app = platform.app_until(|app| app.rollout.is_none()).await;
    assert!((3..10).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let why = app.last_rollout.unwrap().why;
    assert!(why.contains("the command before web took longer than 3s"), "{why}");
    assert!(eventually(|| platform.really_there() == 0).await, "it is ended");
}

#[tokio::test(start_paused = true)]
async fn a_command_before_whose_host_died_stops_the_rollout_and_is_not_run_twice() {
    let platform = platform(&["one", "two"]).await;
    let controller = &platform.controller;
    let file = "[component.web]\nimage = 'web:1'\nbefore = { command = ['migrate'] }";
    controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
    let host_of = || ["one", "two"].into_iter().find(|name| platform.host(name).really_there().len() == 1);
    assert!(eventually(|| host_of().is_some()).await);
    platform.host(host_of().unwrap()).set_reachable(false);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let app = platform.app_until(|app| app.rollout.is_none()).await;
    let result = app.last_rollout.unwrap();
    assert_eq!(result.outcome, RolloutOutcome::Stopped);
    assert!(result.why.contains("nobody knows how the command before web ended"), "{}", result.why);
    assert_eq!(platform.really_there(), 1, "only the command, once");
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_store_changes_nothing_unasked() {
    let mut platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 2)).await.unwrap();
    platform.settled().await;
    platform.controller.shutdown().await;
    // What a restored backup lacks is what says that this very store was acted by.
    let copied = platform.store.list(crate::store::tables::STORE, &crate::store::KeyRange::all()).await.unwrap();
    for document in copied {
        platform.store.delete(crate::store::tables::STORE, &document.key, None).await.unwrap();
    }
    let id = platform.host("one").really_there()[0].id.clone();
    platform.host("one").remove(&id).await.unwrap();
    platform.controller = start(&platform).await;
    platform.until("one", EngineStatus::Up).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(platform.really_there(), 1, "nothing is done");
    let app = platform.controller.app("shop").unwrap();
    assert!(app.notes.iter().any(|note| note.contains("reconcile resume")), "{:?}", app.notes);
    platform.controller.resume_reconciling(&ann()).await.unwrap();
    assert!(eventually(|| platform.really_there() == 2).await);
}

#[tokio::test(start_paused = true)]
async fn containers_of_a_lost_store_are_shown_and_become_replicas_where_they_are_the_same() {
    let mut platform = platform(&["one"]).await;
    let file = |image: &str| {
        request(&format!(
            "[component.web]\nimage = '{image}'\nreplicas = 2\nport = 80\nhealth = {{ http = '/' }}\nenv = {{ A = 'b' }}\nupdate = {{ drain = '1s' }}"
        ))
    };
    platform.controller.apply_app(&ann(), "shop", file("web:1")).await.unwrap();
    platform.settled().await;
    platform.controller.apply_app(&ann(), "shop", file("web:2")).await.unwrap();
    platform.settled().await;
    let ids = |platform: &Platform| {
        let all = platform.host("one").really_there().into_iter();
        all.map(|found| found.id).collect::<std::collections::BTreeSet<_>>()
    };
    let before = ids(&platform);
    let name = platform.controller.cluster().platform().to_owned();
    platform.controller.shutdown().await;
    platform.store = Arc::new(MemoryStore::new());
    let clock = Clock::with_tokio(Timestamp::now());
    let builder = builder(&platform.hosts, platform.store.clone(), platform.events.clone());
    platform.controller = builder.clock(clock).platform(name).build().await.unwrap();
    platform.add("one").await;
    let shown = platform.controller.apps();
    assert_eq!((shown[0].state, shown[0].replicas), (AppState::Orphaned, 2));
    // A file that says something else adopts nothing, and doubles nothing.
    let other = ApplyRequest { adopt: true, ..file("web:3") };
    let plan = platform.controller.plan_app(&ann(), "shop", other).await.unwrap();
    assert!(plan.steps.iter().all(|step| !step.action.contains("adopt")), "{plan:#?}");
    platform.controller.apply_app(&ann(), "shop", ApplyRequest { adopt: true, ..file("web:2") }).await.unwrap();
    let app = platform.settled().await;
    assert_eq!(app.summary.revision, 3, "no container is of that one");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(ids(&platform), before, "they are the same containers");
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_a_store_of_yesterday_does_not_know_runs_on_and_is_adopted_where_it_is_the_same() {
    let file = || request("[component.db]\nimage = 'db:1'\nvolumes = ['data:/data']\nupdate = { drain = '1s' }");
    let mut platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", file()).await.unwrap();
    platform.settled().await;
    let yesterday: Arc<dyn Store> = Arc::new(MemoryStore::new());
    crate::store::transfer::copy(&*platform.store, &*yesterday, &mut |_, _| {}).await.unwrap();
    let host = platform.host("one").clone();
    host.remove(&host.really_there()[0].id).await.unwrap();
    assert!(eventually(|| platform.images() == ["db:1"]).await);
    platform.settled().await;
    let today = host.really_there()[0].id.clone();
    platform.controller.shutdown().await;
    platform.store = yesterday;
    platform.controller = start(&platform).await;
    platform.until("one", EngineStatus::Up).await;
    platform.controller.resume_reconciling(&ann()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let app = platform.controller.app("shop").unwrap();
    let reason = app.component["db"].replicas[0].reason.as_str();
    assert_eq!(reason, "orphaned: no record names db.1.2 on one", "and no second one starts on the volume");
    let adopt = ApplyRequest { adopt: true, ..file() };
    let plan = platform.controller.plan_app(&ann(), "shop", adopt.clone()).await.unwrap();
    assert_eq!(plan.steps[0].action, "adopt db.1.2 on one as revision 2");
    assert!(platform.controller.apply_app(&ann(), "shop", adopt.clone()).await.unwrap().changed);
    let app = platform.settled().await;
    assert_eq!((app.summary.ready, app.component["db"].replicas[0].name.as_str()), (1, "shop.db.1.2"));
    let again = platform.controller.apply_app(&ann(), "shop", adopt).await.unwrap();
    assert!(!again.changed, "there is nothing left to adopt");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(host.really_there().into_iter().map(|found| found.id).collect::<Vec<_>>(), [today]);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn more_replicas_than_fit_into_one_commit_come_to_be() {
    let mut platform = Platform::without_engines(&["one"]).await;
    platform.controller = start(&platform).await;
    let spec = EngineSpec {
        memory: Some(MemoryMb::new(100_000)),
        cpus: Some(crate::model::Cpus::from_milli(100_000)),
        ..engine_spec("one")
    };
    platform.controller.add_engine(&ann(), spec).await.unwrap();
    platform.until("one", EngineStatus::Up).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 250)).await.unwrap();
    platform.app_until(|app| app.summary.ready == 250).await;
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn the_routes_of_containers_leave_it_to_the_application_whether_a_replica_runs() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    let id = || controller.app_containers("shop", None).unwrap().remove(0).1.id.to_string();
    let first = id();
    let stopped = controller.stop(&ann(), &first, Duration::ZERO).await.unwrap_err();
    assert!(matches!(&stopped, ControllerError::ManagedByApplication { reason } if reason.contains("app stop shop")));
    controller.start(&ann(), &first).await.unwrap();
    controller.destroy(&ann(), &first).await.unwrap();
    platform.app_until(|app| app.summary.ready == 1).await;
    assert_ne!(id(), first, "the slot is filled again");
    controller.scale(&ann(), &id(), 2).await.unwrap().finish().await;
    platform.app_until(|app| app.summary.ready == 2).await;
    platform.check_at_rest();
}

pub(super) fn digest(of: char) -> ImageDigest {
    format!("sha256:{}", of.to_string().repeat(64)).parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_image_stays_what_it_was_when_it_was_declared_wherever_its_tag_points() {
    let platform = platform(&["one", "two"]).await;
    let controller = &platform.controller;
    let (image, file) = ("reg.io/web:1".parse().unwrap(), || web("reg.io/web:1", 1));
    let publish = |of| platform.hosts.values().for_each(|host| host.publish(&image, digest(of)));
    publish('a');
    let plan = controller.plan_app(&ann(), "shop", file()).await.unwrap();
    assert_eq!(plan.images.into_values().collect::<Vec<_>>(), [digest('a')]);
    controller.apply_app(&ann(), "shop", file()).await.unwrap();
    platform.settled().await;
    assert_eq!(platform.images(), [format!("reg.io/web:1@{}", digest('a'))]);

    publish('b');
    assert!(!controller.apply_app(&ann(), "shop", file()).await.unwrap().changed, "it is there already");
    let plan = controller.plan_app(&ann(), "shop", file()).await.unwrap();
    assert!(plan.changes.is_empty() && plan.notes[0].contains("points elsewhere"), "{plan:?}");
    controller.scale_app(&ann(), "shop", ScaleRequest { component: None, replicas: 2 }).await.unwrap();
    platform.app_until(|app| app.summary.ready == 2).await;
    assert_eq!(platform.images(), vec![format!("reg.io/web:1@{}", digest('a')); 2], "nobody asked the registry");

    let refreshed = || ApplyRequest { refresh_images: true, ..web("reg.io/web:1", 2) };
    let plan = controller.plan_app(&ann(), "shop", refreshed()).await.unwrap();
    assert_eq!(plan.changes[0].field, "component.web.digest");
    // Published once more between plan and apply: what was planned is taken.
    publish('c');
    let planned = ApplyRequest { images: Some(plan.images), ..refreshed() };
    controller.apply_app(&ann(), "shop", planned).await.unwrap();
    platform.settled().await;
    assert_eq!(platform.images(), vec![format!("reg.io/web:1@{}", digest('b')); 2]);
    controller.rollback_app(&ann(), "shop", Default::default()).await.unwrap();
    platform.settled().await;
    assert_eq!(platform.images(), vec![format!("reg.io/web:1@{}", digest('a')); 2]);
    let revisions = controller.app_revisions("shop").unwrap();
    assert_eq!(revisions[0].digests.values().collect::<Vec<_>>(), [&digest('a')]);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_stopped_for_an_image_that_nobody_gets() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let database = |image: &str| {
        request(&format!("[component.db]\nimage = '{image}'\nvolumes = ['data:/data']\nupdate = {{ drain = '1s' }}"))
    };
    controller.apply_app(&ann(), "shop", database("db:1")).await.unwrap();
    platform.settled().await;
    let started = || platform.host("one").really_there().into_iter().map(|found| found.run.started).collect::<Vec<_>>();
    let before = started();
    controller.apply_app(&ann(), "shop", database("withdrawn:2")).await.unwrap();
    let app = platform.app_until(|app| app.rollout.is_none()).await;
    let result = app.last_rollout.unwrap();
    assert_eq!(result.outcome, RolloutOutcome::Stopped, "a volume: it pauses");
    assert!(result.why.contains("could not get its image"), "{}", result.why);
    assert_eq!(started(), before);
    controller.apply_app(&ann(), "shop", database("db:2")).await.unwrap();
    platform.settled().await;
    assert_eq!(platform.images(), ["db:2"]);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn the_time_in_which_an_application_is_stopped_is_none_that_its_rollout_took() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    controller.apply_app(&ann(), "shop", web("web:1", 2)).await.unwrap();
    platform.settled().await;
    controller.apply_app(&ann(), "shop", web("web:2", 2)).await.unwrap();
    controller.stop_app(&ann(), "shop").await.unwrap();
    // Whoever follows it is not kept waiting.
    let followed = controller.follow_rollout("shop").unwrap().collect::<Vec<_>>();
    let last = tokio::time::timeout(Duration::from_secs(600), followed).await.unwrap().pop().unwrap();
    assert_eq!(last.summary.state, AppState::Stopped);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    controller.start_app(&ann(), "shop").await.unwrap();
    let app = platform.settled().await;
    assert_eq!(app.last_rollout.unwrap().outcome, RolloutOutcome::Done);
    assert_eq!(platform.images(), ["web:2", "web:2"]);
}

#[tokio::test(start_paused = true)]
async fn hosts_whose_clock_is_wrong_serve_like_others() {
    for minutes in [-61, 61] {
        let platform = platform(&["one", "two"]).await;
        let controller = &platform.controller;
        platform.host("one").step_clock(SignedDuration::from_mins(minutes));
        tokio::time::sleep(Duration::from_secs(120)).await;
        let file = "[component.web]\nimage = 'web:1'\nreplicas = 4\nbefore = { command = ['migrate'], timeout = '5m' }";
        controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
        let began = tokio::time::Instant::now();
        let ends = async || {
            while controller.app("shop").unwrap().rollout.is_some() {
                let commands = platform.hosts.values().flat_map(|host| {
                    let all = host.really_there().into_iter();
                    all.filter(|found| found.name.contains("before")).map(move |found| (host, found.id))
                });
                for (host, id) in commands.collect::<Vec<_>>() {
                    let _ = host.outsider_end(&id, 0);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), ends()).await.unwrap();
        let app = platform.settled().await;
        assert_eq!(app.last_rollout.unwrap().outcome, RolloutOutcome::Done, "{minutes}");
        assert!(began.elapsed() < Duration::from_secs(120));
    }
}

#[tokio::test(start_paused = true)]
async fn one_on_each_host_is_complete_also_where_a_host_is_drained() {
    let platform = platform(&["one", "two", "three"]).await;
    let controller = &platform.controller;
    let file = "[component.web]\nimage = 'web:1'\nreplicas = 'each-host'";
    controller.apply_app(&ann(), "shop", request(file)).await.unwrap();
    let app = platform.settled().await;
    let of_slot = |number: usize| app.component.values().next().unwrap().replicas[number].engine.clone().unwrap();
    controller.set_draining(&ann(), of_slot(1).as_str(), true).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let app = platform.settled().await;
    assert_eq!((app.summary.ready, app.summary.replicas, app.summary.state), (2, 2, AppState::Running));
}

#[tokio::test(start_paused = true)]
async fn a_plan_has_changes_just_where_an_apply_begins_a_rollout() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let file = |image| format!("[component.web]\nimage = '{image}'\nreplicas = 2\nupdate = {{ on_failure = 'pause' }}");
    let both = async |request: ApplyRequest| {
        let plan = controller.plan_app(&ann(), "shop", request.clone()).await.unwrap();
        let applied = controller.apply_app(&ann(), "shop", request).await.unwrap();
        assert_eq!(plan.has_changes(), applied.changed, "{plan:#?}");
        applied.changed
    };
    assert!(both(request(&file("web:1"))).await);
    platform.settled().await;
    assert!(!both(request(&file("web:1"))).await);
    // One is gone by hand, and made again; that is no change of what is declared.
    let host = platform.host("one");
    host.set_latency(Duration::from_secs(5));
    host.outsider_remove(&host.really_there()[0].id).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!both(request(&file("web:1"))).await);
    host.set_latency(Duration::ZERO);
    platform.settled().await;
    // What was stopped is tried again by an apply, and only by that.
    assert!(both(request(&file("withdrawn:2"))).await);
    let is_stopped = |app: &AppStatus| app.summary.state == AppState::RolloutStopped;
    platform.app_until(is_stopped).await;
    let scale = ScaleRequest { component: None, replicas: 3 };
    let refused = controller.scale_app(&ann(), "shop", scale.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("'app rollback shop'"), "{refused}");
    assert!(both(request(&file("withdrawn:2"))).await);
    platform.app_until(is_stopped).await;
    controller.rollback_app(&ann(), "shop", RollbackRequest::default()).await.unwrap();
    platform.settled().await;
    controller.scale_app(&ann(), "shop", scale).await.unwrap();
    platform.settled().await;
    assert_eq!(platform.images(), ["web:1", "web:1", "web:1"]);
}

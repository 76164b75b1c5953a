//! Ours and not ours: what labels and records say of a container, and what is never touched.

use super::*;
use crate::engine::{CreateRequest, ReplicaLabels};
use crate::model::LaunchId;
use crate::store::records::{LaunchRecord, LaunchState};
use crate::store::tables::LAUNCHES;

fn small() -> ContainerSpec {
    ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() }
}

fn create_request(platform: &str, name: &str) -> CreateRequest {
    CreateRequest {
        name: name.into(),
        spec: small(),
        links: Vec::new(),
        platform: platform.into(),
        engine: engine_id("a"),
        launch: LaunchId::new(),
        user: "ann".into(),
        mark: None,
        log_rotation: None,
        replica: None,
        network: None,
        hidden_environment: Default::default(),
    }
}

impl Platform {
    fn is_managed(&self, id: &crate::model::ContainerId) -> bool {
        self.controller.container(id.as_str()).unwrap().managed
    }

    async fn until_seen(&self, id: &crate::model::ContainerId) {
        assert!(eventually(|| self.controller.container(id.as_str()).is_ok()).await, "{id} is not seen");
    }

    async fn launches(&self) -> Vec<LaunchRecord> {
        let launches = Collection::<LaunchRecord>::new(self.store.clone(), LAUNCHES);
        launches.all().await.unwrap().into_iter().map(|kept| kept.value).collect()
    }

    /// Every kind of reading happens, and everything that the platform might do of itself.
    async fn let_time_pass(&mut self) {
        tokio::time::sleep(Duration::from_secs(300)).await;
        self.restart().await;
        tokio::time::sleep(Duration::from_secs(300)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_our_container_is_somebody_elses() {
    let mut platform = Platform::of(&["a", "b"]).await;
    let ours = platform.run(small(), 1).await.started[0].clone();
    let host = platform.host(ours.engine.id.as_str()).clone();
    let elsewhere = platform.host(if ours.engine.id.as_str() == "a" { "b" } else { "a" }).clone();
    let copy = host.outsider_copy(&ours.id, "copy", None).unwrap();
    platform.until_seen(&copy).await;
    assert!(platform.is_managed(&ours.id) && !platform.is_managed(&copy));
    platform.let_time_pass().await;
    assert!(platform.is_managed(&ours.id) && !platform.is_managed(&copy));
    platform.controller.scale(&ann(), ours.id.as_str(), 1).await.unwrap().finish().await;
    let refused = platform.controller.scale(&ann(), copy.as_str(), 1).await;
    assert!(matches!(refused, Err(ControllerError::NotManaged { .. })));
    platform.controller.scale(&ann(), ours.id.as_str(), 0).await.unwrap().finish().await;
    platform.let_time_pass().await;
    assert_eq!(host.really_there().len(), 1, "the copy");
    assert!(elsewhere.really_there().is_empty());
    assert!(!platform.kinds().contains(&"clean-up".to_owned()));
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_container_of_ours_that_somebody_renamed_stays_ours_and_a_copy_of_it_does_not_become_so() {
    let mut platform = Platform::of(&["a"]).await;
    let started = platform.run(small(), 2).await.started;
    let ours = started[0].id.clone();
    let host = platform.host("a").clone();
    let copy = host.outsider_copy(&ours, "copy", None).unwrap();
    host.rename(&ours, "shop").await.unwrap();
    host.rename(&copy, "copy-of-shop").await.unwrap();
    let is_seen = |name: &str| platform.controller.container(name).is_ok_and(|found| found.name == format!("/{name}"));
    assert!(eventually(|| is_seen("shop") && is_seen("copy-of-shop")).await);
    for _ in 0..2 {
        assert!(platform.is_managed(&ours) && !platform.is_managed(&copy));
        assert_eq!(platform.launches().await.len(), 2, "its record stays");
        platform.let_time_pass().await;
    }
    platform.controller.restart(&ann(), "shop", Duration::ZERO).await.unwrap();
    let summary = platform.controller.scale(&ann(), "shop", 3).await.unwrap().finish().await;
    assert_eq!(summary.started.len(), 1, "it is counted");
    platform.controller.destroy(&ann(), "shop").await.unwrap();
    platform.controller.scale(&ann(), started[1].id.as_str(), 0).await.unwrap().finish().await;
    platform.let_time_pass().await;
    let left: Vec<_> = host.really_there().into_iter().map(|found| found.id).collect();
    assert!(left == [copy] && platform.launches().await.is_empty());
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_a_version_without_records_started_is_taken_in_at_first_sight() {
    let mut platform = Platform::of(&["a"]).await;
    let name = platform.controller.cluster().platform().to_owned();
    let host = platform.host("a").clone();
    let request = create_request(&name, "old");
    let id = host.create(&request).await.unwrap().id;
    host.start(&id).await.unwrap();
    platform.until_seen(&id).await;
    assert!(platform.is_managed(&id));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let kept = platform.launches().await;
    assert_eq!((kept[0].state, kept[0].container.as_ref(), &*kept[0].user), (LaunchState::Done, Some(&id), "ann"));
    // From then on nothing else is taken for it, also when it is gone.
    let copy = host.outsider_copy(&id, "copy", None).unwrap();
    platform.let_time_pass().await;
    assert!(platform.is_managed(&id) && !platform.is_managed(&copy));
    platform.controller.destroy(&ann(), id.as_str()).await.unwrap();
    platform.let_time_pass().await;
    assert!(!platform.is_managed(&copy));
    assert_eq!(host.really_there().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_bear_the_labels_of_one_launch_the_one_that_is_called_so_is_taken_in() {
    let mut platform = Platform::of(&["a"]).await;
    let name = platform.controller.cluster().platform().to_owned();
    let host = platform.host("a").clone();
    platform.controller.shared.cluster.shutdown().await;
    let mut request = create_request(&name, "");
    let launch = request.launch.to_string();
    request.name = format!("web-{}", &launch[launch.len() - 8..]);
    let original = host.create(&request).await.unwrap().id;
    host.start(&original).await.unwrap();
    let copies: Vec<_> =
        (0..4).map(|number| host.outsider_copy(&original, &format!("copy-{number}"), None).unwrap()).collect();
    platform.restart().await;
    assert!(platform.is_managed(&original));
    assert!(copies.iter().all(|copy| !platform.is_managed(copy)));
}

#[tokio::test(start_paused = true)]
async fn an_equal_container_of_another_platform_is_never_ours() {
    let mut platform = Platform::of(&["a"]).await;
    let ours = platform.run(small(), 2).await.started;
    let host = platform.host("a").clone();
    let theirs = host.create(&create_request("another", "theirs")).await.unwrap().id;
    platform.until_seen(&theirs).await;
    host.start(&theirs).await.unwrap();
    platform.let_time_pass().await;
    assert!(!platform.is_managed(&theirs));
    let cluster = platform.controller.cluster();
    assert_eq!(cluster.other_platforms(), [("another".to_owned(), 1)].into());
    let of = |name| cluster.containers_of_platform(name);
    assert_eq!((of(cluster.platform()), of("another"), of("anothr")), ((2, 1), (1, 1), (0, 1)));
    for count in [3, 1, 0] {
        let id = platform.controller.containers(false).into_iter().find(|one| one.managed).unwrap().id.clone();
        platform.controller.scale(&ann(), id.as_str(), count).await.unwrap().finish().await;
        assert_eq!(host.really_there().len(), count + 1, "{count} of ours, and theirs");
    }
    assert_eq!(ours.len(), 2);
    assert_eq!(host.really_there()[0].id, theirs);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn another_platform_is_taken_over_by_name() {
    let mut platform = Platform::of(&["a"]).await;
    let ours = platform.run(small(), 1).await.started[0].id.clone();
    let host = platform.host("a").clone();
    let theirs = host.create(&create_request("another", "theirs")).await.unwrap().id;
    host.start(&theirs).await.unwrap();
    let own_name = platform.controller.cluster().platform().to_owned();
    platform.controller.shared.cluster.shutdown().await;
    let taking_over = builder(&platform.hosts, platform.store.clone(), platform.events.clone()).platform("another");
    platform.controller = taking_over.build().await.unwrap();
    platform.until("a", EngineStatus::Up).await;
    assert!(platform.is_managed(&theirs) && platform.is_managed(&ours));
    assert_eq!(platform.controller.cluster().platform(), own_name);
    // It stays so without being said again.
    platform.restart().await;
    assert!(platform.is_managed(&theirs) && platform.is_managed(&ours));
    let summary = platform.controller.scale(&ann(), theirs.as_str(), 1).await.unwrap().finish().await;
    assert_eq!(summary.destroyed, [ours]);
    let wrong = builder(&platform.hosts, platform.store.clone(), platform.events.clone()).platform("a b").build().await;
    assert!(matches!(wrong, Err(ControllerError::Invalid(invalid)) if invalid.field == "platform"));
}

#[tokio::test(start_paused = true)]
async fn the_name_of_a_platform_that_is_nowhere_is_not_kept() {
    let mut platform = Platform::of(&["a"]).await;
    platform.controller.shared.cluster.shutdown().await;
    let mistyped = builder(&platform.hosts, platform.store.clone(), platform.events.clone()).platform("anothr");
    platform.controller = mistyped.build().await.unwrap();
    platform.until("a", EngineStatus::Up).await;
    assert_eq!(platform.controller.cluster().adopted_platforms().collect::<Vec<_>>(), ["anothr"]);
    platform.let_time_pass().await;
    assert_eq!(platform.controller.cluster().adopted_platforms().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_container_of_another_platform_is_changed_by_nobody_and_destroyed_by_who_names_that_platform() {
    let platform = Platform::of(&["a"]).await;
    let host = platform.host("a").clone();
    let theirs = host.create(&create_request("another", "theirs")).await.unwrap().id;
    host.start(&theirs).await.unwrap();
    platform.until_seen(&theirs).await;
    let (controller, id) = (&platform.controller, theirs.as_str());
    for refused in [
        controller.stop(&admin(), id, Duration::ZERO).await,
        controller.start(&admin(), id).await,
        controller.restart(&admin(), id, Duration::ZERO).await,
        controller.destroy(&admin(), id).await,
        controller.destroy_of(&admin(), id, Some("a-third")).await,
    ] {
        let says_why =
            |reason: &str| reason.contains("belongs to the platform another") && reason.contains("--platform");
        assert!(matches!(&refused, Err(ControllerError::Conflict { reason }) if says_why(reason)), "{refused:?}");
    }
    let ours = platform.run(small(), 1).await.started[0].id.clone();
    let refused = controller.destroy_of(&admin(), ours.as_str(), Some("another")).await;
    assert!(matches!(refused, Err(ControllerError::Conflict { .. })), "{refused:?}");
    controller.destroy_of(&admin(), id, Some("another")).await.unwrap();
    assert_eq!(host.really_there().len(), 1);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_lost_goes_on_with_the_name_that_is_given() {
    let mut platform = Platform::of(&["a"]).await;
    let ours = platform.run(small(), 2).await.started;
    let name = platform.controller.cluster().platform().to_owned();
    platform.controller.shared.cluster.shutdown().await;
    platform.store = Arc::new(MemoryStore::new());
    platform.controller = build(&platform.hosts, platform.store.clone(), platform.events.clone()).await;
    platform.add("a").await;
    assert!(!platform.is_managed(&ours[0].id), "not of itself");
    assert_eq!(platform.controller.cluster().other_platforms(), [(name.clone(), 2)].into());
    platform.controller.shared.cluster.shutdown().await;
    platform.store = Arc::new(MemoryStore::new());
    let taking_over = builder(&platform.hosts, platform.store.clone(), platform.events.clone()).platform(&name);
    platform.controller = taking_over.build().await.unwrap();
    platform.add("a").await;
    assert_eq!(platform.controller.cluster().platform(), name);
    assert!(platform.is_managed(&ours[0].id));
    let summary = platform.controller.scale(&ann(), ours[0].id.as_str(), 3).await.unwrap().finish().await;
    assert_eq!(summary.started.len(), 1, "the group is found again");
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_something_that_is_not_known_is_shown_and_left_alone() {
    let mut platform = Platform::of(&["a"]).await;
    let ours = platform.run(small(), 1).await.started[0].clone();
    let host = platform.host("a").clone();
    let replica = host.outsider_copy(&ours.id, "replica", Some("app")).unwrap();
    platform.until_seen(&replica).await;
    platform.let_time_pass().await;
    assert!(!platform.is_managed(&replica));
    let id = replica.as_str();
    let controller = &platform.controller;
    assert!(matches!(controller.scale(&ann(), id, 3).await, Err(ControllerError::Conflict { .. })));
    for refused in [
        controller.stop(&ann(), id, Duration::ZERO).await,
        controller.start(&ann(), id).await,
        controller.restart(&ann(), id, Duration::ZERO).await,
        controller.destroy(&ann(), id).await,
    ] {
        assert!(
            matches!(&refused, Err(ControllerError::Conflict { reason }) if reason.contains("'app'")),
            "{refused:?}"
        );
    }
    controller.scale(&ann(), ours.id.as_str(), 0).await.unwrap().finish().await;
    assert_eq!(host.really_there().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_container_of_an_application_is_ours_and_neither_a_launch_nor_a_member_of_a_group() {
    let mut platform = Platform::of(&["a"]).await;
    // A member of a group with the very same description as what is written on the replica.
    let spec = ContainerSpec::new(web().name);
    let ours = platform.run(spec.clone(), 1).await.started[0].clone();
    let (app, component) = ("shop".parse().unwrap(), "web".parse().unwrap());
    let labels = ReplicaLabels {
        app,
        declared: None,
        component,
        slot: Some(0),
        generation: 1,
        revision: 1,
        fingerprint: String::new(),
        image_id: None,
        run: None,
    };
    let name = platform.controller.cluster().platform().to_owned();
    let request = CreateRequest { spec, replica: Some(labels.clone()), ..create_request(&name, "shop.web.0.1") };
    let host = platform.host("a").clone();
    let made = host.create(&request).await.unwrap().id;
    let request = CreateRequest { name: "shop.web.0.2".into(), launch: LaunchId::new(), ..request };
    let started = host.create(&request).await.unwrap().id;
    host.start(&started).await.unwrap();
    for id in [&made, &started] {
        platform.until_seen(id).await;
    }
    platform.let_time_pass().await;
    for id in [&made, &started] {
        let known = platform.controller.cluster().container(id).unwrap();
        assert!(known.container.managed);
        assert_eq!((known.group, known.other_owner, known.user.as_deref()), (None, None, Some("ann")));
        assert_eq!(known.replica, Some(labels.clone()));
        let scaled = platform.controller.scale(&ann(), id.as_str(), 3).await;
        assert!(matches!(scaled, Err(ControllerError::AppNotFound { .. })), "{scaled:?}");
    }
    let kept: Vec<_> = platform.launches().await.into_iter().map(|kept| kept.container).collect();
    assert_eq!(kept, [Some(ours.id.clone())], "no launch was made of them");
    platform.controller.scale(&ann(), ours.id.as_str(), 0).await.unwrap().finish().await;
    let left: Vec<_> = host.really_there().into_iter().map(|found| found.id).collect();
    assert!(left.len() == 2 && left.contains(&made) && left.contains(&started), "{left:?}");
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn records_of_containers_that_are_gone_are_forgotten() {
    let mut platform = Platform::of(&["a"]).await;
    let started = platform.run(small(), 3).await.started;
    assert_eq!(platform.launches().await.len(), 3);
    platform.controller.destroy(&ann(), started[0].id.as_str()).await.unwrap();
    platform.host("a").outsider_remove(&started[1].id).unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let left = platform.launches().await;
    assert_eq!(left.iter().map(|kept| kept.container.as_ref()).collect::<Vec<_>>(), [Some(&started[2].id)]);
    platform.controller.delete_engine(&ann(), "a", true).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(platform.launches().await.is_empty());
    // And it is ours again where it is seen again.
    platform.add("a").await;
    assert!(platform.is_managed(&started[2].id));
}

//! Images of applications: what nobody has, and what only hosts have.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::apps::{digest, platform, request, web};
use super::*;
use crate::clock::Clock;
use crate::engine::EngineErrorKind;
use crate::model::{ContainerState, ImageDigest, ImageRef};
use crate::wire::app::{AppStatus, ApplyRequest, RolloutOutcome, RunCommandRequest, ScaleRequest};

#[tokio::test(start_paused = true)]
async fn what_no_registry_has_is_said_before_it_is_applied() {
    let platform = platform(&["one"]).await;
    let plan = async |image| platform.controller.plan_app(&ann(), "shop", web(image, 1)).await.unwrap();
    let loaded = plan("web:1").await;
    assert!(loaded.refused.is_empty() && loaded.notes[0].contains("is in no registry"), "{loaded:?}");
    assert!(loaded.images.is_empty());
}

/// Applies what is to be refused for its image, and sees to it that nothing came of it. What the plan and the refusal say.
async fn refused_for_its_image(platform: &Platform, request: ApplyRequest) -> String {
    let controller = &platform.controller;
    let state = || {
        let app = controller.app("shop").ok().map(|app| (app.summary.revision, app.rollout, app.last_rollout));
        (app, platform.images(), platform.events.events().len(), controller.background().tasks().len())
    };
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = state();
    let plan = controller.plan_app(&ann(), "shop", request.clone()).await.unwrap();
    assert!(plan.steps.is_empty() && !plan.changes.is_empty() && plan.is_refused(), "{plan:#?}");
    let planned = ApplyRequest { base: Some(plan.base), images: Some(plan.images), ..request.clone() };
    for request in [request, planned] {
        let refused = controller.apply_app(&ann(), "shop", request).await.unwrap_err();
        let ControllerError::Invalid(invalid) = &refused else { panic!("{refused:?}") };
        assert_eq!((invalid.field.as_str(), invalid.to_string()), ("component.web.image", plan.refused[0].clone()));
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(state(), before);
    plan.refused.into_iter().next().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_is_refused_as_a_whole() {
    let platform = platform(&["one", "two"]).await;
    let controller = &platform.controller;
    let digest = format!("reg.io/missing@{}", digest('a'));
    for _ in 0..2 {
        let why = refused_for_its_image(&platform, web("reg.io/missing:1", 1)).await;
        let told =
            "component.web.image: reg.io/missing:1 is on no host, and in no registry: cannot ask the registry: no such";
        assert!(why.starts_with(told), "{why}");
        // One that is written with its digest, too; and one beside others that there are.
        assert!(refused_for_its_image(&platform, web(&digest, 1)).await.contains(&digest));
        let two = "[component.db]\nimage = 'db:1'\n[component.web]\nimage = 'missing:2'";
        assert!(refused_for_its_image(&platform, request(two)).await.contains("missing:2 is on no host"));
        controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
        platform.settled().await;
    }
    // What runs is not asked for again, but to be looked up anew.
    ["one", "two"].iter().for_each(|name| platform.host(name).set_lacking(&"web:1".parse().unwrap(), true));
    assert!(controller.apply_app(&ann(), "shop", web("web:1", 2)).await.unwrap().changed);
    platform.app_until(|app| app.summary.revision == 2).await;
    let refreshed = ApplyRequest { refresh_images: true, ..web("web:1", 3) };
    let refused = controller.apply_app(&ann(), "shop", refreshed).await;
    assert!(matches!(refused, Err(ControllerError::Invalid(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_say_is_no_reason_to_refuse() {
    let platform = platform(&["one", "two"]).await;
    let controller = &platform.controller;
    let fail = |host: &str, operation, kind| platform.host(host).fail_next(operation, 1000, kind);
    let note = async || {
        let plan = controller.plan_app(&ann(), "shop", web("reg.io/missing:1", 1)).await.unwrap();
        assert!(!plan.is_refused() && plan.refused.iter().all(|why| !why.contains("missing")), "{plan:#?}");
        plan.notes.into_iter().next().unwrap()
    };
    // The registry is away, seen from all hosts or from one.
    for host in ["two", "one"] {
        fail(host, "registry_digest", EngineErrorKind::Failed);
        let note = note().await;
        assert!(note.contains("nobody can say whether there is reg.io/missing:1: cannot registry_digest"), "{note}");
    }
    ["one", "two"].iter().for_each(|name| platform.host(name).fail_next("registry_digest", 0, EngineErrorKind::Failed));
    // A host does not say whether it has it.
    fail("two", "find_image", EngineErrorKind::Unreachable);
    assert!(note().await.contains("nobody can say"));
    for name in ["one", "two"] {
        platform.host(name).set_reachable(false);
        platform.until(name, EngineStatus::Down).await;
    }
    assert!(note().await.contains("no host answers"));
    assert!(controller.apply_app(&ann(), "shop", web("reg.io/missing:1", 1)).await.unwrap().changed);
}

#[tokio::test(start_paused = true)]
async fn what_is_adopted_is_not_refused_for_a_tag_that_is_gone() {
    let mut platform = platform(&["one"]).await;
    let image: crate::model::ImageRef = "reg.io/web:1".parse().unwrap();
    platform.host("one").publish(&image, digest('a'));
    platform.controller.apply_app(&ann(), "shop", web("reg.io/web:1", 1)).await.unwrap();
    platform.settled().await;
    let name = platform.controller.cluster().platform().to_owned();
    platform.controller.shutdown().await;
    platform.store = Arc::new(MemoryStore::new());
    let builder = builder(&platform.hosts, platform.store.clone(), platform.events.clone());
    platform.controller = builder.clock(Clock::with_tokio(Timestamp::now())).platform(name).build().await.unwrap();
    platform.add("one").await;
    platform.host("one").unpublish(&image);
    platform.host("one").set_lacking(&image, true);
    let refused = platform.controller.apply_app(&ann(), "shop", web("reg.io/web:1", 1)).await;
    assert!(matches!(refused, Err(ControllerError::Invalid(_))), "{refused:?}");
    let adopting = ApplyRequest { adopt: true, ..web("reg.io/web:1", 1) };
    let plan = platform.controller.plan_app(&ann(), "shop", adopting.clone()).await.unwrap();
    assert!(plan.refused.is_empty() && plan.steps[0].action.starts_with("adopt"), "{plan:#?}");
    platform.controller.apply_app(&ann(), "shop", adopting).await.unwrap();
    platform.settled().await;
    assert_eq!(platform.images(), [format!("reg.io/web:1@{}", digest('a'))]);
}

fn local() -> ImageRef {
    "local:1".parse().unwrap()
}

impl Platform {
    /// The hosts on which something runs, each with what it was made of.
    fn what_runs(&self) -> Vec<(&str, ImageDigest)> {
        let of_host = |host: &SimulatedEngine| {
            let running = host.really_there().into_iter().filter(|found| found.state == ContainerState::Running);
            running.map(|found| host.image_of(&found.id).unwrap()).collect::<Vec<_>>()
        };
        let all = self.hosts.iter().flat_map(|of| of_host(of.1).into_iter().map(|image| (of.0.as_str(), image)));
        let mut all: Vec<_> = all.collect();
        all.sort();
        all
    }

    fn images_that_run(&self) -> BTreeSet<ImageDigest> {
        self.what_runs().into_iter().map(|(_, image)| image).collect()
    }

    async fn notes(&self, request: ApplyRequest) -> String {
        self.controller.plan_app(&ann(), "shop", request).await.unwrap().notes.join("\n")
    }
}

fn refreshed(replicas: u32) -> ApplyRequest {
    ApplyRequest { refresh_images: true, ..web("local:1", replicas) }
}

#[tokio::test(start_paused = true)]
async fn a_revision_runs_one_image_also_where_its_tag_was_moved_on_a_host() {
    let platform = platform(&["one", "two", "three"]).await;
    let controller = &platform.controller;
    controller.apply_app(&ann(), "shop", web("local:1", 3)).await.unwrap();
    platform.settled().await;
    let declared = platform.images_that_run();
    assert_eq!(declared.len(), 1);
    assert_eq!(
        controller.app_revisions("shop").unwrap()[0].image_ids.values().cloned().collect::<BTreeSet<_>>(),
        declared
    );

    platform.host("two").set_image(&local(), digest('b'));
    let id = platform.host("two").really_there()[0].id.clone();
    platform.host("two").remove(&id).await.unwrap();
    platform.app_until(|app| app.summary.ready == 3 && platform.really_there() == 3).await;
    controller.scale_app(&ann(), "shop", ScaleRequest { component: None, replicas: 4 }).await.unwrap();
    platform.app_until(|app| app.summary.ready == 4).await;
    assert_eq!(platform.images_that_run(), declared);
    assert!(platform.what_runs().iter().all(|(host, _)| *host != "two"), "{:?}", platform.what_runs());
    let command = RunCommandRequest { command: vec!["ls".to_owned()], ..RunCommandRequest::default() };
    assert!(controller.run_app(&ann(), "shop", command).await.is_ok());
    // It is there already, and the plan says what is not as it was.
    assert!(!controller.apply_app(&ann(), "shop", web("local:1", 4)).await.unwrap().changed);
    let told = "component.web: no registry gives local:1, and only one, three have it as it was declared; two has another image \
                under that name: push it to a registry, or load it on the other hosts; --refresh-images takes what was made last \
                under that name";
    assert_eq!(platform.notes(web("local:1", 4)).await, told);

    let plan = controller.plan_app(&ann(), "shop", refreshed(4)).await.unwrap();
    assert_eq!(plan.changes[0].field, "component.web.image_id");
    assert!(
        plan.steps.iter().all(|step| !step.action.starts_with("create") || step.action.contains("on two")),
        "{plan:#?}"
    );
    // Moved once more between plan and apply: what was planned is taken.
    platform.host("three").set_image(&local(), digest('c'));
    let planned = ApplyRequest { images: Some(plan.images), image_ids: plan.image_ids, ..refreshed(4) };
    assert!(controller.apply_app(&ann(), "shop", planned).await.unwrap().changed);
    platform.settled().await;
    assert_eq!(platform.what_runs(), vec![("two", digest('b')); 4]);
    let revisions = controller.app_revisions("shop").unwrap();
    assert_eq!(revisions[0].image_ids.values().collect::<Vec<_>>(), [&digest('b')]);
    assert!(controller.apply_app(&ann(), "shop", refreshed(4)).await.unwrap().changed, "three has the newest");
    platform.settled().await;
    assert!(!controller.apply_app(&ann(), "shop", refreshed(4)).await.unwrap().changed, "and that is there");
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_written_anew_is_what_it_is_by_then() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    for (number, image) in ["local:1", "web:2", "local:1"].into_iter().enumerate() {
        if number == 2 {
            platform.host("one").set_image(&local(), digest('b'));
        }
        controller.apply_app(&ann(), "shop", web(image, 1)).await.unwrap();
        platform.settled().await;
    }
    assert_eq!(platform.images_that_run(), BTreeSet::from([digest('b')]));
    controller.apply_app(&ann(), "shop", web("web:2", 1)).await.unwrap();
    platform.settled().await;
    // Back to a revision whose image no host has any more: what runs goes on.
    let rollback = crate::wire::app::RollbackRequest { to: Some(1), supersede: false };
    controller.rollback_app(&ann(), "shop", rollback).await.unwrap();
    let app = platform.app_until(|app| app.rollout.is_none()).await;
    assert!(
        app.last_rollout.unwrap().why.contains("local:1 is bbbbbbbbbbbb there, and was"),
        "{:?}",
        controller.app("shop")
    );
    assert_eq!(platform.images(), ["web:2"]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_waits_where_its_image_is_another_by_now_and_says_why() {
    let platform = platform(&["one", "two"]).await;
    let controller = &platform.controller;
    let file = || request("[component.web]\nimage = 'local:1'\nreplicas = 'each-host'");
    controller.apply_app(&ann(), "shop", file()).await.unwrap();
    platform.settled().await;
    let declared = platform.images_that_run();
    platform.host("two").set_image(&local(), digest('b'));
    let id = platform.host("two").really_there()[0].id.clone();
    platform.host("two").remove(&id).await.unwrap();
    let says_so = |app: &AppStatus| {
        let told = "only one has it as it was declared; two has another image under that name";
        app.component["web"].replicas.iter().any(|replica| replica.reason.contains(told))
    };
    platform.app_until(says_so).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(platform.images_that_run(), declared);
    assert_eq!(platform.really_there(), 1);
    let plan = controller.plan_app(&ann(), "shop", file()).await.unwrap();
    let waits = plan.steps.iter().find(|step| step.action == "wait web.2").unwrap();
    assert!(waits.cause.contains("two has another image under that name"), "{plan:#?}");
    // Somebody loads the right one there, under its name.
    platform.host("two").set_image(&local(), declared.first().unwrap().clone());
    platform.settled().await;
    assert_eq!((platform.images_that_run(), platform.really_there()), (declared, 2));

    // Nobody has it any more.
    for name in ["one", "two"] {
        platform.host(name).set_image(&local(), digest('c'));
        let id = platform.host(name).really_there()[0].id.clone();
        platform.host(name).remove(&id).await.unwrap();
    }
    platform.app_until(|app| app.summary.ready == 0).await;
    let says_so = |app: &AppStatus| {
        app.component["web"]
            .replicas
            .iter()
            .all(|replica| replica.reason.contains("local:1 is cccccccccccc there, and was"))
    };
    platform.app_until(says_so).await;
    let notes = platform.notes(file()).await;
    assert!(
        notes.contains("neither a registry nor a host has local:1 as it was declared; one, two have another"),
        "{notes}"
    );
    controller.apply_app(&ann(), "shop", ApplyRequest { refresh_images: true, ..file() }).await.unwrap();
    platform.settled().await;
    assert_eq!(platform.images_that_run(), BTreeSet::from([digest('c')]));
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_stopped_for_an_image_whose_tag_was_moved() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    let file = |value: &str| {
        let update = "update = { drain = '1s' }\nvolumes = ['data:/data']";
        request(&format!("[component.db]\nimage = 'local:1'\nenv = {{ A = '{value}' }}\n{update}"))
    };
    controller.apply_app(&ann(), "shop", file("1")).await.unwrap();
    platform.settled().await;
    let started = || platform.host("one").really_there().into_iter().map(|found| found.run.started).collect::<Vec<_>>();
    let (before, declared) = (started(), platform.images_that_run());
    platform.host("one").set_image(&local(), digest('b'));
    controller.apply_app(&ann(), "shop", file("2")).await.unwrap();
    let result = platform.app_until(|app| app.rollout.is_none()).await.last_rollout.unwrap();
    assert_eq!(result.outcome, RolloutOutcome::Stopped, "a volume: it pauses");
    assert!(result.why.contains("could not get its image"), "{}", result.why);
    assert_eq!((started(), platform.images_that_run()), (before, declared));
    let refreshed = ApplyRequest { refresh_images: true, ..file("2") };
    controller.apply_app(&ann(), "shop", refreshed).await.unwrap();
    platform.settled().await;
    assert_eq!(platform.images_that_run(), BTreeSet::from([digest('b')]));
}

#[tokio::test(start_paused = true)]
async fn what_only_hosts_have_and_none_could_name_is_pinned_by_the_next_apply() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    platform.host("one").fail_next("find_image", 1, EngineErrorKind::Unreachable);
    controller.apply_app(&ann(), "shop", web("local:1", 1)).await.unwrap();
    platform.settled().await;
    let change = controller.plan_app(&ann(), "shop", web("local:1", 1)).await.unwrap().changes.remove(0);
    assert_eq!((change.field.as_str(), change.old), ("component.web.image_id", None));
    assert!(controller.apply_app(&ann(), "shop", web("local:1", 1)).await.unwrap().changed);
    platform.settled().await;
    assert!(!controller.apply_app(&ann(), "shop", web("local:1", 1)).await.unwrap().changed);
    // A registry has it by now, and what a registry has is the same for all hosts.
    platform.host("one").publish(&local(), digest('a'));
    platform.host("one").set_lacking(&local(), true);
    assert!(controller.apply_app(&ann(), "shop", web("local:1", 1)).await.unwrap().changed);
    platform.settled().await;
    assert_eq!(platform.images(), [format!("local:1@{}", digest('a'))]);
    assert!(controller.app_revisions("shop").unwrap()[0].image_ids.is_empty());
}

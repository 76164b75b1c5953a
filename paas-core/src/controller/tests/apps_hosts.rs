//! What fails for a host is no verdict on a version, and what only some hosts have runs there.

use super::apps::{platform, request, web};
use super::*;
use crate::engine::EngineErrorKind;
use crate::model::ContainerState;
use crate::wire::app::{ApplyRequest, RolloutOutcome, RolloutResult, RunCommandRequest};

fn with_before(image: &str, more: &str) -> ApplyRequest {
    request(&format!(
        "[component.web]\nimage = '{image}'\nbefore = {{ command = ['migrate'] }}\nupdate = {{ drain = '1s' }}\n{more}"
    ))
}

/// How the rollout ends to a version whose command before cannot be started, when another version runs.
async fn outcome_of(platform: &Platform, image: &str) -> RolloutResult {
    platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    let hosts: Vec<SimulatedEngine> = platform.hosts.values().cloned().collect();
    if image == "web:2" {
        hosts.iter().for_each(|host| host.fail_next("create", 1000, EngineErrorKind::Failed));
    }
    platform.controller.apply_app(&ann(), "shop", with_before(image, "")).await.unwrap();
    platform.app_until(|app| app.rollout.as_ref().is_none_or(|rollout| rollout.reason == "rollback")).await;
    hosts.iter().for_each(|host| host.fail_next("create", 0, EngineErrorKind::Failed));
    let app = platform.app_until(|app| app.rollout.is_none()).await;
    assert_eq!(platform.images(), ["web:1"]);
    app.last_rollout.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_command_before_that_one_host_cannot_start_is_started_on_another() {
    let platform = platform(&["one", "two"]).await;
    platform.host("one").fail_next("create", 1000, EngineErrorKind::Failed);
    platform.controller.apply_app(&ann(), "shop", with_before("web:1", "")).await.unwrap();
    let there = || platform.host("two").really_there().iter().any(|found| found.name.contains("before"));
    assert!(eventually(there).await, "{:#?}", platform.controller.app("shop"));
    assert_eq!(platform.host("one").asked("create").times, 1);
    let reason = platform.controller.app("shop").unwrap().component["web"].replicas[0].reason.clone();
    assert_eq!(reason, "the command of before is to end first");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_down_and_was_not_asked_says_nothing_of_a_command_before() {
    let platform = platform(&["one", "three", "two"]).await;
    platform.host("three").set_reachable(false);
    platform.until("three", EngineStatus::Down).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    platform.host("one").fail_next("create", 1000, EngineErrorKind::Failed);
    platform.controller.apply_app(&ann(), "shop", with_before("web:1", "")).await.unwrap();
    let there = || platform.host("two").really_there().iter().any(|found| found.name.contains("before"));
    assert!(eventually(there).await, "{:#?}", platform.controller.app("shop"));
}

#[tokio::test(start_paused = true)]
async fn a_command_before_that_no_host_starts_stops_the_rollout_and_says_why() {
    let platform = platform(&["one", "two"]).await;
    let result = outcome_of(&platform, "web:2").await;
    assert_eq!(result.outcome, RolloutOutcome::Stopped, "that is no verdict on the version: {}", result.why);
    assert!(result.why.starts_with("the command before web could not be started: cannot create"), "{}", result.why);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_command_before_whose_image_nobody_has_is_a_verdict_on_the_version() {
    let platform = platform(&["one", "two"]).await;
    let result = outcome_of(&platform, "withdrawn:2").await;
    assert_eq!(result.outcome, RolloutOutcome::RolledBack, "{}", result.why);
    assert!(result.why.contains("could not be started") && result.why.contains("withdrawn:2"), "{}", result.why);
}

#[tokio::test(start_paused = true)]
async fn a_command_before_waits_for_room_as_long_as_a_rollout_may_and_says_so() {
    let platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", with_before("web:1", "memory = 4096")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    let app = platform.controller.app("shop").unwrap();
    assert!(app.rollout.is_some(), "{app:#?}");
    let reason = &app.component["web"].replicas[0].reason;
    assert!(reason.starts_with("the command of before could not be started yet"), "{reason}");
    tokio::time::sleep(Duration::from_secs(330)).await;
    let result = platform.controller.app("shop").unwrap().last_rollout.unwrap();
    assert_eq!(result.outcome, RolloutOutcome::Stopped);
    assert!(result.why.contains("could not be started yet"), "{}", result.why);
}

fn where_it_runs(platform: &Platform) -> Vec<&str> {
    let all = platform
        .hosts
        .iter()
        .flat_map(|(host, engine)| engine.really_there().into_iter().map(move |found| (host.as_str(), found.state)));
    let mut hosts: Vec<&str> =
        all.filter(|(_, state)| *state == ContainerState::Running).map(|(host, _)| host).collect();
    hosts.sort();
    hosts
}

#[tokio::test(start_paused = true)]
async fn an_image_that_only_one_host_has_runs_there() {
    let platform = platform(&["one", "two", "three"]).await;
    let image = "local:1".parse().unwrap();
    ["one", "three"].iter().for_each(|name| platform.host(name).set_lacking(&image, true));
    let plan = platform.controller.plan_app(&ann(), "shop", web("local:1", 2)).await.unwrap();
    assert!(plan.notes[0].contains("only two") && plan.notes[0].contains("push it to a registry"), "{plan:#?}");
    platform.controller.apply_app(&ann(), "shop", web("local:1", 2)).await.unwrap();
    let app = platform.settled().await;
    assert_eq!(app.last_rollout.unwrap().outcome, RolloutOutcome::Done);
    assert_eq!(where_it_runs(&platform), ["two", "two"]);
    let command = RunCommandRequest { command: vec!["ls".to_owned()], ..RunCommandRequest::default() };
    assert!(platform.controller.run_app(&ann(), "shop", command).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_only_some_hosts_have_is_said_where_it_is_missing_and_goes_on_when_it_was_loaded() {
    let platform = platform(&["one", "two"]).await;
    let image = "local:1".parse().unwrap();
    platform.host("one").set_lacking(&image, true);
    let file = request("[component.web]\nimage = 'local:1'\nreplicas = 'each-host'");
    platform.controller.apply_app(&ann(), "shop", file).await.unwrap();
    let says_so = |reason: &str| {
        reason.contains(
            "no registry gives local:1, and only two has it: push it to a registry, or load it on the other hosts",
        )
    };
    let told = |app: &crate::wire::app::AppStatus| {
        app.component["web"].replicas.iter().any(|replica| says_so(&replica.reason))
    };
    let app = platform.app_until(told).await;
    assert!(app.rollout.is_some(), "it is no verdict on the version");
    platform.host("one").set_lacking(&image, false);
    platform.settled().await;
    assert_eq!(where_it_runs(&platform), ["one", "two"]);
}

//! What one host cannot do is not final: a network, CPUs, or anything else that it lacks.

use super::*;
use crate::engine::EngineErrorKind;
use crate::model::Cpus;

async fn refusal(platform: &Platform, spec: ContainerSpec) -> String {
    let request = RunRequest { spec, count: 1, pull: false };
    platform.controller.run(&ann(), request).await.unwrap_err().to_string()
}

fn engines(summary: &LaunchSummary) -> Vec<&str> {
    summary.started.iter().map(|container| container.engine.id.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_container_goes_where_its_network_is_even_if_that_was_made_a_moment_ago() {
    let mut platform = Platform::without_engines(&["a", "b", "c"]).await;
    for host in ["a", "b", "c"] {
        platform.host(host).outsider_network("frontend");
        platform.add(host).await;
    }
    platform.host("b").outsider_network("backend");
    let spec = || ContainerSpec { network_mode: "backend".into(), ..web() };
    // Nothing says yet that it is there: the hosts are asked before anybody hears a no.
    for _ in 0..4 {
        assert_eq!(engines(&platform.run(spec(), 1).await), ["b"]);
    }
    let created = platform.host("a").asked("create").times + platform.host("c").asked("create").times;
    assert_eq!(created, 0, "nothing is made where it cannot be");
    let nowhere = refusal(&platform, ContainerSpec { network_mode: "nowhere".into(), ..web() }).await;
    assert_eq!(nowhere, "3 engines: 3 lack network nowhere");
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_not_there_any_more_is_looked_for_elsewhere() {
    let platform = Platform::of(&["a", "b"]).await;
    platform.host("a").outsider_network("backend");
    platform.host("b").outsider_network("other");
    let spec = || ContainerSpec { network_mode: "backend".into(), ..web() };
    assert_eq!(engines(&platform.run(spec(), 1).await), ["a"]);
    platform.host("a").outsider_remove_network("backend");
    platform.host("b").outsider_network("backend");
    assert_eq!(engines(&platform.run(spec(), 1).await), ["b"]);
    assert_eq!(platform.really_there(), 2, "what could not be started was removed");
    // What was made in it is started where it is, or Docker says why not.
    let there = platform.controller.containers(true);
    let lost = there.iter().find(|container| container.engine.id.as_str() == "a").unwrap();
    platform.controller.stop(&ann(), lost.id.as_str(), Duration::ZERO).await.unwrap();
    let error = platform.controller.start(&ann(), lost.id.as_str()).await.unwrap_err().to_string();
    assert!(error.contains("network backend not found"), "{error}");
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn cpus_that_a_host_does_not_have_are_not_asked_of_it() {
    let mut platform = Platform::without_engines(&["small", "big"]).await;
    let one_cpu = SimulatedHost { cpus: Cpus::from_milli(1000), ..SimulatedHost::new("small") };
    platform.hosts.insert("small".into(), SimulatedEngine::new(&one_cpu));
    platform.controller = build(&platform.hosts, platform.store.clone(), platform.events.clone()).await;
    // The operator claims more than its daemon has.
    let claimed = EngineSpec { cpus: Some(Cpus::from_milli(8000)), ..engine_spec("small") };
    platform.controller.add_engine(&ann(), claimed).await.unwrap();
    platform.until("small", EngineStatus::Up).await;
    platform.add("big").await;
    let two = || ContainerSpec { cpus: Some(Cpus::from_milli(2000)), ..web() };
    assert_eq!(engines(&platform.run(two(), 1).await), ["big"]);
    let by_number = || ContainerSpec { cpuset: Some("3".into()), ..web() };
    assert_eq!(engines(&platform.run(by_number(), 1).await), ["big"]);
    let many = refusal(&platform, ContainerSpec { cpuset: Some("0-63".into()), ..web() }).await;
    assert_eq!(many, "2 engines: 1 has 1 CPU and no CPU 63, 1 has 4 CPUs and no CPU 63");
    assert_eq!(platform.host("small").asked("create").times, 0);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_one_host_is_tried_on_every_other_and_asked_of_it_once() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let platform = Platform::of(&names).await;
    for host in &names[..5] {
        platform.host(host).fail_next("create", 100, EngineErrorKind::Unable);
    }
    let spec = ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() };
    let summary = platform.run(spec.clone(), 1).await;
    assert_eq!(engines(&summary), ["f"], "{summary:?}");
    // With many containers, what one found out of a host holds for the others.
    let before: usize = names.iter().map(|host| platform.host(host).asked("create").times).sum();
    let summary = platform.run(spec.clone(), 18).await;
    assert_eq!(engines(&summary), ["f"; 18]);
    let asked = names.iter().map(|host| platform.host(host).asked("create").times).sum::<usize>() - before;
    assert!(asked < 3 * 18, "{asked} questions for 18 containers: one by one it would be more than sixty");
    // Where none can, the last one's words are told.
    platform.host("f").fail_next("create", 100, EngineErrorKind::Unable);
    let summary = platform.run(spec, 1).await;
    assert_eq!((summary.started.len(), summary.failed.len()), (0, 1));
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_a_host_warns_of_is_told_and_kept() {
    let platform = Platform::of(&["a"]).await;
    let warning = "Your kernel does not support memory limit capabilities. Limitation discarded.";
    platform.host("a").warn(warning);
    let summary = platform.run(web(), 1).await;
    let told =
        LaunchWarning { container: summary.started[0].id.clone(), engine: engine_id("a"), warning: warning.to_owned() };
    assert_eq!(summary.warnings, [told]);
    platform.heard().await;
    let events = platform.events.events();
    let event = events.iter().find(|event| event.kind.as_str() == "run-warning").expect("an event");
    assert!(event.message.contains(warning) && event.container.as_ref() == Some(&summary.started[0].id));
}

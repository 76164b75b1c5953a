//! The arithmetic of the view, in any order of observations, reservations and removals.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cluster::apps::ReplicaContainer;
use crate::cluster::probe::Heard;
use crate::engine::{MockDockerEngine, ObjectLabels, Owner, ReplicaLabels, RunState};
use crate::model::{BoundPort, ContainerSpec, Cpus, EngineStatus, MemoryMb, Protocol};
use crate::scheduler::{PlacementRequest, Refusal, Scheduler, Snapshot, Spread};

const TOTAL: Resources = Resources { cpus: Cpus::from_milli(2000), memory: MemoryMb::new(1024) };

fn engine_id(index: usize) -> EngineId {
    format!("e{index}").parse().unwrap()
}

fn handle(id: &EngineId, generation: u64) -> EngineHandle {
    EngineHandle::new(id.clone(), generation, Arc::new(MockDockerEngine::new()), CancellationToken::new())
}

fn view_of(engines: usize) -> View {
    let mut view = View::default();
    for index in 0..engines {
        let id = engine_id(index);
        let spec = EngineSpec::new(id.clone(), format!("sim://view-{index}").parse().unwrap());
        view.add_engine(spec, handle(&id, index as u64), Timestamp::UNIX_EPOCH);
        view.set_info(&id, info(id.as_str()));
        view.set_status(&id, EngineStatus::Up, None, Timestamp::UNIX_EPOCH);
    }
    view
}

fn info(daemon_id: &str) -> EngineInfo {
    EngineInfo {
        daemon_id: daemon_id.to_owned(),
        cpus: TOTAL.cpus,
        memory: TOTAL.memory,
        docker_version: "test".into(),
        images: Vec::new(),
        networks: None,
        volumes: None,
        warnings: Vec::new(),
        time: None,
    }
}

#[test]
fn a_port_of_both_families_is_shown_once_and_held_in_both() {
    let mut view = view_of(1);
    let bound = |ip: &str| BoundPort {
        proto: Protocol::Tcp,
        host_ip: Some(ip.parse().unwrap()),
        host_port: 8000,
        container_port: 80,
    };
    let mut both = found(1, None, ContainerState::Running, None);
    both.ports = vec![bound("0.0.0.0"), bound("::")];
    for ticket in [1, 2] {
        view.observe(&engine_id(0), both.clone(), ticket);
        let shown = &view.container(&container_id(1)).unwrap().container.ports;
        assert_eq!(shown, &[bound("0.0.0.0")]);
        assert_eq!(view.state(&engine_id(0)).unwrap().host_ports.len(), 2);
        view.audit().unwrap();
    }
    // Nobody else gets it on IPv6 alone, and everybody does when only IPv4 is taken.
    let mut rival = request(1);
    rival.host_ports = vec![bound("::").host()];
    assert!(view.place(&Spread::default(), &rival).is_err());
    both.ports.truncate(1);
    view.observe(&engine_id(0), both, 3);
    assert!(view.place(&Spread::default(), &rival).is_ok());
    view.audit().unwrap();
}

fn container_id(number: usize) -> ContainerId {
    format!("{number:064x}").parse().unwrap()
}

fn found(number: usize, launch: Option<LaunchId>, state: ContainerState, port: Option<u16>) -> ObservedContainer {
    let mut spec = ContainerSpec::new("web:1".parse().unwrap());
    spec.bind_ports = port.map(|port| format!(":{port}:80").parse().unwrap()).into_iter().collect();
    let bound = port.filter(|_| state.holds_resources()).map(|host_port| BoundPort {
        proto: Protocol::Tcp,
        host_ip: Some("0.0.0.0".parse().unwrap()),
        host_port,
        container_port: 80,
    });
    ObservedContainer {
        id: container_id(number),
        name: format!("/web-{number}"),
        reserved: spec.reserved(),
        limits_known: true,
        managed: launch.map(|launch| Managed {
            platform: "p".into(),
            launch,
            user: "ann".into(),
            owner: Owner::Run { group: spec.group(), mark: None },
        }),
        spec,
        state,
        ports: bound.into_iter().collect(),
        created: Timestamp::UNIX_EPOCH,
        labels_of_another: None,
        run: RunState::default(),
    }
}

fn request(count: usize) -> PlacementRequest {
    PlacementRequest::new(&ContainerSpec::new("web:1".parse().unwrap()), count)
}

fn reserved(view: &View) -> Resources {
    view.state(&engine_id(0)).unwrap().reserved
}

fn app(name: &str) -> AppName {
    name.parse().unwrap()
}

fn replica_of(number: usize, launch: LaunchId, state: ContainerState) -> ObservedContainer {
    let mut found = found(number, Some(launch), state, None);
    let (app, component) = (app(["shop", "blog"][number % 2]), "web".parse().unwrap());
    let slot = u32::try_from(number).ok();
    let labels = ReplicaLabels {
        app,
        declared: None,
        component,
        slot,
        generation: 1,
        revision: 1,
        fingerprint: String::new(),
        image_id: None,
        run: None,
    };
    found.managed.as_mut().unwrap().owner = Owner::Replica(labels);
    found
}

#[test]
fn a_replica_is_counted_once_and_is_in_no_group() {
    let mut view = view_of(1);
    let (launch, engine) = view.place(&Spread::default(), &request(1)).unwrap().remove(0);
    let one = request(1).resources;
    for (ticket, state) in [(1, ContainerState::Created), (2, ContainerState::Running)] {
        view.observe(&engine, replica_of(1, launch, state), ticket);
        assert_eq!(reserved(&view), one);
        view.audit().unwrap();
    }
    view.commit(launch, &engine, replica_of(1, launch, ContainerState::Running), 3);
    assert_eq!((reserved(&view), view.reservations()), (one, 0));
    let entry = view.container(&container_id(1)).unwrap();
    assert!(entry.container.managed);
    assert_eq!(view.group(&entry.container.image.group()).count(), 0);
    view.observe_gone(&container_id(1), 4);
    assert_eq!(reserved(&view), Resources::ZERO);
    view.audit().unwrap();
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The one container of an application.
fn only_replica(view: &View, of: &str, now: i64) -> ReplicaContainer {
    let mut all = view.replicas(&app(of), at(now));
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn the_containers_of_an_application_are_found_until_they_are_gone() {
    let mut view = view_of(2);
    for number in 1..=4 {
        let engine = engine_id(usize::from(number > 2));
        view.observe(&engine, replica_of(number, LaunchId::new(), ContainerState::Running), 1);
    }
    view.observe(&engine_id(0), found(5, Some(LaunchId::new()), ContainerState::Running, None), 1);
    view.audit().unwrap();
    assert_eq!(view.replica_apps().map(AppName::as_str).collect::<Vec<_>>(), ["blog", "shop"]);
    let names = |view: &View| -> Vec<String> {
        view.replicas(&app("shop"), at(0))
            .into_iter()
            .map(|replica| format!("{} {}", replica.name, replica.engine))
            .collect()
    };
    assert_eq!(names(&view), ["web-2 e0", "web-4 e1"]);
    // One that does not answer keeps what it had, as it was seen.
    view.set_status(&engine_id(1), EngineStatus::Down, None, Timestamp::UNIX_EPOCH);
    let seen = view.replicas(&app("shop"), at(0)).remove(1);
    assert_eq!((seen.state, seen.labels.slot), (ContainerState::Running, Some(4)));
    view.observe_all(&engine_id(0), Vec::new(), 2);
    view.audit().unwrap();
    assert_eq!(names(&view), ["web-4 e1"]);
    view.remove_engine(&engine_id(1));
    view.audit().unwrap();
    assert_eq!(view.replica_apps().count(), 0);
}

#[test]
fn equal_descriptions_of_an_application_are_kept_once() {
    let mut view = view_of(1);
    for number in [2, 4] {
        view.observe(&engine_id(0), replica_of(number, LaunchId::new(), ContainerState::Running), 1);
    }
    let all = view.replicas(&app("shop"), at(0));
    assert!(Arc::ptr_eq(&all[0].spec, &all[1].spec));
}

#[test]
fn ends_of_a_program_are_remembered_for_ten_minutes_and_no_more_than_ten() {
    let mut view = view_of(1);
    let (engine, id, launch) = (engine_id(0), container_id(2), LaunchId::new());
    // Before it was observed at all.
    view.note_exit(&id, at(100), Some(3));
    view.note_exit(&container_id(7), at(100), Some(3));
    view.observe(&engine, replica_of(2, launch, ContainerState::Running), 1);
    assert_eq!(only_replica(&view, "shop", 100).exits, [at(100)]);
    for second in 0..11 {
        view.note_exit(&id, at(200 + second), Some(1));
        let mut again = replica_of(2, launch, ContainerState::Running);
        again.run.restarts = second.unsigned_abs();
        view.observe(&engine, again, 2);
    }
    assert_eq!(only_replica(&view, "shop", 210).exits, (201..=210).map(at).collect::<Vec<_>>());
    assert_eq!(only_replica(&view, "shop", 805).exits, (206..=210).map(at).collect::<Vec<_>>());
    assert_eq!(only_replica(&view, "shop", 900).exits, []);
    // Those of others are nobody's business.
    view.observe(&engine, found(9, Some(LaunchId::new()), ContainerState::Running, None), 3);
    view.note_exit(&container_id(9), at(300), Some(1));
    view.audit().unwrap();
}

#[test]
fn how_a_program_ended_is_known_while_it_runs_again() {
    let mut view = view_of(1);
    let (engine, launch) = (engine_id(0), LaunchId::new());
    let observe = |ticket, state, ended: Option<i64>, exit_code, view: &mut View| {
        let mut found = replica_of(2, launch, state);
        found.run = RunState { started: Some(at(10)), ended: ended.map(at), exit_code, ..RunState::default() };
        view.observe(&engine, found, ticket);
        only_replica(view, "shop", 0).run.exit_code
    };
    assert_eq!(observe(1, ContainerState::Running, None, None, &mut view), None);
    assert_eq!(observe(2, ContainerState::Stopped, Some(20), Some(7), &mut view), Some(7));
    assert_eq!(observe(3, ContainerState::Running, Some(20), None, &mut view), Some(7));
    view.note_exit(&container_id(2), at(30), Some(9));
    assert_eq!(observe(4, ContainerState::Running, Some(30), None, &mut view), Some(9));
    assert_eq!(observe(5, ContainerState::Stopped, Some(40), Some(0), &mut view), Some(0));
}

#[test]
fn what_somebody_stopped_did_not_end_by_itself() {
    let mut view = view_of(1);
    let id = container_id(2);
    view.observe(&engine_id(0), replica_of(2, LaunchId::new(), ContainerState::Running), 1);
    view.note_signal(&id);
    view.note_exit(&id, at(20), Some(137));
    let known = only_replica(&view, "shop", 20);
    assert_eq!((known.exits.len(), known.run.exit_code), (0, Some(137)));
    view.note_exit(&id, at(30), Some(1));
    assert_eq!(only_replica(&view, "shop", 30).exits, [at(30)], "the next time nobody did anything to it");
    // Not of an application, or not known: nobody's business.
    view.note_signal(&container_id(9));
}

#[test]
fn how_a_program_ended_is_known_as_soon_as_it_is_told() {
    let mut view = view_of(1);
    view.observe(&engine_id(0), replica_of(2, LaunchId::new(), ContainerState::Running), 1);
    view.note_exit(&container_id(2), at(30), Some(7));
    // Docker has started it again, and nobody has read it since.
    let known = only_replica(&view, "shop", 30);
    assert_eq!((known.exits.len(), known.run.ended, known.run.exit_code), (1, None, Some(7)));
}

#[test]
fn only_containers_of_applications_cost_what_they_have() {
    let mut view = view_of(1);
    let mut other = found(1, Some(LaunchId::new()), ContainerState::Running, None);
    view.observe(&engine_id(0), other.clone(), 1);
    other.run.restarts = 7;
    let before = Arc::as_ptr(&view.container(&container_id(1)).unwrap().container);
    view.observe(&engine_id(0), other, 2);
    let entry = view.container(&container_id(1)).unwrap();
    assert!(entry.replica.is_none() && Arc::as_ptr(&entry.container) == before, "how it does makes it no other one");
}

#[test]
fn an_engine_is_silent_since_its_last_sign_of_life_and_its_daemon_gone_since_its_last_answer() {
    let mut view = View::default();
    let id = engine_id(0);
    let reach = |view: &View| view.engine("e0").unwrap().reach();
    view.add_engine(EngineSpec::new(id.clone(), "sim://reach".parse().unwrap()), handle(&id, 1), at(1));
    assert_eq!(reach(&view), EngineReach::NotRead { since: at(1) });
    view.note_heard(&id, Heard::Daemon, at(2));
    view.set_status(&id, EngineStatus::Up, None, Timestamp::UNIX_EPOCH);
    assert_eq!(reach(&view), EngineReach::NotRead { since: at(2) }, "nothing of it was read");
    view.observe_all(&id, Vec::new(), 1);
    assert_eq!(reach(&view), EngineReach::Up);
    view.note_unheard(&id, false, at(5));
    view.set_status(&id, EngineStatus::Suspect, None, Timestamp::UNIX_EPOCH);
    assert_eq!(reach(&view), EngineReach::Up);
    view.set_status(&id, EngineStatus::Down, None, Timestamp::UNIX_EPOCH);
    assert_eq!(reach(&view), EngineReach::Silent { since: at(2) });
    view.note_unheard(&id, true, at(6));
    assert_eq!(reach(&view), EngineReach::DaemonGone { since: at(2) });
    view.note_unheard(&id, false, at(9));
    assert_eq!(reach(&view), EngineReach::Silent { since: at(6) }, "it refused then, so it lived");
    view.note_sign_of_life(&id, at(7));
    assert_eq!(reach(&view), EngineReach::Silent { since: at(7) });
    // Asked whether the host is there, and not its daemon.
    view.note_heard(&id, Heard::Host, at(11));
    assert_eq!(reach(&view), EngineReach::DaemonGone { since: at(2) });
    view.set_status(&id, EngineStatus::Up, None, Timestamp::UNIX_EPOCH);
    view.note_heard(&id, Heard::Host, at(12));
    view.set_status(&id, EngineStatus::Down, None, Timestamp::UNIX_EPOCH);
    assert_eq!(reach(&view), EngineReach::DaemonGone { since: at(12) });
    view.set_status(&id, EngineStatus::Duplicate, None, Timestamp::UNIX_EPOCH);
    assert_eq!(reach(&view), EngineReach::NotRead { since: at(12) });
    view.audit().unwrap();
}

#[test]
fn an_engine_that_left_the_registry_is_silent_whether_or_not_it_answers() {
    let mut view = view_of(1);
    let id = engine_id(0);
    view.observe_all(&id, Vec::new(), 1);
    view.note_heard(&id, Heard::Daemon, at(10));
    view.set_absent(&id, true, at(20));
    view.note_heard(&id, Heard::Daemon, at(30));
    let reach = |view: &View| view.engine("e0").unwrap().reach();
    assert_eq!(reach(&view), EngineReach::Silent { since: at(20) });
    view.note_unheard(&id, true, at(31));
    assert_eq!(reach(&view), EngineReach::DaemonGone { since: at(30) }, "an upgrade of Docker looks like that");
    view.set_absent(&id, false, at(40));
    view.note_heard(&id, Heard::Daemon, at(41));
    view.set_status(&id, EngineStatus::Up, None, Timestamp::UNIX_EPOCH);
    assert_eq!(reach(&view), EngineReach::Up);
}

#[test]
fn a_volume_that_was_made_is_there_until_two_readings_do_not_show_it() {
    let mut view = view_of(1);
    let id = engine_id(0);
    let told = |names: &[&str], images: usize| EngineInfo {
        volumes: Some(names.iter().map(|name| ((*name).to_owned(), ObjectLabels::default())).collect()),
        images: vec!["i".to_owned(); images],
        ..info("e0")
    };
    let volumes = |view: &View| {
        view.engine("e0")
            .unwrap()
            .volumes("")
            .map(|(name, _)| name.clone())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    };
    view.set_info(&id, told(&["old"], 0));
    view.note_volume(&id, "new");
    assert_eq!(volumes(&view), ["new", "old"]);
    view.set_info(&id, told(&["old"], 0));
    assert_eq!(volumes(&view), ["new", "old"], "that one may have been asked before it was made");
    view.set_info(&id, told(&["old"], 0));
    assert_eq!(volumes(&view), ["old"], "and that one was asked after that");
    view.note_volume(&id, "other");
    for _ in 0..3 {
        view.set_info(&id, told(&["old", "other"], 1));
    }
    assert_eq!(volumes(&view), ["old", "other"]);
    view.forget_volume(&id, "other");
    assert_eq!(volumes(&view), ["old"]);
    // A host that does not tell says nothing about what was made there.
    view.note_volume(&id, "kept");
    for _ in 0..3 {
        view.set_info(&id, info("e0"));
    }
    assert_eq!(volumes(&view), ["kept"]);
}

#[test]
fn a_launch_is_counted_once_whenever_its_container_is_seen() {
    let mut view = view_of(1);
    let (launch, engine) = view.place(&Spread::default(), &request(1)).unwrap().remove(0);
    let one = request(1).resources;
    assert_eq!(reserved(&view), one);
    view.observe(&engine, found(1, Some(launch), ContainerState::Created, None), 1);
    assert_eq!(reserved(&view), one);
    view.observe(&engine, found(1, Some(launch), ContainerState::Running, None), 2);
    assert_eq!(reserved(&view), one);
    view.commit(launch, &engine, found(1, Some(launch), ContainerState::Running, None), 3);
    assert_eq!((reserved(&view), view.reservations()), (one, 0));
    view.observe(&engine, found(1, Some(launch), ContainerState::Stopped, None), 4);
    assert_eq!(reserved(&view), Resources::ZERO);
    view.audit().unwrap();
}

#[test]
fn a_launch_that_is_told_late_does_not_bring_back_what_ended_meanwhile() {
    let mut view = view_of(1);
    let (launch, engine) = view.place(&Spread::default(), &request(1)).unwrap().remove(0);
    view.observe(&engine, found(1, Some(launch), ContainerState::Stopped, None), 5);
    view.commit(launch, &engine, found(1, Some(launch), ContainerState::Running, None), 4);
    assert_eq!(view.container(&container_id(1)).unwrap().container.state, ContainerState::Stopped);
    assert_eq!((reserved(&view), view.reservations()), (Resources::ZERO, 0));
    view.audit().unwrap();
}

#[test]
fn an_older_answer_does_not_overwrite_a_newer_one() {
    let mut view = view_of(1);
    view.observe(&engine_id(0), found(1, None, ContainerState::Stopped, None), 5);
    view.observe(&engine_id(0), found(1, None, ContainerState::Running, None), 4);
    assert_eq!(view.container(&container_id(1)).unwrap().container.state, ContainerState::Stopped);
}

#[test]
fn a_removed_container_is_not_brought_back_by_an_answer_under_way() {
    let mut view = view_of(1);
    view.observe(&engine_id(0), found(1, None, ContainerState::Running, None), 1);
    view.observe_gone(&container_id(1), 3);
    view.observe(&engine_id(0), found(1, None, ContainerState::Running, None), 2);
    assert!(view.container(&container_id(1)).is_none());
    view.audit().unwrap();
}

#[test]
fn reading_everything_forgets_what_is_not_there_any_more() {
    let mut view = view_of(1);
    for number in 1..=3 {
        view.observe(&engine_id(0), found(number, None, ContainerState::Running, Some(8000)), 1);
    }
    view.observe_all(&engine_id(0), vec![found(2, None, ContainerState::Running, None)], 2);
    assert_eq!(view.containers().count(), 1);
    assert_eq!(view.state(&engine_id(0)).unwrap().host_ports.len(), 0);
    view.audit().unwrap();
}

#[test]
fn one_that_restarts_keeps_its_room_and_its_port_while_it_is_down() {
    let mut view = view_of(1);
    view.observe(&engine_id(0), found(1, None, ContainerState::Running, Some(8000)), 1);
    let launch = view.reserve_start(&Spread::default(), &container_id(1), 1.0).unwrap().unwrap();
    view.observe(&engine_id(0), found(1, None, ContainerState::Stopped, Some(8000)), 2);
    assert_eq!(reserved(&view), request(1).resources);
    let mut rival = request(1);
    rival.host_ports = vec![HostPort { proto: Protocol::Tcp, ip: None, port: 8000 }];
    assert!(view.place(&Spread::default(), &rival).is_err());
    view.observe(&engine_id(0), found(1, None, ContainerState::Running, Some(8000)), 3);
    view.release(launch);
    assert_eq!(reserved(&view), request(1).resources);
    view.audit().unwrap();
}

#[test]
fn a_stopped_one_is_not_started_without_room() {
    let mut view = view_of(1);
    view.observe(&engine_id(0), found(1, None, ContainerState::Stopped, None), 1);
    let all = view.place(&Spread::default(), &request(4)).unwrap();
    assert!(view.reserve_start(&Spread::default(), &container_id(1), 1.0).unwrap().is_err());
    view.release(all[0].0);
    assert!(view.reserve_start(&Spread::default(), &container_id(1), 1.0).unwrap().is_ok());
    view.audit().unwrap();
}

/// Chooses these engines, whatever is asked.
#[derive(Debug)]
struct Always(Vec<EngineId>);

impl Scheduler for Always {
    fn place(&self, _: &Snapshot, _: &PlacementRequest) -> Result<Vec<EngineId>, Refusal> {
        Ok(self.0.clone())
    }
}

#[test]
fn what_a_scheduler_must_not_answer_is_refused_and_reserves_nothing() {
    let mut view = view_of(2);
    let refused = |view: &mut View, chosen: Vec<EngineId>| {
        view.place(&Always(chosen), &request(2)).expect_err("no such answer is taken").to_string()
    };
    assert_eq!(
        refused(&mut view, vec![engine_id(0)]),
        "2 engines: the scheduler was asked for 2 engines, and answered with 1"
    );
    let unknown = refused(&mut view, vec![engine_id(0), engine_id(9)]);
    assert_eq!(unknown, "2 engines: the scheduler answered with engine e9, which is not one of them");
    assert_eq!((reserved(&view), view.reservations()), (Resources::ZERO, 0));
    view.audit().unwrap();
}

#[test]
fn containers_of_an_engine_that_is_down_are_unknown_and_still_counted() {
    let mut view = view_of(1);
    view.observe(&engine_id(0), found(1, None, ContainerState::Running, None), 1);
    view.set_status(&engine_id(0), EngineStatus::Down, Some("gone".into()), Timestamp::UNIX_EPOCH);
    let entry = view.container(&container_id(1)).unwrap();
    assert_eq!(view.shown(entry).state, ContainerState::Unknown);
    assert_eq!(reserved(&view), request(1).resources);
}

#[test]
fn an_engine_goes_with_everything_on_it() {
    let mut view = view_of(2);
    view.observe(&engine_id(0), found(1, Some(LaunchId::new()), ContainerState::Running, None), 1);
    let placed = view.place(&Spread::default(), &request(4)).unwrap();
    assert!(view.remove_engine(&engine_id(0)));
    for (launch, _) in placed {
        view.release(launch);
    }
    assert_eq!((view.containers().count(), view.reservations()), (0, 0));
    view.audit().unwrap();
}

#[test]
fn an_engine_is_known_by_its_daemon() {
    let mut view = view_of(3);
    let [a, b, c] = [0, 1, 2].map(engine_id);
    assert_eq!(view.same_daemon(&a, "e0"), None, "it is not another one than itself");
    assert_eq!(view.same_daemon(&c, "e0"), Some(&a));
    view.set_info(&b, info("e0"));
    assert_eq!((view.same_daemon(&a, "e0"), view.same_daemon(&c, "e1")), (Some(&b), None));
    view.set_status(&a, EngineStatus::Duplicate, None, Timestamp::UNIX_EPOCH);
    assert_eq!(view.same_daemon(&c, "e0"), Some(&b), "what is one twice is not in use");
    view.remove_engine(&b);
    assert_eq!(view.same_daemon(&c, "e0"), None);
    view.audit().unwrap();
}

#[test]
fn a_list_does_not_take_back_what_an_inspection_said_of_the_limits() {
    let mut view = view_of(1);
    let listed = || ObservedContainer { limits_known: false, ..found(1, None, ContainerState::Running, None) };
    let raised = Resources { cpus: Cpus::from_milli(500), memory: MemoryMb::new(512) };
    view.observe(&engine_id(0), listed(), 1);
    assert_eq!(reserved(&view), request(1).resources);
    view.observe(
        &engine_id(0),
        ObservedContainer { reserved: raised, ..found(1, None, ContainerState::Running, None) },
        2,
    );
    view.observe_all(&engine_id(0), vec![listed()], 3);
    assert_eq!(reserved(&view), raised);
    view.observe(
        &engine_id(0),
        ObservedContainer { limits_known: false, ..found(1, None, ContainerState::Stopped, None) },
        4,
    );
    assert_eq!(reserved(&view), Resources::ZERO);
    view.audit().unwrap();
}

#[test]
fn those_of_ours_whose_limits_nobody_read_are_to_be_inspected() {
    let mut view = view_of(1);
    let listed = |number, launch| ObservedContainer {
        limits_known: false,
        ..found(number, launch, ContainerState::Running, None)
    };
    view.observe(&engine_id(0), listed(1, None), 1);
    view.observe(&engine_id(0), listed(2, Some(LaunchId::new())), 1);
    view.observe(&engine_id(0), found(3, Some(LaunchId::new()), ContainerState::Running, None), 1);
    assert_eq!(view.limits_unknown(&engine_id(0)), [container_id(2)]);
}

#[test]
fn a_container_that_two_engines_show_is_the_first_ones_until_that_one_counts_no_more() {
    let mut view = view_of(2);
    let [a, b] = [0, 1].map(engine_id);
    let one = request(1).resources;
    assert!(view.observe(&a, found(1, None, ContainerState::Running, Some(8000)), 1));
    assert!(!view.observe(&b, found(1, None, ContainerState::Running, Some(8000)), 2));
    assert_eq!(view.take_twin(&b), Some((a.clone(), container_id(1))));
    assert_eq!(view.take_twin(&b), None, "once");
    // What the other says of it is nothing.
    view.observe_gone_from(&b, &container_id(1), 3);
    view.observe_all(&b, Vec::new(), 4);
    assert_eq!(view.state(&a).unwrap().reserved, one);
    view.set_status(&a, EngineStatus::Duplicate, None, Timestamp::UNIX_EPOCH);
    assert!(view.observe(&b, found(1, None, ContainerState::Running, Some(8000)), 5));
    assert_eq!((view.state(&a).unwrap().reserved, view.state(&b).unwrap().reserved), (Resources::ZERO, one));
    assert_eq!((view.containers_on(&a), view.containers_on(&b)), (0, 1));
    view.audit().unwrap();
    view.observe(&b, found(1, None, ContainerState::Stopped, None), 6);
    assert_eq!(view.state(&b).unwrap().reserved, Resources::ZERO);
    view.audit().unwrap();
}

#[test]
fn a_launch_whose_container_another_engine_shows_first_is_counted_once() {
    let mut view = view_of(2);
    let (launch, engine) = view.place(&Spread::default(), &request(1)).unwrap().remove(0);
    let other = [0, 1].map(engine_id).into_iter().find(|id| *id != engine).unwrap();
    view.observe(&other, found(1, Some(launch), ContainerState::Running, None), 1);
    assert!(!view.commit(launch, &engine, found(1, Some(launch), ContainerState::Running, None), 2));
    assert_eq!(view.state(&engine).unwrap().reserved, Resources::ZERO);
    assert_eq!(view.state(&other).unwrap().reserved, request(1).resources);
    view.audit().unwrap();
}

#[test]
fn numbers_that_cannot_be_are_counted_again_and_told() {
    let mut view = view_of(1);
    view.observe(&engine_id(0), found(1, None, ContainerState::Running, None), 1);
    view.observe(&engine_id(0), found(2, None, ContainerState::Running, None), 1);
    // As by a fault of ours: less is noted as taken than is.
    view.snapshot.update(&engine_id(0), |state| state.reserved = Resources::ZERO);
    view.observe_gone(&container_id(1), 2);
    assert_eq!(reserved(&view), request(1).resources, "of the one that is left");
    assert!(view.engine("e0").unwrap().warnings[0].contains("counted again"));
}

#[test]
fn a_host_that_says_more_than_can_be_is_shown_with_the_most_there_is() {
    let mut view = view_of(1);
    let huge = EngineInfo { cpus: Cpus::from_milli(u64::MAX), memory: MemoryMb::new(u64::MAX), ..info("e0") };
    view.set_info(&engine_id(0), huge);
    let summary = &view.engine("e0").unwrap().summary;
    assert_eq!((summary.cpus, summary.memory), (Cpus::MAX, MemoryMb::MAX));
    let most = Resources { cpus: Cpus::from_milli(u64::MAX), memory: MemoryMb::new(u64::MAX) };
    for number in 1..=3 {
        let huge = ObservedContainer { reserved: most, ..found(number, None, ContainerState::Running, None) };
        view.observe(&engine_id(0), huge, 1);
    }
    view.observe_all(&engine_id(0), Vec::new(), 2);
    assert_eq!(reserved(&view), Resources::ZERO);
    view.audit().unwrap();
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Place { count: usize, port: Option<u16> },
    Release { which: usize },
    Commit { which: usize },
    Observe { engine: usize, number: usize, launch: Option<usize>, state: ContainerState, port: Option<u16>, late: u64 },
    Gone { number: usize },
    GoneFrom { engine: usize, number: usize },
    ForgetAll { engine: usize },
    Absent { engine: usize, absent: bool },
    ReserveStart { number: usize },
    ReadAll { engine: usize, keep: usize },
    Status { engine: usize, status: EngineStatus },
    IsDaemon { engine: usize, daemon: usize },
    RemoveEngine { engine: usize },
    AddEngine { engine: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let port = || prop::option::weighted(0.3, 8000..8003_u16);
    let state = prop::sample::select(vec![
        ContainerState::Created,
        ContainerState::Running,
        ContainerState::Stopped,
        ContainerState::Restarting,
    ]);
    let status = prop::sample::select(vec![EngineStatus::Up, EngineStatus::Down, EngineStatus::Duplicate]);
    prop_oneof![
        4 => (1..4_usize, port()).prop_map(|(count, port)| Step::Place { count, port }),
        2 => (0..100_usize).prop_map(|which| Step::Release { which }),
        3 => (0..100_usize).prop_map(|which| Step::Commit { which }),
        6 => (0..2_usize, 0..20_usize, prop::option::weighted(0.3, 0..100_usize), state, port(), 0..3_u64)
            .prop_map(|(engine, number, launch, state, port, late)| Step::Observe { engine, number, launch, state, port, late }),
        1 => (0..2_usize, 0..20_usize).prop_map(|(engine, number)| Step::GoneFrom { engine, number }),
        1 => (0..2_usize).prop_map(|engine| Step::ForgetAll { engine }),
        1 => (0..2_usize, any::<bool>()).prop_map(|(engine, absent)| Step::Absent { engine, absent }),
        1 => (0..20_usize).prop_map(|number| Step::Gone { number }),
        2 => (0..20_usize).prop_map(|number| Step::ReserveStart { number }),
        1 => (0..2_usize, 0..20_usize).prop_map(|(engine, keep)| Step::ReadAll { engine, keep }),
        1 => (0..2_usize, status).prop_map(|(engine, status)| Step::Status { engine, status }),
        1 => (0..2_usize, 0..2_usize).prop_map(|(engine, daemon)| Step::IsDaemon { engine, daemon }),
        1 => (0..2_usize).prop_map(|engine| Step::RemoveEngine { engine }),
        2 => (0..2_usize).prop_map(|engine| Step::AddEngine { engine }),
    ]
}

proptest! {
    #[test]
    fn the_numbers_follow_from_the_holds_after_any_history(steps in prop::collection::vec(step(), 1..120)) {
        let mut view = view_of(2);
        let mut open: Vec<(LaunchId, EngineId)> = Vec::new();
        let mut next_number = 1000;
        for (ticket, step) in (10..).zip(steps) {
            match step {
                Step::Place { count, port } => {
                    let mut request = request(count);
                    let ask = |port| HostPort { proto: Protocol::Tcp, ip: None, port };
                    request.host_ports = port.map(ask).into_iter().collect();
                    open.extend(view.place(&Spread::default(), &request).unwrap_or_default());
                }
                Step::Release { which } if !open.is_empty() => {
                    let (launch, _) = open.remove(which % open.len());
                    view.release(launch);
                }
                Step::Commit { which } if !open.is_empty() => {
                    let (launch, engine) = open.remove(which % open.len());
                    next_number += 1;
                    view.commit(launch, &engine, found(next_number, Some(launch), ContainerState::Running, None), ticket);
                }
                // Any container on any engine: the two may be one host.
                Step::Observe { engine, number, launch, state, port, late } => {
                    let launch = launch.filter(|_| !open.is_empty()).map(|which| open[which % open.len()].0);
                    let found = match launch {
                        Some(launch) if number % 3 == 0 => replica_of(number, launch, state),
                        launch => found(number, launch, state, port),
                    };
                    view.observe(&engine_id(engine), found, ticket - late);
                }
                Step::GoneFrom { engine, number } => {
                    view.observe_gone_from(&engine_id(engine), &container_id(number), ticket);
                }
                Step::ForgetAll { engine } => view.forget_all_on(&engine_id(engine)),
                Step::Absent { engine, absent } => view.set_absent(&engine_id(engine), absent, Timestamp::UNIX_EPOCH),
                Step::Gone { number } => view.observe_gone(&container_id(number), ticket),
                Step::ReserveStart { number } => {
                    if let Some(Ok(launch)) = view.reserve_start(&Spread::default(), &container_id(number), 1.0) {
                        open.push((launch, engine_id(number % 2)));
                    }
                }
                Step::ReadAll { engine, keep } => {
                    let kept = found(keep, None, ContainerState::Running, None);
                    view.observe_all(&engine_id(engine), vec![kept], ticket);
                }
                Step::Status { engine, status } => {
                    view.set_status(&engine_id(engine), status, None, Timestamp::UNIX_EPOCH);
                }
                Step::IsDaemon { engine, daemon } => view.set_info(&engine_id(engine), info(&daemon.to_string())),
                Step::RemoveEngine { engine } => {
                    view.remove_engine(&engine_id(engine));
                }
                Step::AddEngine { engine } if view.engine(engine_id(engine).as_str()).is_none() => {
                    let id = engine_id(engine);
                    let spec = EngineSpec::new(id.clone(), format!("sim://view-{engine}").parse().unwrap());
                    view.add_engine(spec, handle(&id, ticket), Timestamp::UNIX_EPOCH);
                    view.set_info(&id, info(id.as_str()));
                    view.set_status(&id, EngineStatus::Up, None, Timestamp::UNIX_EPOCH);
                }
                Step::Release { .. } | Step::Commit { .. } | Step::AddEngine { .. } => {}
            }
            view.audit().map_err(TestCaseError::fail)?;
        }
    }
}

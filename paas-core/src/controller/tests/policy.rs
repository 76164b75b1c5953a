//! What accounts other than admins may ask of a host, however they ask.

use super::*;
use crate::engine::EngineErrorKind;
use crate::model::{Cpus, RequestId};
use crate::registry::Member;

fn admin() -> Actor {
    Actor::admin("root".parse().unwrap())
}

fn field(error: &ControllerError) -> &'static str {
    let ControllerError::NotAllowed { field, reason } = error else { panic!("{error:?}") };
    assert!(reason.contains("setting: --"), "{reason}");
    field
}

async fn refused(platform: &Platform, actor: &Actor, spec: &ContainerSpec) -> Option<&'static str> {
    let request = RunRequest { spec: spec.clone(), count: 1, pull: false };
    let run = platform.controller.run(actor, request.clone()).await.map(drop);
    let once = platform.controller.run_once(actor, request, RequestId::new()).await.map(drop);
    let fields = [run, once].map(|outcome| match outcome {
        Err(ControllerError::Invalid(_) | ControllerError::NoRoom(_)) | Ok(()) => None,
        Err(error) => Some(field(&error)),
    });
    assert_eq!(fields[0], fields[1], "with a key or without");
    fields[0]
}

#[tokio::test(start_paused = true)]
async fn what_opens_a_host_is_for_admins_and_what_they_made_is_not_multiplied_by_others() {
    let platform = Platform::of(&["a"]).await;
    let root = ContainerSpec { volumes: vec!["/:/host".into()], ..web() };
    let host = ContainerSpec { network_mode: "host".into(), ..web() };
    assert_eq!(refused(&platform, &ann(), &root).await, Some("volumes"));
    assert_eq!(refused(&platform, &ann(), &host).await, Some("network_mode"));
    assert_eq!(platform.really_there(), 0);
    let request = RunRequest { spec: root, count: 1, pull: false };
    let made = platform.controller.run(&admin(), request).await.unwrap().finish().await.started;
    let id = made[0].id.as_str();
    let more = platform.controller.scale(&ann(), id, 2).await.map(drop).unwrap_err();
    assert_eq!((field(&more), platform.really_there()), ("volumes", 1));
    // What is there already is for everybody to stop and to start, as before.
    platform.controller.stop(&ann(), id, Duration::ZERO).await.unwrap();
    platform.controller.start(&ann(), id).await.unwrap();
    platform.controller.scale(&admin(), id, 2).await.unwrap().finish().await;
    assert_eq!(platform.controller.scale(&ann(), id, 1).await.unwrap().finish().await.destroyed.len(), 1);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn the_network_of_a_container_is_its_owners() {
    let platform = Platform::of(&["a"]).await;
    let own = platform.run(web(), 1).await.started[0].clone();
    let request = RunRequest { spec: web(), count: 1, pull: false };
    let of_admin = platform.controller.run(&admin(), request).await.unwrap().finish().await.started[0].clone();
    let foreign = platform.host("a").outsider_run_as("db", "db:1".parse().unwrap(), None);
    assert!(eventually(|| platform.controller.cluster().container(&foreign).is_some()).await);
    let beside = |name: &str| ContainerSpec { network_mode: format!("container:{name}"), ..web() };
    for name in [own.id.as_str(), &own.name, own.id.short()] {
        assert_eq!(refused(&platform, &ann(), &beside(name)).await, None, "{name}");
    }
    for name in [of_admin.id.as_str(), &of_admin.name, foreign.as_str(), "db", "/db"] {
        assert_eq!(refused(&platform, &ann(), &beside(name)).await, Some("network_mode"), "{name}");
        assert_eq!(refused(&platform, &admin(), &beside(name)).await, None, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn engines_are_added_and_join_where_the_policy_lets_them() {
    let platform = Platform::without_engines(&["a"]).await;
    let spec = |id: &str, addr: &str| EngineSpec::new(id.parse().unwrap(), addr.parse().unwrap());
    let unix = spec("u", "unix:///nowhere/docker.sock");
    let refused = platform.controller.add_engine(&ann(), unix.clone()).await.unwrap_err();
    assert_eq!(field(&refused), "addr");
    let member = Member {
        agent_run: None,
        id: unix.id.clone(),
        addr: unix.addr.clone(),
        cpus: Cpus::from_milli(1000),
        memory: MemoryMb::new(64),
        labels: Vec::new(),
        daemon_id: "daemon".into(),
        docker_version: "27".into(),
        usage: None,
    };
    let heartbeat = platform.controller.heartbeat(member, uuid::Uuid::new_v4(), Duration::from_secs(5)).await;
    assert_eq!(field(&heartbeat.unwrap_err()), "addr");
    assert!(platform.controller.engines().is_empty());
    // There is nobody, but that is not for the policy to say.
    match platform.controller.add_engine(&admin(), unix).await {
        Ok(_) => {}
        Err(ControllerError::Engine { source, .. }) => assert_eq!(source.kind(), EngineErrorKind::Unreachable),
        Err(error) => panic!("{error}"),
    }
    let settings = Settings { policy: Policy { simulated_engines: false, ..Policy::default() }, ..Settings::default() };
    let strict = Controller::builder().settings(settings).build().await.unwrap();
    for actor in [ann(), admin()] {
        assert_eq!(field(&strict.add_engine(&actor, spec("s", "sim://policy-s")).await.unwrap_err()), "addr");
    }
    strict.add_engine(&Actor::system(), spec("s", "sim://policy-s")).await.unwrap();
    strict.shutdown().await;
}

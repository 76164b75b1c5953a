//! Starting, stopping, restarting and removing on a real host.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use bollard::query_parameters::InspectContainerOptions;
use futures::StreamExt;

use super::{Host, on_real_host, shell, streams, web};
use crate::engine::{ContainerFile, CreateRequest, Docker, DockerEngine, EngineErrorKind, LogOptions};
use crate::model::{BindPort, ContainerId, ContainerSpec, ContainerState};
use crate::testing::docker;

const GRACE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_container_lives_and_dies() {
    on_real_host("a_container_lives_and_dies", async |host| {
        let spec = ContainerSpec { bind_ports: vec!["tcp/::80".parse().unwrap()], ..web() };
        let id = host.create("life", spec).await;
        let state = async || host.engine.inspect(&id).await.unwrap().state;
        assert_eq!(state().await, ContainerState::Created);
        host.engine.stop(&id, GRACE).await.unwrap();
        for _ in 0..2 {
            host.engine.start(&id).await.unwrap();
            assert_eq!(state().await, ContainerState::Running);
        }
        // Docker sometimes chooses another port for IPv6 than for IPv4; then there are two.
        let ports = host.listed(&id).await.unwrap().ports;
        assert!(!ports.is_empty() && ports.iter().all(|port| port.container_port == 80), "{ports:?}");
        host.engine.restart(&id, GRACE).await.unwrap();
        assert_eq!(state().await, ContainerState::Running);
        host.raw.pause_container(id.as_str()).await.unwrap();
        assert_eq!(state().await, ContainerState::Paused);
        assert_eq!(host.listed(&id).await.unwrap().state, ContainerState::Paused);
        host.engine.start(&id).await.unwrap();
        assert_eq!(state().await, ContainerState::Running);
        for _ in 0..2 {
            host.engine.stop(&id, GRACE).await.unwrap();
            assert_eq!(state().await, ContainerState::Stopped);
        }
        let listed = host.listed(&id).await.unwrap();
        assert_eq!((listed.state, listed.ports.len()), (ContainerState::Stopped, 0));
        host.engine.restart(&id, GRACE).await.unwrap();
        host.engine.remove(&id).await.unwrap();
        assert_eq!(host.listed(&id).await, None);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_no_such_container() {
    on_real_host("what_is_not_there_is_no_such_container", async |host| {
        let engine = &host.engine;
        let id: ContainerId = "0123456789abcdef".repeat(4).parse().unwrap();
        let kinds = [
            engine.inspect(&id).await.unwrap_err().kind(),
            engine.start(&id).await.unwrap_err().kind(),
            engine.stop(&id, GRACE).await.unwrap_err().kind(),
            engine.restart(&id, GRACE).await.unwrap_err().kind(),
            engine.remove(&id).await.unwrap_err().kind(),
            engine.logs(&id, &LogOptions::default()).await.err().unwrap().kind(),
        ];
        assert_eq!(kinds, [EngineErrorKind::NoSuchContainer; 6]);
    })
    .await;
}

#[tokio::test]
async fn removed_twice_at_once_is_gone_once() {
    on_real_host("removed_twice_at_once_is_gone_once", async |host| {
        let id = host.run("twice", web()).await;
        let all = futures::future::join_all((0..3).map(|_| host.engine.remove(&id))).await;
        assert!(all.iter().any(Result::is_ok), "{all:?}");
        let other = |err: &&crate::engine::EngineError| err.kind() != EngineErrorKind::NoSuchContainer;
        assert_eq!(all.iter().filter_map(|result| result.as_ref().err()).find(other).map(ToString::to_string), None);
        assert_eq!(host.engine.inspect(&id).await.unwrap_err().kind(), EngineErrorKind::NoSuchContainer);
    })
    .await;
}

#[tokio::test]
async fn a_removed_container_leaves_no_anonymous_volume() {
    on_real_host("a_removed_container_leaves_no_anonymous_volume", async |host| {
        let id = host.create("volume", ContainerSpec { volumes: vec!["/cache".into()], ..web() }).await;
        let raw = host.raw.inspect_container(id.as_str(), None::<InspectContainerOptions>).await.unwrap();
        let volume = raw.mounts.unwrap().remove(0).name.unwrap();
        host.raw.inspect_volume(&volume).await.unwrap();
        host.engine.remove(&id).await.unwrap();
        host.raw.inspect_volume(&volume).await.unwrap_err();
    })
    .await;
}

fn publishing(port: u16) -> ContainerSpec {
    let port = BindPort { host_port: Some(port), ..":1:80".parse().unwrap() };
    ContainerSpec { bind_ports: vec![port], ..web() }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_port_that_a_container_has_is_taken() {
    on_real_host("a_port_that_a_container_has_is_taken", async |host| {
        let port = free_port();
        host.run("first", publishing(port)).await;
        let second = host.create("second", publishing(port)).await;
        let error = host.engine.start(&second).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::PortTaken, "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_port_that_another_program_has_is_taken() {
    on_real_host("a_port_that_another_program_has_is_taken", async |host| {
        if !host.address.to_string().starts_with("unix:") {
            return docker::skip("a_port_that_another_program_has_is_taken", "the host is another machine");
        }
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let id = host.create("late", publishing(listener.local_addr().unwrap().port())).await;
        let error = host.engine.start(&id).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::PortTaken, "{error}");
    })
    .await;
}

async fn ip(host: &Host, id: &ContainerId) -> String {
    let raw = host.raw.inspect_container(id.as_str(), None::<InspectContainerOptions>).await.unwrap();
    raw.network_settings.unwrap().networks.unwrap()["bridge"].ip_address.clone().unwrap()
}

/// The container that takes an address of the default network first keeps it, so the freed one is taken by others until the
/// container that comes back gets another.
async fn restart_with_another_address(host: &Host, id: &ContainerId) {
    let before = ip(host, id).await;
    for attempt in 0..50 {
        host.engine.stop(id, Duration::ZERO).await.unwrap();
        host.run(&format!("squatter-{attempt}"), shell("sleep 600")).await;
        host.engine.start(id).await.unwrap();
        if ip(host, id).await != before {
            return;
        }
    }
    panic!("the container always gets the address {before}");
}

#[tokio::test]
async fn a_link_follows_a_container_that_restarts_with_another_address() {
    on_real_host("a_link_follows_a_container_that_restarts_with_another_address", async |host| {
        let db = host.run("db", web()).await;
        let script = "while :; do cat /etc/hosts; wget -q -O - http://database/; sleep 1; done";
        let request =
            CreateRequest { links: vec![(host.name("db"), "database".into())], ..host.request("web", shell(script)) };
        let web = host.engine.create(&request).await.unwrap().id;
        host.engine.start(&web).await.unwrap();
        let old = format!("{}\tdatabase", ip(host, &db).await);
        let output = streams::wait_for_output(host, &web, &old).await;
        assert!(output.contains(&old), "{output}");

        restart_with_another_address(host, &db).await;
        let new = format!("{}\tdatabase", ip(host, &db).await);
        let output = streams::wait_for_output(host, &web, &new).await;
        let after = output.split_once(&new).expect("the new address is known inside").1.to_owned();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut answers = after.contains(docker::WEB_PAGE);
        while !answers && Instant::now() < deadline {
            let output = streams::wait_for_output(host, &web, &new).await;
            answers = output.split_once(&new).is_some_and(|(_, after)| after.contains(docker::WEB_PAGE));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(answers, "the linked container answers under its new address");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let Some(address) = docker::daemon("docker::conforms").await else { return };
    let image = docker::web_image(&address).await.parse().unwrap();
    crate::testing::engine::conforms(std::sync::Arc::new(Docker::new(&address, None).unwrap()), image).await;
}

/// What is put into a container has its owner, hides nothing of the image, and leaves nothing on the host.
#[tokio::test]
async fn files_have_their_owner_and_go_with_the_container() {
    on_real_host("files_have_their_owner_and_go_with_the_container", async |host| {
        let stat = "for f in /www/web.conf /run/secrets/key; do /bin/busybox stat -c '%a %u:%g' $f; cat $f; done; \
            cat /www/index.html /run/secrets/key";
        // The file system in memory is there before the volume that is in it.
        let spec = ContainerSpec {
            read_only: true,
            user: Some("1000:33".to_owned()),
            tmpfs: vec!["/run".to_owned()],
            volumes: vec!["/www".to_owned(), "/run/secrets".to_owned()],
            ..shell(&format!("{stat}; sleep 3600"))
        };
        let id = host.create("files", spec).await;
        let file = |path: &str, content: &'static str, mode, uid, gid| ContainerFile {
            path: path.to_owned(),
            content: content.into(),
            mode,
            uid,
            gid,
        };
        let files =
            [file("/www/web.conf", "a = 1\n", 0o444, 0, 0), file("/run/secrets/key", "hush\n", 0o400, 1000, 33)];
        host.engine.put_files(&id, &files).await.unwrap();
        host.engine.start(&id).await.unwrap();
        let log = LogOptions { follow: true, ..LogOptions::default() };
        let said = async |lines: usize| {
            let mut text = String::new();
            let mut output = host.engine.logs(&id, &log).await.unwrap();
            while text.lines().count() < lines {
                let chunk = tokio::time::timeout(Duration::from_secs(10), output.next()).await.expect("it goes on");
                text += &String::from_utf8_lossy(&chunk.unwrap().unwrap().bytes);
            }
            text
        };
        let once = "444 0:0\na = 1\n400 1000:33\nhush\nhello\nhush\n";
        assert_eq!(said(6).await, once, "what the image has there is there as well");
        host.engine.restart(&id, GRACE).await.unwrap();
        assert_eq!(said(12).await, once.repeat(2));
        let inspected = host.raw.inspect_container(id.as_str(), None::<InspectContainerOptions>).await.unwrap();
        let volumes: Vec<String> = inspected.mounts.unwrap().into_iter().filter_map(|mount| mount.name).collect();
        assert_eq!(volumes.len(), 2);
        host.engine.remove(&id).await.unwrap();
        for volume in volumes {
            assert!(host.engine.find_volume(&volume).await.unwrap().is_none(), "{volume} is left");
        }
    })
    .await;
}

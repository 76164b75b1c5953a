//! That everything a description says reaches Docker, and comes back.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CommitContainerOptions, CreateContainerOptions, InspectContainerOptions};

use super::{on_real_host, shell, web};
use crate::engine::{CreateRequest, DockerEngine, EngineErrorKind, ObservedContainer};
use crate::model::{ContainerSpec, ContainerState, Cpus, MemoryMb, Resources, RestartPolicy};
use crate::testing::docker::{self, WEB_IMAGE};

#[tokio::test]
async fn every_field_of_a_description_reaches_docker() {
    on_real_host("every_field_of_a_description_reaches_docker", async |host| {
        host.run("db", web()).await;
        let spec = ContainerSpec {
            cpus: Some(Cpus::from_milli(500)),
            cpuset: Some("0".into()),
            memory: Some(MemoryMb::new(20)),
            entrypoint: vec!["/bin/sh".into(), "-c".into()],
            args: vec!["sleep 60".into()],
            environment: BTreeMap::from([("GREETING".into(), "hello = \"world\"".into())]),
            hostname: Some("inside".into()),
            domainname: Some("example.org".into()),
            bind_ports: vec!["tcp/127.0.0.1::80".parse().unwrap(), "udp/::53".parse().unwrap()],
            user_data: Some("some\ndata".into()),
            volumes: vec!["/cache".into(), "/tmp:/host:ro".into()],
            links: BTreeMap::from([(host.name("db"), "database".into())]),
            restart_policy: RestartPolicy::OnFailure { maximum_retry: 3 },
            publish: true,
            ..web()
        };
        let links = vec![(format!("/{}", host.name("db")), "database".into())];
        let request = CreateRequest { links, ..host.request("all", spec.clone()) };
        let id = host.engine.create(&request).await.unwrap().id;
        host.engine.start(&id).await.unwrap();

        let raw = host.raw.inspect_container(id.as_str(), None::<InspectContainerOptions>).await.unwrap();
        let (config, limits) = (raw.config.unwrap(), raw.host_config.unwrap());
        assert_eq!(config.image.as_deref(), Some(WEB_IMAGE));
        assert_eq!((limits.nano_cpus, limits.cpu_shares), (Some(500_000_000), Some(512)));
        assert_eq!(limits.cpuset_cpus.as_deref(), Some("0"));
        assert_eq!(limits.memory, Some(20 << 20));
        // Without swap accounting in the kernel Docker warns and sets no limit on swap.
        assert!(matches!(limits.memory_swap, Some(-1 | 20_971_520)), "{:?}", limits.memory_swap);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c"]);
        assert_eq!(config.cmd.unwrap(), ["sleep 60"]);
        let env = config.env.unwrap();
        assert!(env.contains(&"GREETING=hello = \"world\"".to_owned()), "{env:?}");
        assert!(env.contains(&"PAAS_USER_DATA=some\ndata".to_owned()), "{env:?}");
        assert_eq!(config.hostname.as_deref(), Some("inside"));
        assert_eq!(config.domainname.as_deref(), Some("example.org"));
        assert!(config.volumes.unwrap().contains(&"/cache".to_owned()));
        assert_eq!(limits.binds.unwrap(), ["/tmp:/host:ro"]);
        let (target, alias) = (host.name("db"), host.name("all"));
        assert_eq!(limits.links.unwrap(), [format!("/{target}:/{alias}/database")]);
        let policy = limits.restart_policy.unwrap();
        assert_eq!((policy.name.unwrap().to_string().as_str(), policy.maximum_retry_count), ("on-failure", Some(3)));
        assert_eq!((limits.publish_all_ports, limits.network_mode.as_deref()), (Some(true), Some("bridge")));

        let found = host.engine.inspect(&id).await.unwrap();
        assert_eq!(found.spec, spec);
        assert_eq!(found.name, format!("/{}", request.name));
        assert_eq!(found.reserved, Resources { cpus: Cpus::from_milli(500), memory: MemoryMb::new(20) });
        assert_eq!(found.state, ContainerState::Running);
        let managed = found.managed.as_ref().unwrap();
        assert_eq!((managed.launch, &*managed.user), (request.launch, "somebody"));
        assert!(found.ports.iter().any(|port| port.container_port == 80 && port.host_ip == "127.0.0.1".parse().ok()));
        assert!(found.ports.iter().any(|port| port.container_port == 53 && port.host_port > 0));
        let run = found.run.clone();
        let listed = ObservedContainer { limits_known: true, run, ..host.listed(&id).await.unwrap() };
        assert_eq!(listed, found, "a list shows the same, but for limits and how the program does");
        let linked = format!("/{}", host.name("db"));
        assert!(host.engine.list().await.unwrap().iter().any(|container| container.name == linked));
    })
    .await;
}

#[tokio::test]
async fn a_container_with_defaults_has_a_weight_and_a_memory_limit() {
    on_real_host("a_container_with_defaults_has_a_weight_and_a_memory_limit", async |host| {
        let id = host.create("defaults", ContainerSpec::new(WEB_IMAGE.parse().unwrap())).await;
        let raw = host.raw.inspect_container(id.as_str(), None::<InspectContainerOptions>).await.unwrap();
        let limits = raw.host_config.unwrap();
        assert_eq!((limits.nano_cpus, limits.cpu_shares, limits.memory), (Some(0), Some(102), Some(256 << 20)));
        assert_eq!(host.engine.inspect(&id).await.unwrap().state, ContainerState::Created);
    })
    .await;
}

#[tokio::test]
async fn containers_of_others_are_listed_with_their_limits() {
    on_real_host("containers_of_others_are_listed_with_their_limits", async |host| {
        let foreign = async |name: &str, limits: HostConfig| {
            let options = CreateContainerOptions { name: Some(host.name(name)), ..Default::default() };
            let env = Some(vec!["A=1".to_owned()]);
            let body = ContainerCreateBody {
                image: Some(WEB_IMAGE.to_owned()),
                env,
                host_config: Some(limits),
                ..Default::default()
            };
            host.raw.create_container(Some(options), body).await.unwrap().id.parse().unwrap()
        };
        let limits = HostConfig { cpu_quota: Some(25_000), memory: Some(64 << 20), ..Default::default() };
        let limited = foreign("limited", limits).await;
        let unlimited = foreign("unlimited", HostConfig::default()).await;

        let found = host.listed(&limited).await.unwrap();
        assert_eq!(found.reserved, Resources { cpus: Cpus::from_milli(250), memory: MemoryMb::new(64) });
        assert_eq!(found.spec.name.as_str(), WEB_IMAGE);
        assert_eq!(found.spec.environment["A"], "1");
        assert_eq!(found.managed, None);
        assert_eq!(host.engine.inspect(&limited).await.unwrap(), found);
        let found = host.listed(&unlimited).await.unwrap();
        assert_eq!(
            found.reserved,
            Resources { cpus: Cpus::DEFAULT_RESERVATION, memory: MemoryMb::DEFAULT_RESERVATION }
        );
    })
    .await;
}

#[tokio::test]
async fn what_docker_does_not_take_is_told_apart() {
    on_real_host("what_docker_does_not_take_is_told_apart", async |host| {
        let create = async |name: &str, spec| host.engine.create(&host.request(name, spec)).await;
        let no_image = ContainerSpec::new("paas-core-test-no-such-image:1".parse().unwrap());
        assert_eq!(create("a", no_image).await.unwrap_err().kind(), EngineErrorKind::NoSuchImage);

        create("b", web()).await.unwrap();
        let conflict = create("b", web()).await.unwrap_err();
        assert_eq!(conflict.kind(), EngineErrorKind::Conflict);
        assert!(conflict.detail().contains("already in use") && !conflict.detail().contains('\n'), "{conflict}");

        let too_small = ContainerSpec { memory: Some(MemoryMb::new(1)), ..web() };
        assert_eq!(create("c", too_small).await.unwrap_err().kind(), EngineErrorKind::Unable);

        let no_network = ContainerSpec { network_mode: "paas-core-test-no-such-network".into(), ..web() };
        let error = match create("d", no_network).await {
            Ok(created) => host.engine.start(&created.id).await.unwrap_err(),
            Err(err) => err,
        };
        assert_eq!(error.kind(), EngineErrorKind::Unable, "{error}");

        let no_program = ContainerSpec { args: vec!["/bin/no-such-program".into()], ..web() };
        let id = create("e", no_program).await.unwrap();
        let error = host.engine.start(&id.id).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::NoSuchProgram, "{error}");

        let linked = CreateRequest {
            links: vec![("paas-core-test-no-such-container".into(), "db".into())],
            ..host.request("f", web())
        };
        assert_eq!(host.engine.create(&linked).await.unwrap_err().kind(), EngineErrorKind::Unable);
    })
    .await;
}

#[tokio::test]
async fn the_host_tells_what_it_is() {
    on_real_host("the_host_tells_what_it_is", async |host| {
        let info = host.engine.info().await.unwrap();
        assert!(!info.daemon_id.is_empty() && !info.docker_version.is_empty());
        assert!(info.cpus >= Cpus::from_milli(1000) && info.memory > MemoryMb::new(100), "{info:?}");
        let image = host.raw.inspect_image(WEB_IMAGE).await.unwrap().id.unwrap();
        assert!(info.images.contains(&image));
    })
    .await;
}

#[tokio::test]
async fn what_containers_use_is_measured_between_two_questions() {
    on_real_host("what_containers_use_is_measured_between_two_questions", async |host| {
        host.run("busy", shell("while :; do :; done")).await;
        host.engine.usage().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let usage = host.engine.usage().await.unwrap();
        assert!(usage.cpus > 0.02, "a busy loop uses CPU: {usage:?}");
        assert!(usage.memory > MemoryMb::ZERO);
    })
    .await;
}

#[tokio::test]
async fn links_of_a_network_of_ones_own_reach_docker() {
    use bollard::models::NetworkCreateRequest;
    on_real_host("links_of_a_network_of_ones_own_reach_docker", async |host| {
        let network = host.name("net");
        let options = NetworkCreateRequest { name: network.clone(), ..Default::default() };
        host.raw.create_network(options).await.unwrap();
        let spec = |spec: ContainerSpec| ContainerSpec { network_mode: network.clone(), ..spec };
        host.run("db", spec(web())).await;
        let request = CreateRequest {
            links: vec![(host.name("db"), "database".into())],
            ..host.request("web", spec(shell("wget -q -O - http://database/")))
        };
        let id = host.engine.create(&request).await.unwrap().id;
        host.engine.start(&id).await.unwrap();
        let output = super::streams::wait_for_output(host, &id, docker::WEB_PAGE).await;
        host.clean_up().await;
        host.raw.remove_network(&network).await.unwrap();
        assert!(output.contains(docker::WEB_PAGE), "{output:?}");
    })
    .await;
}

#[tokio::test]
async fn labels_of_others_stay_theirs() {
    on_real_host("labels_of_others_stay_theirs", async |host| {
        let options = CreateContainerOptions { name: Some(host.name("labelled")), ..Default::default() };
        let labels = HashMap::from([("paas.version".to_owned(), "1".to_owned())]);
        let body =
            ContainerCreateBody { image: Some(WEB_IMAGE.to_owned()), labels: Some(labels), ..Default::default() };
        let id = host.raw.create_container(Some(options), body).await.unwrap().id.parse().unwrap();
        assert_eq!(host.listed(&id).await.unwrap().managed, None);
    })
    .await;
}

#[tokio::test]
async fn what_an_image_carries_says_nothing_of_its_containers() {
    on_real_host("what_an_image_carries_says_nothing_of_its_containers", async |host| {
        let original = host.run("original", web()).await;
        let image = format!("{}snap:1", host.prefix);
        let (repo, tag) = image.split_once(':').unwrap();
        let options = CommitContainerOptions {
            container: Some(original.to_string()),
            repo: Some(repo.to_owned()),
            tag: Some(tag.to_owned()),
            ..Default::default()
        };
        host.raw.commit_container(options, bollard::models::ContainerConfig::default()).await.unwrap();
        let copy = |name: &str| {
            let options = CreateContainerOptions { name: Some(host.name(name)), ..Default::default() };
            let body = ContainerCreateBody { image: Some(image.clone()), ..Default::default() };
            async { host.raw.create_container(Some(options), body).await.unwrap().id.parse().unwrap() }
        };
        let other_name = copy("copy").await;
        // With the name of the original, and on an engine that was asked nothing before.
        host.engine.remove(&original).await.unwrap();
        let same_name = copy("original").await;
        let fresh = super::Docker::new(&host.address, None).unwrap();
        for id in [&other_name, &same_name] {
            assert_eq!(host.listed(id).await.unwrap().managed, None);
            assert_eq!(fresh.inspect(id).await.unwrap().managed, None);
        }
        // One that is asked for is ours, whatever its image carries.
        let asked = ContainerSpec { name: image.parse().unwrap(), ..web() };
        let id = host.create("asked", asked.clone()).await;
        let found = host.listed(&id).await.unwrap();
        assert_eq!((found.managed.is_some(), found.spec), (true, asked));
        host.clean_up().await;
        host.raw.remove_image(&image, None::<bollard::query_parameters::RemoveImageOptions>, None).await.unwrap();
    })
    .await;
}

//! How a container can be named: full id, then name, then the first digits of its id.

use super::*;
use crate::engine::LogOptions;
use crate::model::{ContainerId, ContainerState, ContainerType, Invalid};

const GRACE: Duration = Duration::from_secs(1);

/// A container of the platform, and one of somebody else whose name is what the id of the first one begins with.
async fn a_name_like_an_id(platform: &Platform) -> (ContainerId, String, ContainerId) {
    let on_a = ContainerSpec { kind: ContainerType::Host, labels: ["host:a".to_owned()].into(), ..web() };
    let ours = platform.run(on_a, 1).await.started[0].id.clone();
    let name = ours.as_str()[..4].to_owned();
    let named = platform.host("a").outsider_run_as(&name, "db:1".parse().unwrap(), None);
    assert!(eventually(|| platform.controller.cluster().container(&named).is_some()).await);
    (ours, name, named)
}

fn state(platform: &Platform, id: &ContainerId) -> Option<ContainerState> {
    platform.controller.cluster().container(id).map(|known| known.container.state)
}

#[tokio::test(start_paused = true)]
async fn a_name_comes_before_the_beginning_of_another_containers_id() {
    let platform = Platform::of(&["a"]).await;
    let (ours, name, named) = a_name_like_an_id(&platform).await;
    let controller = &platform.controller;
    for reference in [name.clone(), format!("/{name}"), named.to_string(), named.short().to_owned()] {
        assert_eq!(controller.container(&reference).unwrap().id, named, "{reference}");
    }
    assert_eq!(controller.container(&ours.as_str()[..5]).unwrap().id, ours, "five digits are nobody's name");
    controller.stop(&ann(), &name, GRACE).await.unwrap();
    assert_eq!(state(&platform, &named), Some(ContainerState::Stopped));
    controller.start(&ann(), &name).await.unwrap();
    assert_eq!(state(&platform, &named), Some(ContainerState::Running));
    controller.restart(&ann(), &name, GRACE).await.unwrap();
    drop(controller.logs(&name, &LogOptions::default()).await.unwrap());
    let scaled = controller.scale(&ann(), &name, 2).await;
    assert!(matches!(scaled, Err(ControllerError::NotManaged { id }) if id == named), "the one that was named");
    controller.destroy(&ann(), &name).await.unwrap();
    assert_eq!((state(&platform, &named), state(&platform, &ours)), (None, Some(ContainerState::Running)));
    // Nobody has the name any more, so it is the beginning of an id.
    assert_eq!(controller.container(&name).unwrap().id, ours);
}

#[tokio::test(start_paused = true)]
async fn links_and_networks_mean_the_container_of_that_name() {
    let platform = Platform::of(&["a", "b"]).await;
    let (ours, name, named) = a_name_like_an_id(&platform).await;
    let links = [(name.clone(), "peer".to_owned())].into();
    let linked = platform.controller.plan(&ContainerSpec { links, ..web() }).unwrap();
    assert_eq!(linked.links, [(name.clone(), "peer".to_owned())]);
    let beside = ContainerSpec { network_mode: format!("container:{name}"), ..web() };
    assert_eq!(platform.controller.plan(&beside).unwrap().only, Some(engine_id("a")));
    platform.controller.destroy(&ann(), named.as_str()).await.unwrap();
    let links = [(name.clone(), "peer".to_owned())].into();
    let linked = platform.controller.plan(&ContainerSpec { links, ..web() }).unwrap();
    let our_name = platform.controller.container(ours.as_str()).unwrap().name.trim_start_matches('/').to_owned();
    assert_eq!(linked.links, [(our_name, "peer".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn one_name_on_two_engines_is_told_as_a_name_with_the_engines() {
    let platform = Platform::of(&["a", "b"]).await;
    let run = |engine: &str| platform.host(engine).outsider_run_as("nginx", "nginx:1".parse().unwrap(), None);
    let (first, second) = (run("a"), run("b"));
    for id in [&first, &second] {
        assert!(eventually(|| platform.controller.cluster().container(id).is_some()).await);
    }
    for reference in ["nginx", "/nginx"] {
        let error = platform.controller.stop(&ann(), reference, GRACE).await.unwrap_err();
        let ControllerError::ContainerAmbiguous(ambiguity) = &error else { panic!("{error:?}") };
        let ids: Vec<_> = ambiguity.candidates.iter().map(|container| &container.id).collect();
        assert!(ids.len() == 2 && ids.contains(&&first) && ids.contains(&&second));
        let text = error.to_string();
        assert!(text.contains("is the name of 2 containers") && !text.contains("digits"), "{text}");
        for (id, engine) in [(&first, "a"), (&second, "b")] {
            assert!(text.contains(&format!("{} (nginx on engine {engine})", id.short())), "{text}");
        }
    }
    assert_eq!(state(&platform, &first), Some(ContainerState::Running));
    assert_eq!(state(&platform, &second), Some(ContainerState::Running));
    let links = [("nginx".to_owned(), "peer".to_owned())].into();
    let refused = platform.controller.plan(&ContainerSpec { links, ..web() }).unwrap_err();
    let ControllerError::Invalid(Invalid { field, message }) = refused else { panic!("{refused:?}") };
    assert!(field == "links" && message.contains("nginx on engine b"), "{message}");
    platform.controller.stop(&ann(), first.short(), GRACE).await.unwrap();
    assert_eq!(state(&platform, &second), Some(ContainerState::Running));
}

#[tokio::test(start_paused = true)]
async fn of_many_that_fit_some_are_listed_and_it_says_that_there_are_more() {
    let platform = Platform::of(&["a"]).await;
    let ids: Vec<_> = (0..200).map(|_| platform.host("a").outsider_run("db:1".parse().unwrap(), None)).collect();
    assert!(eventually(|| platform.controller.containers(true).len() == ids.len()).await);
    let many = |digit: &String| ids.iter().filter(|id| id.as_str().starts_with(digit.as_str())).count() > 10;
    let digit = (0..16).map(|digit| format!("{digit:x}")).find(many).unwrap();
    let text = platform.controller.container(&digit).unwrap_err().to_string();
    assert!(text.starts_with(&format!("more than 10 containers have an id that starts with '{digit}'")), "{text}");
}

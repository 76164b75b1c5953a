//! Logins to image registries: which one an engine gets for which image.

use super::*;
use crate::model::RegistryLogin;

fn login(server: &str, username: &str) -> RegistryLogin {
    RegistryLogin { server: Some(server.into()), username: username.into(), password: "a-secret".into() }
}

async fn user_for(platform: &Platform, engine: &str, image: &str) -> Option<String> {
    let found = platform.controller.login_for(&engine_id(engine), &image.parse().unwrap()).await.unwrap();
    found.sent().map(|login| login.username)
}

#[tokio::test(start_paused = true)]
async fn a_login_serves_every_engine_and_an_engines_own_comes_first() {
    let mut platform = Platform::without_engines(&["own", "plain"]).await;
    let spec = EngineSpec { registry_login: Some(login("r.local:5000", "own")), ..engine_spec("own") };
    platform.controller.add_engine(&admin(), spec).await.unwrap();
    platform.add("plain").await;
    assert_eq!(user_for(&platform, "plain", "r.local:5000/web").await, None);
    platform.controller.set_registry_login(&ann(), login("r.local:5000", "first")).await.unwrap();
    platform.controller.set_registry_login(&ann(), login("r.local:5000", "platform")).await.unwrap();
    assert_eq!(user_for(&platform, "plain", "r.local:5000/web").await.as_deref(), Some("platform"));
    assert_eq!(user_for(&platform, "own", "r.local:5000/web").await.as_deref(), Some("own"));
    assert_eq!(user_for(&platform, "own", "other.local/web").await, None, "no password goes to another registry");
    assert_eq!(user_for(&platform, "own", "web").await, None);

    platform.restart().await;
    let shown = platform.controller.registry_logins().await.unwrap();
    assert_eq!((shown.len(), shown[0].server.as_str(), shown[0].username.as_str()), (1, "r.local:5000", "platform"));
    platform.controller.delete_registry_login(&ann(), "r.local:5000").await.unwrap();
    assert_eq!(user_for(&platform, "plain", "r.local:5000/web").await, None);
    let unknown = platform.controller.delete_registry_login(&ann(), "r.local:5000").await;
    assert!(matches!(unknown, Err(ControllerError::RegistryLoginNotFound { .. })));
    platform.heard().await;
    let events = platform.events.events();
    assert!(events.iter().all(|event| !event.message.contains("secret")));
    let told: Vec<_> = platform.kinds().into_iter().filter(|kind| kind.ends_with("registry-login")).collect();
    assert_eq!(told, ["set-registry-login", "set-registry-login", "delete-registry-login"]);
}

#[tokio::test(start_paused = true)]
async fn a_host_for_which_no_admin_answers_is_sent_no_login_of_the_platform() {
    let mut platform = Platform::without_engines(&["bobs", "own", "admins"]).await;
    let bob = Actor::user("bob".parse().unwrap());
    let forged = EngineSpec { added_by: None, ..engine_spec("bobs") };
    let shown = platform.controller.add_engine(&bob, forged).await.unwrap();
    assert_eq!(shown.added_by.as_ref().map(ToString::to_string).as_deref(), Some("bob"));
    let own = EngineSpec { registry_login: Some(login("r.local:5000", "own")), ..engine_spec("own") };
    platform.controller.add_engine(&bob, own).await.unwrap();
    platform.add("admins").await;
    platform.controller.set_registry_login(&admin(), login("r.local:5000", "platform")).await.unwrap();
    for _ in 0..2 {
        assert_eq!(user_for(&platform, "bobs", "r.local:5000/web").await, None);
        assert_eq!(
            user_for(&platform, "own", "r.local:5000/web").await.as_deref(),
            Some("own"),
            "what bob gave himself"
        );
        assert_eq!(user_for(&platform, "admins", "r.local:5000/web").await.as_deref(), Some("platform"));
        platform.restart().await;
    }

    // A pull that fails there says why, and one that needs no login works. A container goes where the login is.
    let pull = |image: &str| platform.controller.pull(&bob, image.parse().unwrap(), Some(vec![engine_id("bobs")]));
    platform.host("bobs").fail_next("pull", 1, crate::engine::EngineErrorKind::NoSuchImage);
    let refused = pull("r.local:5000/web").await.unwrap().finish().await;
    let words = &refused.failed[0].error;
    for part in ["login to r.local:5000 is not sent", "which bob added", "an admin adopts it"] {
        assert!(words.contains(part), "{words}");
    }
    assert!(pull("r.local:5000/web").await.unwrap().finish().await.failed.is_empty());
    platform.host("bobs").fail_next("pull", 1, crate::engine::EngineErrorKind::NoSuchImage);
    let words = pull("other.local/web").await.unwrap().finish().await.failed[0].error.clone();
    assert!(!words.contains("login"), "there is none to that registry: {words}");
    for name in ["own", "admins"] {
        platform.controller.set_draining(&bob, name, true).await.unwrap();
    }
    platform.host("bobs").fail_next("pull", 9, crate::engine::EngineErrorKind::NoSuchImage);
    let spec = ContainerSpec::new("r.local:5000/web".parse().unwrap());
    let request = RunRequest { spec, count: 1, pull: true };
    let run = platform.controller.run(&bob, request.clone()).await.unwrap().finish().await;
    assert!(run.failed[0].error.contains("is not sent to this engine"), "{:?}", run.failed);
    platform.controller.set_draining(&bob, "admins", false).await.unwrap();
    let run = platform.controller.run(&bob, request).await.unwrap().finish().await;
    assert_eq!(run.started[0].engine.id, engine_id("admins"));
}

#[tokio::test(start_paused = true)]
async fn an_admin_who_adds_the_very_same_engine_adopts_it() {
    let mut platform = Platform::without_engines(&["bobs"]).await;
    let bob = Actor::user("bob".parse().unwrap());
    platform.controller.add_engine(&bob, engine_spec("bobs")).await.unwrap();
    let ours = platform.run(web(), 1).await.started[0].id.clone();
    platform.controller.set_registry_login(&admin(), login("r.local:5000", "platform")).await.unwrap();
    platform.controller.set_draining(&bob, "bobs", true).await.unwrap();
    let other = EngineSpec { labels: vec!["ssd".into()], ..engine_spec("bobs") };
    for (actor, spec) in [(bob, engine_spec("bobs")), (admin(), other)] {
        let refused = platform.controller.add_engine(&actor, spec).await;
        assert!(matches!(refused, Err(ControllerError::EngineExists { .. })), "{refused:?}");
        assert_eq!(user_for(&platform, "bobs", "r.local:5000/web").await, None);
    }
    let adopted = platform.controller.add_engine(&admin(), engine_spec("bobs")).await.unwrap();
    assert!(adopted.added_by.is_none() && adopted.draining && adopted.health.status == EngineStatus::Up);
    assert!(platform.controller.container(ours.as_str()).unwrap().managed);
    for _ in 0..2 {
        assert_eq!(user_for(&platform, "bobs", "r.local:5000/web").await.as_deref(), Some("platform"));
        platform.restart().await;
    }
    let again = platform.controller.add_engine(&admin(), engine_spec("bobs")).await;
    assert!(matches!(again, Err(ControllerError::EngineExists { .. })), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn every_name_of_docker_s_registry_is_one_registry() {
    let platform = Platform::of(&["a"]).await;
    for server in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
        platform.controller.set_registry_login(&ann(), login(server, "ann")).await.unwrap();
        assert_eq!(platform.controller.registry_logins().await.unwrap()[0].server, "docker.io");
        for image in ["ann/private:1", "docker.io/ann/private:1", "index.docker.io/ann/private:1"] {
            assert_eq!(user_for(&platform, "a", image).await.as_deref(), Some("ann"), "{image}");
        }
        platform.controller.delete_registry_login(&ann(), server).await.unwrap();
        assert!(platform.controller.registry_logins().await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_login_is_refused() {
    let platform = Platform::without_engines(&["a"]).await;
    let wrong = login("https://r.local", "ann");
    let refused = platform.controller.set_registry_login(&ann(), wrong.clone()).await;
    assert!(matches!(refused, Err(ControllerError::Invalid(invalid)) if invalid.field == "server"));
    let spec = EngineSpec { registry_login: Some(wrong), ..engine_spec("a") };
    let refused = platform.controller.add_engine(&ann(), spec).await;
    assert!(matches!(refused, Err(ControllerError::Invalid(invalid)) if invalid.field == "registry_login.server"));
    assert!(platform.controller.registry_logins().await.unwrap().is_empty());
}

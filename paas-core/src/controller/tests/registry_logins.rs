//! Logins to image registries: which one an engine gets for which image.

use super::*;
use crate::model::RegistryLogin;

fn login(server: &str, username: &str) -> RegistryLogin {
    RegistryLogin { server: Some(server.into()), username: username.into(), password: "a-secret".into() }
}

async fn user_for(platform: &Platform, engine: &str, image: &str) -> Option<String> {
    let found = platform.controller.login_for(&engine_id(engine), &image.parse().unwrap()).await.unwrap();
    found.map(|login| login.username)
}

#[tokio::test(start_paused = true)]
async fn a_login_serves_every_engine_and_an_engines_own_comes_first() {
    let mut platform = Platform::without_engines(&["own", "plain"]).await;
    let spec = EngineSpec { registry_login: Some(login("r.local:5000", "own")), ..engine_spec("own") };
    platform.controller.add_engine(&ann(), spec).await.unwrap();
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

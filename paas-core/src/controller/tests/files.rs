//! Files of applications: containers find them when they start, and nobody sends them in vain.

use super::apps::{platform, request};
use super::*;
use crate::engine::{ContainerFile, EngineErrorKind};
use crate::model::ContainerState;
use crate::model::app::SecretValue;
use crate::store::KeyRange;
use crate::store::tables::BLOBS;
use crate::wire::app::{ApplyRequest, ConfigRequest};

/// A component with a secret and a configuration file, of the content that is given.
fn with_files(image: &str, content: &str) -> ApplyRequest {
    request(&format!(
        "[component.web]\nimage = '{image}'\nuser = '1000:33'\nupdate = {{ drain = '1s' }}\n\
         secrets = [{{ name = 'key', file = '/etc/web/key' }}]\n\
         configs = [{{ source = 'web.conf', target = '/etc/web/web.conf', uid = 7, sha256 = '{}' }}]",
        ConfigRequest::sum_of(content.as_bytes())
    ))
}

impl Platform {
    async fn send(&self, content: &str) {
        let sum = ConfigRequest::sum_of(content.as_bytes());
        self.controller.put_blob(&ann(), "shop", &sum, content.into()).await.unwrap();
    }

    async fn set_key(&self, text: &str) {
        let value = SecretValue::new(text).unwrap();
        self.controller.set_secret(&ann(), "shop", "key", value, RollSecret::default()).await.unwrap();
    }

    /// The files of the only container.
    fn found(&self) -> Vec<(String, String)> {
        let host = self.host("one");
        let [container] = &host.really_there()[..] else { return Vec::new() };
        let text = |file: ContainerFile| (file.path, String::from_utf8(file.content.to_vec()).unwrap());
        host.files(&container.id).into_iter().map(text).collect()
    }

    async fn until_found(&self, key: &str, config: &str) {
        let wanted = [("/etc/web/key", key), ("/etc/web/web.conf", config)]
            .map(|(path, text)| (path.to_owned(), text.to_owned()));
        assert!(eventually(|| self.found() == wanted).await, "{:?}", self.found());
        self.settled().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_finds_its_files_when_it_starts_and_others_of_a_new_revision() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    platform.set_key("first").await;
    let missing = controller.apply_app(&ann(), "shop", with_files("web:1", "a = 1")).await.unwrap_err().to_string();
    assert!(missing.contains("component.web.configs./etc/web/web.conf: web.conf was not sent"), "{missing}");
    let wrong = controller.put_blob(&ann(), "shop", &ConfigRequest::sum_of(b"other"), b"a = 1".to_vec()).await;
    assert!(matches!(wrong, Err(ControllerError::Invalid(_))), "{wrong:?}");
    let large = vec![b'x'; ConfigRequest::LARGEST + 1];
    assert!(controller.put_blob(&ann(), "shop", &ConfigRequest::sum_of(&large), large).await.is_err());

    platform.send("a = 1").await;
    controller.apply_app(&ann(), "shop", with_files("web:1", "a = 1")).await.unwrap();
    platform.until_found("first", "a = 1").await;
    let id = platform.host("one").really_there()[0].id.clone();
    let owners: Vec<_> = platform.host("one").files(&id).iter().map(|file| (file.mode, file.uid, file.gid)).collect();
    assert_eq!(owners, [(0o400, 1000, 33), (0o444, 7, 33)]);

    // Another content is another container, and so is another value.
    let plan = controller.plan_app(&ann(), "shop", with_files("web:1", "a = 2")).await.unwrap();
    let [change] = &plan.changes[..] else { panic!("{plan:#?}") };
    assert!(change.new_containers && change.field == "component.web.configs./etc/web/web.conf", "{change:?}");
    assert!(change.new.as_ref().unwrap().starts_with("web.conf ") && change.old != change.new, "{change:?}");
    platform.send("a = 2").await;
    platform.set_key("second").await;
    controller.apply_app(&ann(), "shop", with_files("web:1", "a = 2")).await.unwrap();
    platform.until_found("second", "a = 2").await;
    let diff = controller.app_diff("shop", 1, 2).unwrap();
    let shown = diff.iter().find(|change| change.field == "component.web.secrets./etc/web/key").unwrap();
    assert_eq!(shown.new.as_deref(), Some("secret key 2, mode 0400 of 1000:33"));
    controller.rollback_app(&ann(), "shop", Default::default()).await.unwrap();
    platform.until_found("first", "a = 1").await;
    assert!(controller.delete_secret(&ann(), "shop", "key").await.is_err(), "it is used as a file");
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_container_that_was_made_and_not_started_gets_its_files_before_it_starts() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    platform.set_key("first").await;
    platform.send("a = 1").await;
    controller.apply_app(&ann(), "shop", with_files("web:1", "a = 1")).await.unwrap();
    platform.until_found("first", "a = 1").await;
    // Docker refuses the files: no container of it stays, and none runs without them.
    platform.host("one").fail_next("put_files", 2, EngineErrorKind::Failed);
    let id = platform.host("one").really_there()[0].id.clone();
    platform.host("one").outsider_remove(&id).unwrap();
    let puts = platform.host("one").asked("put_files").times;
    assert!(eventually(|| platform.host("one").asked("put_files").times >= puts + 2).await);
    let runs = |found: &crate::engine::ObservedContainer| found.state == ContainerState::Running;
    assert!(!platform.host("one").really_there().iter().any(runs));
    platform.until_found("first", "a = 1").await;
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_died_between_making_and_starting_has_the_next_one_put_the_files() {
    let mut platform = platform(&["one"]).await;
    platform.set_key("first").await;
    platform.send("a = 1").await;
    platform.controller.apply_app(&ann(), "shop", with_files("web:1", "a = 1")).await.unwrap();
    platform.until_found("first", "a = 1").await;
    // From now on each operation takes so long that the server dies in between.
    platform.host("one").set_latency(Duration::from_millis(500));
    let id = platform.host("one").really_there()[0].id.clone();
    platform.host("one").outsider_remove(&id).unwrap();
    let created = || platform.host("one").really_there().iter().any(|found| found.state == ContainerState::Created);
    assert!(eventually(created).await);
    platform.host("one").set_reachable(false);
    platform.controller.shared.cluster.shutdown().await;
    let there = platform.host("one").really_there();
    assert_eq!((there.len(), there[0].state), (1, ContainerState::Created));
    assert!(platform.found().is_empty(), "it was made, and has no files");
    platform.host("one").set_reachable(true);
    platform.controller = super::apps::start(&platform).await;
    platform.until_found("first", "a = 1").await;
    let runs = || platform.host("one").really_there().iter().all(|found| found.state == ContainerState::Running);
    assert!(eventually(runs).await);
}

#[tokio::test(start_paused = true)]
async fn files_that_nothing_uses_are_forgotten_and_those_of_revisions_are_not() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    platform.set_key("first").await;
    for content in ["a = 1", "never applied"] {
        platform.send(content).await;
    }
    controller.apply_app(&ann(), "shop", with_files("web:1", "a = 1")).await.unwrap();
    platform.until_found("first", "a = 1").await;
    let kept = async || platform.store.list(BLOBS, &KeyRange::all()).await.unwrap().len();
    assert_eq!(kept().await, 2);
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    assert_eq!(kept().await, 1);
    controller.destroy_app(&ann(), "shop", false).await.unwrap();
    assert!(eventually(|| controller.app("shop").is_err()).await);
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    assert_eq!(kept().await, 0);
}

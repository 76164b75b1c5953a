//! Containers that no record names.

use jiff::Timestamp;

use super::apps::{platform, start, web};
use super::*;
use crate::clock::Clock;
use crate::model::{ContainerId, ImageDigest};
use crate::wire::app::ApplyRequest;

impl Platform {
    /// A server with an empty store, and with the containers of the one before.
    async fn lose_store(&mut self) {
        let name = self.controller.cluster().platform().to_owned();
        self.controller.shutdown().await;
        self.store = Arc::new(MemoryStore::new());
        let clock = Clock::with_tokio(Timestamp::now());
        let builder = builder(&self.hosts, self.store.clone(), self.events.clone());
        self.controller = builder.clock(clock).platform(name).build().await.unwrap();
        self.add("one").await;
    }

    fn ids_there(&self) -> std::collections::BTreeSet<ContainerId> {
        self.host("one").really_there().into_iter().map(|found| found.id).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_runs_and_no_record_names_is_not_doubled_unasked() {
    let mut platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 2)).await.unwrap();
    platform.settled().await;
    platform.lose_store().await;
    let controller = &platform.controller;
    let plan = controller.plan_app(&ann(), "shop", web("web:1", 2)).await.unwrap();
    let sentence = "web.1.1 on one, web.2.1 on one: running, and named by no record";
    assert!(plan.refused.iter().any(|refused| refused.starts_with(sentence)), "{plan:#?}");
    let adopting = |image| ApplyRequest { adopt: true, ..web(image, 2) };
    for refused in [web("web:1", 2), adopting("web:2")] {
        let error = controller.apply_app(&ann(), "shop", refused).await.unwrap_err();
        assert!(error.to_string().contains("--beside-orphans"), "{error}");
    }
    assert!(controller.app("shop").is_err(), "nothing was declared");
    let plan = controller.plan_app(&ann(), "shop", adopting("web:1")).await.unwrap();
    assert!(plan.refused.is_empty(), "{plan:#?}");
    let beside = ApplyRequest { beside_orphans: true, ..web("web:1", 2) };
    controller.apply_app(&ann(), "shop", beside).await.unwrap();
    platform.settled().await;
    assert_eq!(platform.really_there(), 4);
}

fn digest(of: char) -> ImageDigest {
    format!("sha256:{}", of.to_string().repeat(64)).parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_adopted_also_where_its_tag_points_elsewhere_by_now() {
    let mut platform = platform(&["one"]).await;
    let image = "reg.io/web:1".parse().unwrap();
    platform.host("one").publish(&image, digest('a'));
    platform.controller.apply_app(&ann(), "shop", web("reg.io/web:1", 2)).await.unwrap();
    platform.settled().await;
    let before = platform.ids_there();
    platform.lose_store().await;
    platform.host("one").publish(&image, digest('b'));
    let controller = &platform.controller;
    let adopting = |refresh_images| ApplyRequest { adopt: true, refresh_images, ..web("reg.io/web:1", 2) };
    let plan = controller.plan_app(&ann(), "shop", adopting(false)).await.unwrap();
    let note = format!("component.web: what runs is reg.io/web:1@{}, which is adopted", digest('a'));
    assert!(plan.notes.iter().any(|told| told.starts_with(&note)), "{plan:#?}");
    let refreshed = controller.plan_app(&ann(), "shop", adopting(true)).await.unwrap();
    assert!(refreshed.refused.iter().any(|refused| refused.contains("not as the file says")), "{refreshed:#?}");
    let planned = ApplyRequest { images: Some(plan.images), ..adopting(false) };
    controller.apply_app(&ann(), "shop", planned).await.unwrap();
    platform.settled().await;
    assert_eq!(platform.ids_there(), before);
    let revisions = controller.app_revisions("shop").unwrap();
    assert_eq!(revisions[0].digests.values().collect::<Vec<_>>(), [&digest('a')]);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_runs_of_an_image_that_no_registry_has_is_adopted_also_where_its_tag_was_moved() {
    let mut platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 2)).await.unwrap();
    platform.settled().await;
    let (before, declared) = (platform.ids_there(), platform.controller.app_revisions("shop").unwrap());
    platform.lose_store().await;
    platform.host("one").set_image(&"web:1".parse().unwrap(), digest('b'));
    let controller = &platform.controller;
    let adopting = || ApplyRequest { adopt: true, ..web("web:1", 2) };
    let plan = controller.plan_app(&ann(), "shop", adopting()).await.unwrap();
    let note = plan.notes.iter().find(|note| note.contains("which is adopted; web:1 is another image by now"));
    assert!(note.is_some() && plan.steps[0].action.starts_with("adopt"), "{plan:#?}");
    controller.apply_app(&ann(), "shop", adopting()).await.unwrap();
    platform.settled().await;
    assert_eq!(platform.ids_there(), before);
    assert_eq!(controller.app_revisions("shop").unwrap()[0].image_ids, declared[0].image_ids);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_nobody_could_look_up_is_pinned_by_the_next_apply() {
    let platform = platform(&["one"]).await;
    let controller = &platform.controller;
    controller.apply_app(&ann(), "shop", web("reg.io/web:1", 1)).await.unwrap();
    platform.settled().await;
    assert!(!controller.apply_app(&ann(), "shop", web("reg.io/web:1", 1)).await.unwrap().changed);
    platform.host("one").publish(&"reg.io/web:1".parse().unwrap(), digest('a'));
    let plan = controller.plan_app(&ann(), "shop", web("reg.io/web:1", 1)).await.unwrap();
    let change = &plan.changes[0];
    assert_eq!((change.field.as_str(), change.old.as_ref()), ("component.web.digest", None));
    assert!(controller.apply_app(&ann(), "shop", web("reg.io/web:1", 1)).await.unwrap().changed);
    platform.settled().await;
    assert_eq!(platform.images(), [format!("reg.io/web:1@{}", digest('a'))]);
}

#[tokio::test(start_paused = true)]
async fn a_store_of_yesterday_numbers_no_revision_as_one_that_something_runs_of() {
    let mut platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    let yesterday: Arc<dyn Store> = Arc::new(MemoryStore::new());
    crate::store::transfer::copy(&*platform.store, &*yesterday, &mut |_, _| {}).await.unwrap();
    platform.controller.apply_app(&ann(), "shop", web("web:2", 1)).await.unwrap();
    platform.settled().await;
    platform.controller.shutdown().await;
    platform.store = yesterday;
    platform.controller = start(&platform).await;
    platform.until("one", EngineStatus::Up).await;
    platform.controller.resume_reconciling(&ann()).await.unwrap();
    let file = ApplyRequest { beside_orphans: true, ..web("web:3", 1) };
    let applied = platform.controller.apply_app(&ann(), "shop", file).await.unwrap();
    assert_eq!(applied.revision, 3);
}

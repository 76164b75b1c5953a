//! What containers wrote last that were removed.

use futures::{StreamExt, TryStreamExt};

use super::apps::{platform, request, web};
use super::*;
use crate::engine::EngineErrorKind;
use crate::model::EventKind;
use crate::store::{KeyRange, tables};
use crate::wire::app::{RolloutOutcome, ScaleRequest};

impl Platform {
    /// What is kept of the application, by container.
    async fn kept(&self) -> Vec<(String, String)> {
        let kept = self.controller.previous_output("shop", None).unwrap();
        let kept: Vec<PreviousOutput> = kept.try_collect().await.unwrap();
        kept.into_iter().map(|kept| (kept.container, kept.text)).collect()
    }

    async fn kept_in_store(&self) -> usize {
        self.store.list(tables::OUTPUTS, &KeyRange::all()).await.unwrap().len()
    }

    /// Rolls out another version, and waits until the old containers are gone.
    async fn roll(&self, image: &str, replicas: u32) {
        self.controller.apply_app(&ann(), "shop", web(image, replicas)).await.unwrap();
        self.settled().await;
        assert!(eventually(|| self.really_there() == replicas as usize).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_replaced_shows_what_it_wrote_last_for_seven_days() {
    let platform = platform(&["one"]).await;
    platform.roll("web:1", 2).await;
    assert!(platform.kept().await.is_empty(), "nothing was removed");
    platform.roll("web:2", 2).await;
    let kept = platform.kept().await;
    let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["web.1.1", "web.2.1"]);
    assert!(kept.iter().all(|(_, text)| !text.is_empty()), "{kept:?}");
    let other = "db".parse().unwrap();
    let of_other: Vec<_> = platform.controller.previous_output("shop", Some(&other)).unwrap().collect().await;
    assert!(of_other.is_empty());
    // Seven days later.
    for mut document in platform.store.list(tables::OUTPUTS, &KeyRange::all()).await.unwrap() {
        let removed: jiff::Timestamp = serde_json::from_value(document.body["removed"].clone()).unwrap();
        document.body["removed"] = serde_json::json!(removed - jiff::SignedDuration::from_hours(7 * 24));
        platform.store.replace(tables::OUTPUTS, &document.key, document.version, document.body).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(platform.kept().await.is_empty());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(platform.kept_in_store().await, 0);
}

#[tokio::test(start_paused = true)]
async fn of_each_slot_the_last_three_are_kept_and_they_go_with_the_application() {
    let platform = platform(&["one"]).await;
    for number in 1..=6 {
        platform.roll(&format!("web:{number}"), 1).await;
    }
    let names: Vec<String> = platform.kept().await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["web.1.3", "web.1.4", "web.1.5"]);
    platform.controller.destroy_app(&ann(), "shop", false).await.unwrap();
    assert!(eventually(|| platform.controller.app("shop").is_err()).await);
    assert_eq!(platform.kept_in_store().await, 0);
    assert!(platform.controller.previous_output("shop", None).is_err());
}

#[tokio::test(start_paused = true)]
async fn output_that_cannot_be_read_holds_up_no_removal() {
    let platform = platform(&["one"]).await;
    platform.roll("web:1", 1).await;
    platform.host("one").fail_next("logs", 1, EngineErrorKind::Failed);
    platform.roll("web:2", 1).await;
    platform.host("one").set_output_hanging(true);
    let begun = tokio::time::Instant::now();
    platform.roll("web:3", 1).await;
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(platform.kept().await.is_empty());
    platform.host("one").set_output_hanging(false);
    // One whose removal fails once has its output once.
    platform.host("one").fail_next("remove", 1, EngineErrorKind::Failed);
    platform.roll("web:4", 1).await;
    let names: Vec<String> = platform.kept().await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["web.1.3"]);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_command_before_leaves_what_it_wrote() {
    let platform = platform(&["one"]).await;
    let file = |image: &str| {
        let before = "before = { command = ['migrate'] }";
        request(&format!("[component.web]\nimage = '{image}'\n{before}\nupdate = {{ drain = '1s' }}"))
    };
    for (number, image) in ["web:1", "web:2"].into_iter().enumerate() {
        platform.controller.apply_app(&ann(), "shop", file(image)).await.unwrap();
        let name = format!("/shop.web.before.r{}", number + 1);
        let command = || platform.host("one").really_there().into_iter().find(|found| found.name == name);
        assert!(eventually(|| command().is_some()).await);
        platform.host("one").outsider_end(&command().unwrap().id, 0).unwrap();
        platform.settled().await;
    }
    let is_kept = async || platform.kept().await.iter().any(|(name, text)| name == "web.before.r1" && !text.is_empty());
    for _ in 0..100 {
        if is_kept().await {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(is_kept().await, "{:?}", platform.kept().await);
    let events = platform.controller.events(100).await.unwrap();
    assert!(events.iter().any(|event| event.kind == EventKind::Replica));
}

#[tokio::test(start_paused = true)]
async fn output_of_a_component_that_there_is_not_is_refused() {
    let platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    let of = |component: &str| platform.controller.app_containers("shop", Some(&component.parse().unwrap()));
    assert_eq!(of("web").unwrap().len(), 1);
    assert!(matches!(of("wep"), Err(ControllerError::Invalid(_))));
}

#[tokio::test(start_paused = true)]
async fn beyond_what_all_output_may_take_the_oldest_goes() {
    let platform = platform(&["one"]).await;
    for number in 1..=4 {
        platform.roll(&format!("web:{number}"), 1).await;
    }
    let names = async || platform.kept().await.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names().await, ["web.1.1", "web.1.2", "web.1.3"]);
    let apps = &platform.controller.shared.apps;
    apps.forget_old_output(1 << 20).await.unwrap();
    assert_eq!(names().await.len(), 3);
    // Each is a few hundred bytes.
    apps.forget_old_output(1400).await.unwrap();
    assert_eq!(names().await, ["web.1.2", "web.1.3"]);
}

#[tokio::test(start_paused = true)]
async fn output_that_does_not_come_keeps_nobody_waiting_who_changes_the_application() {
    let platform = platform(&["one"]).await;
    platform.roll("web:1", 1).await;
    platform.host("one").set_output_hanging(true);
    let file = request("[component.web]\nimage = 'web:2'\nbefore = { command = ['migrate'] }");
    platform.controller.apply_app(&ann(), "shop", file).await.unwrap();
    let command = || platform.host("one").really_there().into_iter().find(|found| found.name == "/shop.web.before.r2");
    assert!(eventually(|| command().is_some()).await);
    platform.host("one").outsider_end(&command().unwrap().id, 1).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = tokio::time::Instant::now();
    let scaled = ScaleRequest { component: None, replicas: 2 };
    platform.controller.scale_app(&ann(), "shop", scaled).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let app = platform.app_until(|app| app.rollout.is_none()).await;
    let result = app.last_rollout.unwrap();
    assert_eq!(
        (result.outcome, result.why.as_str()),
        (RolloutOutcome::RolledBack, "the command before web ended with 1")
    );
}

//! Commands that are run for applications.

use futures::StreamExt;

use super::apps::{platform, web};
use super::*;
use crate::engine::{EngineErrorKind, ExecChunk};
use crate::model::EventKind;
use crate::wire::app::ExecRequest;

fn exec(command: &[&str], slot: Option<u32>) -> ExecRequest {
    ExecRequest { component: None, slot, command: command.iter().map(|&part| part.to_owned()).collect() }
}

/// Everything that comes of a command: what it wrote, and its status where it ended.
async fn run(platform: &Platform, request: ExecRequest) -> (String, Option<i64>) {
    let mut chunks = platform.controller.exec_app(&ann(), "shop", request).await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = chunks.next().await {
        match chunk.unwrap() {
            ExecChunk::Output(chunk) => text.push_str(&String::from_utf8_lossy(&chunk.bytes)),
            ExecChunk::Ended(status) => return (text, Some(status)),
        }
    }
    (text, None)
}

#[tokio::test(start_paused = true)]
async fn a_command_runs_in_a_replica_and_its_event_says_who_and_which_program() {
    let platform = platform(&["one", "two"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 2)).await.unwrap();
    platform.settled().await;
    assert_eq!(run(&platform, exec(&["echo", "a password"], None)).await, ("a password\n".to_owned(), Some(0)));
    assert_eq!(run(&platform, exec(&["false"], Some(2))).await, (String::new(), Some(1)));
    let events = platform.controller.events(10).await.unwrap();
    let said = |event: &&Event| event.kind == EventKind::ExecApp;
    let events: Vec<&Event> = events.iter().filter(said).collect();
    assert_eq!(events[0].message, "shop: runs \"false\" in web.2");
    assert_eq!(events[1].message, "shop: runs \"echo\" in web.1");
    for event in events {
        assert_eq!(event.user.as_ref().map(|user| user.as_str()), Some("ann"));
        assert!(event.container.is_some() && event.engine.is_some());
        assert!(!serde_json::to_string(event).unwrap().contains("password"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_run_is_refused_and_leaves_no_event() {
    let platform = platform(&["one"]).await;
    let refused = async |request: ExecRequest| match platform.controller.exec_app(&ann(), "shop", request).await {
        Ok(_) => panic!("it was taken"),
        Err(error) => error,
    };
    let error = refused(exec(&["ls"], None)).await;
    assert!(matches!(error, ControllerError::AppNotFound { .. }), "{error}");
    platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    for nothing in [&[][..], &[""]] {
        let error = refused(exec(nothing, None)).await;
        assert!(matches!(&error, ControllerError::Invalid(invalid) if invalid.field == "command"), "{error}");
    }
    let other = ExecRequest { component: Some("db".parse().unwrap()), ..exec(&["ls"], None) };
    let error = refused(other).await;
    assert!(matches!(&error, ControllerError::Invalid(invalid) if invalid.field == "component"), "{error}");
    let error = refused(exec(&["ls"], Some(7))).await;
    assert!(matches!(error, ControllerError::Conflict { .. }), "{error}");
    platform.controller.stop_app(&ann(), "shop").await.unwrap();
    platform.app_until(|app| app.summary.ready == 0).await;
    let error = refused(exec(&["ls"], None)).await;
    assert!(matches!(&error, ControllerError::Conflict { reason } if reason.contains("shop/web.1")), "{error}");
    // Docker says of the one that is named that it does not run.
    let error = refused(exec(&["ls"], Some(1))).await;
    let is_conflict = |error: &ControllerError| matches!(error, ControllerError::Engine { source, .. } if source.kind() == EngineErrorKind::Conflict);
    assert!(is_conflict(&error), "{error}");
    let events = platform.controller.events(100).await.unwrap();
    assert!(events.iter().all(|event| event.kind != EventKind::ExecApp), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn of_a_replica_that_is_being_replaced_the_one_that_serves_is_asked() {
    let platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    let (_, serving) = platform.controller.app_containers("shop", None).unwrap().remove(0);
    platform.controller.apply_app(&ann(), "shop", web("web:2", 1)).await.unwrap();
    let is_second_there = |app: &crate::wire::app::AppStatus| {
        app.component["web"].replicas[0].container.as_ref().is_some_and(|newest| *newest != serving.id)
    };
    platform.app_until(is_second_there).await;
    run(&platform, exec(&["true"], None)).await;
    let events = platform.controller.events(50).await.unwrap();
    let event = events.iter().find(|event| event.kind == EventKind::ExecApp).unwrap();
    assert_eq!(event.container.as_ref(), Some(&serving.id));
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_host_dies_has_no_status() {
    let platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    platform.host("one").set_hanging(true);
    let asked = platform.controller.exec_app(&ann(), "shop", exec(&["true"], Some(1))).await;
    let error = asked.map(drop).unwrap_err();
    let is_away = |error: &ControllerError| matches!(error, ControllerError::Engine { source, .. } if source.kind() == EngineErrorKind::Unreachable);
    assert!(is_away(&error), "{error}");
}

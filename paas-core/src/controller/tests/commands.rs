//! Commands that are run for applications.

use futures::StreamExt;
use futures::stream::BoxStream;

use super::apps::{platform, web};
use super::*;
use crate::engine::{EngineError, EngineErrorKind, ExecChunk};
use crate::model::EventKind;
use crate::wire::app::{ExecRequest, RunCommandRequest};

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

fn once(command: &[&str]) -> RunCommandRequest {
    RunCommandRequest { component: None, command: command.iter().map(|&part| part.to_owned()).collect() }
}

impl Platform {
    /// The containers of commands that really are there.
    fn commands(&self) -> Vec<crate::engine::ObservedContainer> {
        let all = self.hosts.values().flat_map(SimulatedEngine::really_there);
        all.filter(|found| found.name.contains(".run.")).collect()
    }

    async fn begin(&self, command: &[&str]) -> BoxStream<'static, Result<ExecChunk, EngineError>> {
        self.controller.run_app(&ann(), "shop", once(command)).await.unwrap()
    }

    /// The program of every command ends with that status.
    fn end_commands(&self, status: i64) {
        for host in self.hosts.values() {
            for found in host.really_there().into_iter().filter(|found| found.name.contains(".run.")) {
                host.outsider_end(&found.id, status).unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_run_once_has_what_its_component_has_and_is_gone_when_its_status_is_told() {
    let platform = platform(&["one"]).await;
    let file = "[component.web]\nimage = 'web:1'\nport = 80\npublish = ['8080:80']\nvolumes = ['data:/data', '/srv:/srv']\nenv = { \
                A = 'b' }\nupdate = { drain = '1s' }";
    platform.controller.apply_app(&Actor::system(), "shop", super::apps::request(file)).await.unwrap();
    platform.settled().await;
    let request = once(&["rake", "--token=hunter2"]);
    let mut output = platform.controller.run_app(&Actor::system(), "shop", request).await.unwrap();
    let found = platform.commands().remove(0);
    assert_eq!(found.spec.volumes, ["/srv:/srv"]);
    assert!(found.spec.bind_ports.is_empty());
    let labels = found.managed.as_ref().and_then(|managed| managed.replica()).unwrap();
    assert_eq!((labels.slot, labels.revision, labels.run.is_some()), (None, 1, true));
    let listed = platform.controller.app_containers("shop", None).unwrap();
    assert_eq!(listed.len(), 1, "the replica, and not the command: {listed:?}");
    assert!(matches!(output.next().await, Some(Ok(ExecChunk::Output(_)))), "what it writes comes while it runs");
    platform.end_commands(3);
    let rest: Vec<_> = output.collect().await;
    assert_eq!(rest.last().unwrap().as_ref().unwrap(), &ExecChunk::Ended(3));
    assert!(platform.commands().is_empty(), "it is gone before its status is told");
    let events = platform.controller.events(5).await.unwrap();
    let event = events.iter().find(|event| event.kind == EventKind::RunApp).unwrap();
    assert!(event.message.starts_with("shop: runs \"rake\" once, as shop.web.run."), "{}", event.message);
    assert!(events.iter().all(|event| !serde_json::to_string(event).unwrap().contains("hunter2")));
    platform.settled().await;
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_command_that_nobody_reads_any_more_is_removed() {
    let platform = platform(&["one", "two"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    let output = platform.begin(&["sleep", "60"]).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(platform.commands().len(), 1, "it may take as long as it likes");
    drop(output);
    assert!(eventually(|| platform.commands().is_empty()).await);
    // Also where its host does not do it at first.
    let output = platform.begin(&["sleep", "60"]).await;
    platform.hosts.values().for_each(|host| host.fail_next("remove", 2, EngineErrorKind::Failed));
    drop(output);
    assert!(eventually(|| platform.commands().is_empty()).await);
    platform.settled().await;
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn what_a_server_leaves_that_ends_in_the_middle_of_a_command_is_removed() {
    let mut platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    let output = platform.begin(&["sleep", "60"]).await;
    platform.controller.shutdown().await;
    assert!(platform.commands().is_empty(), "one that is told to end takes it along");
    drop(output);
    platform.controller = super::apps::start(&platform).await;
    platform.until("one", EngineStatus::Up).await;
    let output = platform.begin(&["sleep", "60"]).await;
    // One that is killed leaves it, and whoever leads next waits for nothing.
    platform.host("one").fail_next("stop", usize::MAX, EngineErrorKind::Failed);
    platform.host("one").fail_next("remove", usize::MAX, EngineErrorKind::Failed);
    platform.controller.shutdown().await;
    drop(output);
    assert_eq!(platform.commands().len(), 1);
    platform.host("one").fail_next("stop", 0, EngineErrorKind::Failed);
    platform.host("one").fail_next("remove", 0, EngineErrorKind::Failed);
    platform.controller = super::apps::start(&platform).await;
    assert!(eventually(|| platform.commands().is_empty()).await);
    platform.settled().await;
    assert_eq!(platform.really_there(), 1);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_command_that_cannot_be_started_leaves_nothing() {
    let platform = platform(&["one"]).await;
    let refused = async |request: RunCommandRequest| match platform.controller.run_app(&ann(), "shop", request).await {
        Ok(_) => panic!("it was taken"),
        Err(error) => error,
    };
    assert!(matches!(refused(once(&["ls"])).await, ControllerError::AppNotFound { .. }));
    platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    assert!(matches!(refused(once(&[])).await, ControllerError::Invalid(_)));
    let other = RunCommandRequest { component: Some("db".parse().unwrap()), ..once(&["ls"]) };
    assert!(matches!(refused(other).await, ControllerError::Invalid(_)));
    platform.host("one").fail_next("start", 1, EngineErrorKind::Failed);
    assert!(matches!(refused(once(&["ls"])).await, ControllerError::Engine { .. }));
    assert!(platform.commands().is_empty());
    let large = super::apps::request("[component.web]\nimage = 'web:1'\nmemory = 600\nupdate = { drain = '1s' }");
    platform.controller.apply_app(&ann(), "shop", large).await.unwrap();
    platform.settled().await;
    assert!(matches!(refused(once(&["ls"])).await, ControllerError::NoRoom(_)));
    assert_eq!(platform.really_there(), 1);
    let events = platform.controller.events(100).await.unwrap();
    assert!(events.iter().all(|event| event.kind != EventKind::RunApp));
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_run_is_none_that_goes_before_and_goes_with_its_application() {
    let platform = platform(&["one"]).await;
    let file = "[component.web]\nimage = 'web:1'\nbefore = { command = ['migrate'] }\nupdate = { drain = '1s' }";
    platform.controller.apply_app(&ann(), "shop", super::apps::request(file)).await.unwrap();
    assert!(eventually(|| platform.really_there() == 1).await, "the command before");
    let output = platform.begin(&["true"]).await;
    platform.end_commands(0);
    let rest: Vec<_> = output.collect().await;
    assert_eq!(rest.last().unwrap().as_ref().unwrap(), &ExecChunk::Ended(0));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(platform.really_there(), 1, "the command before has not ended");
    let output = platform.begin(&["true"]).await;
    platform.controller.destroy_app(&ann(), "shop", false).await.unwrap();
    let rest: Vec<_> = output.collect().await;
    assert!(rest.last().unwrap().is_err(), "nobody knows how it ended: {rest:?}");
    assert!(eventually(|| platform.really_there() == 0).await);
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_host_falls_silent_breaks_off_and_is_removed_when_it_is_back() {
    let platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    let output = platform.begin(&["sleep", "60"]).await;
    platform.host("one").set_reachable(false);
    let rest: Vec<_> = output.collect().await;
    let kind = rest.last().unwrap().as_ref().unwrap_err().kind();
    assert_eq!(kind, EngineErrorKind::Unreachable);
    assert_eq!(platform.commands().len(), 1);
    platform.host("one").set_reachable(true);
    assert!(eventually(|| platform.commands().is_empty()).await);
    platform.settled().await;
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_command_in_a_replica_whose_host_hangs_breaks_off() {
    let platform = platform(&["one"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    let output = platform.controller.exec_app(&ann(), "shop", exec(&["sleep", "infinity"], None)).await.unwrap();
    platform.host("one").set_hanging(true);
    let rest: Vec<_> = output.collect().await;
    assert_eq!(rest.last().unwrap().as_ref().unwrap_err().kind(), EngineErrorKind::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_application_is_removed_while_it_is_started_leaves_nothing() {
    for latency in [100, 300, 500, 700, 1100] {
        let platform = platform(&["one"]).await;
        platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
        platform.settled().await;
        platform.host("one").set_latency(Duration::from_millis(latency));
        let controller = platform.controller.clone();
        let run = tokio::spawn(async move { controller.run_app(&ann(), "shop", once(&["sleep"])).await.map(drop) });
        tokio::time::sleep(Duration::from_millis(50)).await;
        platform.controller.destroy_app(&ann(), "shop", false).await.unwrap();
        let _ = run.await.unwrap();
        let is_gone = || platform.controller.app("shop").is_err() && platform.really_there() == 0;
        assert!(eventually(is_gone).await, "{latency}: {:?}", platform.hosts["one"].really_there());
        platform.check_at_rest();
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_is_worth_what_its_container_may_do() {
    let platform = platform(&["one"]).await;
    let root = Actor::admin("root".parse().unwrap());
    let file =
        super::apps::request("[component.web]\nimage = 'web:1'\nvolumes = ['/:/host']\nupdate = { monitor = '0s' }");
    platform.controller.apply_app(&root, "shop", file).await.unwrap();
    platform.settled().await;
    let error = platform.controller.exec_app(&ann(), "shop", exec(&["ls"], None)).await.map(drop).unwrap_err();
    assert!(matches!(&error, ControllerError::NotAllowed { field: "volumes", .. }), "{error}");
    assert!(platform.controller.exec_app(&root, "shop", exec(&["ls"], None)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_program_that_the_image_does_not_have_ends_as_a_shell_says_it_and_is_tried_on_no_other_host() {
    let platform = platform(&["one", "two"]).await;
    platform.controller.apply_app(&ann(), "shop", web("web:1", 1)).await.unwrap();
    platform.settled().await;
    platform.hosts.values().for_each(|host| host.fail_next("start", 1, EngineErrorKind::NoSuchProgram));
    let command = RunCommandRequest { command: vec!["nope".to_owned()], ..RunCommandRequest::default() };
    let chunks = platform.controller.run_app(&ann(), "shop", command).await.unwrap();
    let chunks: Vec<ExecChunk> = chunks.map(Result::unwrap).collect().await;
    assert!(matches!(chunks[..], [ExecChunk::Output(_), ExecChunk::Ended(127)]), "{chunks:?}");
    assert!(eventually(|| platform.really_there() == 1).await);
}

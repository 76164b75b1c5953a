//! Events and output of a real host.

use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::{Host, on_real_host, shell, web};
use crate::engine::{DockerEngine, EngineErrorKind, EngineEvent, LogOptions, LogStream, Result};
use crate::model::{ContainerId, ContainerSpec};

const TIMEOUT: Duration = Duration::from_secs(60);

async fn output(host: &Host, id: &ContainerId, options: &LogOptions) -> String {
    let chunks: Vec<_> = host.engine.logs(id, options).await.unwrap().try_collect().await.unwrap();
    chunks.iter().map(|chunk| String::from_utf8_lossy(&chunk.bytes).into_owned()).collect()
}

/// All output so far, once it contains `wanted`, or after a minute.
pub(super) async fn wait_for_output(host: &Host, id: &ContainerId, wanted: &str) -> String {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let all = output(host, id, &LogOptions::default()).await;
        if all.contains(wanted) || Instant::now() > deadline {
            return all;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn user_data_is_readable_inside() {
    on_real_host("user_data_is_readable_inside", async |host| {
        let data = "line 1\nline 2 with \"quotes\" and $dollars";
        let spec = ContainerSpec { user_data: Some(data.into()), ..shell("echo \"$PAAS_USER_DATA\"") };
        let id = host.run("data", spec).await;
        assert_eq!(wait_for_output(host, &id, "dollars\n").await, format!("{data}\n"));
    })
    .await;
}

#[tokio::test]
async fn output_is_told_apart_and_cut_as_asked() {
    on_real_host("output_is_told_apart_and_cut_as_asked", async |host| {
        let id = host.run("output", shell("echo one; echo two; echo bad >&2; sleep 1; echo three")).await;
        let following = LogOptions { follow: true, ..LogOptions::default() };
        let follow = host.engine.logs(&id, &following).await.unwrap().try_collect::<Vec<_>>();
        let chunks = tokio::time::timeout(TIMEOUT, follow).await.expect("ends with the container").unwrap();
        let of = |stream| -> String {
            let all = chunks.iter().filter(|chunk| chunk.stream == stream);
            all.map(|chunk| String::from_utf8_lossy(&chunk.bytes).into_owned()).collect()
        };
        assert_eq!((of(LogStream::Stdout).as_str(), of(LogStream::Stderr).as_str()), ("one\ntwo\nthree\n", "bad\n"));

        let only_stderr = LogOptions { stdout: false, ..LogOptions::default() };
        assert_eq!(output(host, &id, &only_stderr).await, "bad\n");
        let last = LogOptions { tail: Some(1), ..LogOptions::default() };
        assert_eq!(output(host, &id, &last).await, "three\n");
        let neither = LogOptions { stdout: false, stderr: false, ..LogOptions::default() };
        assert_eq!(host.engine.logs(&id, &neither).await.err().unwrap().kind(), EngineErrorKind::Refused);

        let stamped = LogOptions { timestamps: true, stderr: false, ..LogOptions::default() };
        let text = output(host, &id, &stamped).await;
        let time_of = |word: &str| -> Timestamp {
            let line = text.lines().find(|line| line.ends_with(word)).unwrap();
            line.split(' ').next().unwrap().parse().unwrap()
        };
        let since = |time| LogOptions { since: Some(time), stderr: false, ..LogOptions::default() };
        assert_eq!(output(host, &id, &since(time_of("three"))).await, "three\n");
        let exact = time_of("two").checked_add(jiff::SignedDuration::from_nanos(1)).unwrap();
        assert_eq!(output(host, &id, &since(exact)).await, "three\n", "to the nanosecond");
    })
    .await;
}

#[tokio::test]
async fn output_of_a_terminal_is_standard_output() {
    use bollard::models::ContainerCreateBody;
    use bollard::query_parameters::CreateContainerOptions;
    on_real_host("output_of_a_terminal_is_standard_output", async |host| {
        let options = CreateContainerOptions { name: Some(host.name("tty")), ..Default::default() };
        let command = ["/bin/sh", "-c", "echo one; echo -n two >&2"].map(str::to_owned);
        let body = ContainerCreateBody {
            image: Some(crate::testing::docker::WEB_IMAGE.to_owned()),
            cmd: Some(command.into()),
            tty: Some(true),
            ..Default::default()
        };
        let id: ContainerId = host.raw.create_container(Some(options), body).await.unwrap().id.parse().unwrap();
        host.engine.start(&id).await.unwrap();
        wait_for_output(host, &id, "two").await;
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let chunks: Vec<_> = host.engine.logs(&id, &options).await.unwrap().try_collect().await.unwrap();
        assert!(chunks.iter().all(|chunk| chunk.stream == LogStream::Stdout));
        let text: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect();
        assert_eq!(String::from_utf8_lossy(&text), "one\r\ntwo");
    })
    .await;
}

/// Reads events of one container until `last`.
async fn events_until(
    stream: &mut BoxStream<'static, Result<EngineEvent>>,
    id: &ContainerId,
    last: &str,
) -> Vec<EngineEvent> {
    let mut seen = Vec::new();
    let read = async {
        while let Some(event) = stream.next().await {
            let event = event.unwrap();
            if event.container.as_ref() == Some(id) {
                let is_last = event.action == last;
                seen.push(event);
                if is_last {
                    break;
                }
            }
        }
    };
    let in_time = tokio::time::timeout(TIMEOUT, read).await;
    assert!(in_time.is_ok(), "no {last:?} after {seen:?}");
    seen
}

fn actions(events: &[EngineEvent]) -> Vec<&str> {
    events.iter().map(|event| event.action.as_str()).collect()
}

#[tokio::test]
async fn events_come_from_the_moment_they_are_asked_for_and_again_since_a_time() {
    on_real_host("events_come_from_the_moment_they_are_asked_for_and_again_since_a_time", async |host| {
        let mut stream = host.engine.events(None).await.unwrap();
        let id = host.run("events", web()).await;
        host.engine.stop(&id, Duration::ZERO).await.unwrap();
        let events = events_until(&mut stream, &id, "stop").await;
        let seen = actions(&events);
        for action in ["create", "start", "die", "stop"] {
            assert!(seen.contains(&action), "no {action} in {seen:?}");
        }
        assert!(events.is_sorted_by_key(|event| event.time));
        assert_eq!(events[0].name, host.name("events"));
        assert_eq!(events[0].image.as_deref(), Some(crate::testing::docker::WEB_IMAGE));
        drop(stream);

        host.engine.remove(&id).await.unwrap();
        let start = events.iter().find(|event| event.action == "start").unwrap().time;
        let mut stream = host.engine.events(Some(start)).await.unwrap();
        let resumed = events_until(&mut stream, &id, "destroy").await;
        let seen = actions(&resumed);
        assert!(resumed.iter().all(|event| event.time >= start), "only what came from then on: {seen:?}");
        assert!(["die", "stop", "destroy"].iter().all(|action| seen.contains(action)), "{seen:?}");
    })
    .await;
}

#[tokio::test]
async fn many_events_wait_for_a_reader_that_comes_late() {
    on_real_host("many_events_wait_for_a_reader_that_comes_late", async |host| {
        let mut stream = host.engine.events(None).await.unwrap();
        let mut ids = Vec::new();
        for number in 0..20 {
            ids.push(host.create(&format!("late-{number}"), web()).await);
        }
        for id in &ids {
            host.engine.remove(id).await.unwrap();
        }
        for id in &ids {
            assert_eq!(actions(&events_until(&mut stream, id, "create").await), ["create"]);
            // Creations come first, in order; then the removals.
        }
        let last = ids.last().unwrap();
        events_until(&mut stream, last, "destroy").await;
    })
    .await;
}

//! Daemons whose clocks are set, whose events come in another order than their times, and that call themselves something else each time.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::json;

use super::fake::{Answer, daemon};
use crate::engine::DockerEngine;

const ID: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

fn line(action: &str, second: i64) -> Bytes {
    let event = json!({
        "Type": "container", "Action": action, "time": second, "timeNano": second * 1_000_000_000,
        "Actor": {"ID": ID, "Attributes": {"name": "x", "image": "web:1", "exitCode": "3"}},
    });
    Bytes::from(format!("{event}\n"))
}

#[tokio::test]
async fn events_are_given_in_the_order_of_arrival_whatever_their_times_say() {
    let told = [("exec_die", 2000), ("die", 1999), ("start", 1400), ("start", 1400), ("health_status: unhealthy", 1)];
    let fake = daemon("1.41", move |_| {
        let lines: Vec<Bytes> = told.iter().map(|&(action, second)| line(action, second)).collect();
        Answer::stream("application/json", stream::iter(lines).chain(stream::pending()))
    })
    .await;
    let since = Timestamp::from_second(2000).unwrap();
    let events = fake.docker.events(Some(since)).await.unwrap();
    let events: Vec<_> = events.take(told.len()).map(|event| event.unwrap()).collect().await;
    let found: Vec<(&str, i64)> = events.iter().map(|event| (&*event.action, event.time.as_second())).collect();
    assert_eq!(found, [("exec_die", 2000), ("die", 1999), ("start", 1400), ("start", 1400), ("health_status", 1)]);
    assert_eq!((events[1].detail.exit_code, events[2].detail.exit_code), (Some(3), None));
    assert_eq!(events[4].detail.health.as_deref(), Some("unhealthy"));
    let asked = fake.asked.lock().iter().find(|asked| asked.path.starts_with("/events")).unwrap().path.clone();
    assert!(asked.contains("since=2000.000000000&"), "{asked}");
}

#[tokio::test]
async fn an_id_that_is_another_each_time_is_none() {
    for (stays, wanted) in [(true, "A"), (false, "")] {
        let count = AtomicUsize::new(0);
        let fake = daemon("1.41", move |asked| match &*asked.path {
            "/info" => {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let id = if stays { "A".to_owned() } else { number.to_string() };
                Answer::json(200, json!({"ID": id, "NCPU": i64::MAX, "MemTotal": -1}))
            }
            _ => Answer::json(200, json!([])),
        })
        .await;
        for _ in 0..3 {
            let info = fake.docker.info().await.unwrap();
            assert_eq!((info.daemon_id.as_str(), info.memory.mb()), (wanted, 0));
        }
        let asked = fake.asked.lock().iter().filter(|asked| asked.path == "/info").count();
        assert_eq!(asked, 4, "once more at first, and not again");
    }
}

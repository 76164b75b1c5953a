//! Cluster info, events and output.

use futures::StreamExt;

use super::*;
use crate::engine::LogOptions;
use crate::events::Notice;
use crate::model::Cpus;

#[tokio::test(start_paused = true)]
async fn the_cluster_info_adds_up() {
    let platform = Platform::of(&["a", "b"]).await;
    platform.run(ContainerSpec { cpus: Some(Cpus::from_milli(500)), ..web() }, 3).await;
    let stopped = platform.run(ContainerSpec::new("db:1".parse().unwrap()), 1).await.started[0].id.to_string();
    platform.controller.stop(&ann(), &stopped, Duration::ZERO).await.unwrap();
    // Until everything was measured and read again.
    tokio::time::sleep(Duration::from_secs(90)).await;
    let info = platform.controller.cluster_info();
    assert_eq!((info.cpus, info.memory), (Cpus::from_milli(8000), MemoryMb::new(2048)));
    assert_eq!((info.reserved_cpus, info.reserved_memory), (Cpus::from_milli(1500), MemoryMb::new(768)));
    assert_eq!((info.container_count, info.running_count, info.image_count), (4, 3, 2));
    assert_eq!((info.engine_count, info.engines_up, info.simulated_count), (2, 2, 2));
    assert!(info.used_cpus > 0.0 && info.used_memory > MemoryMb::ZERO, "{info:?}");
}

#[tokio::test(start_paused = true)]
async fn events_come_newest_first_and_live() {
    let platform = Platform::of(&["a"]).await;
    let mut live = platform.controller.live_events();
    let id = platform.run(web(), 1).await.started[0].id.to_string();
    platform.controller.destroy(&ann(), &id).await.unwrap();
    let newest = platform.controller.events(1_000_000).await.unwrap();
    assert!(newest.is_sorted_by(|a, b| a.id > b.id));
    let ours = |event: &&Event| event.user.is_some();
    let kinds: Vec<&str> = newest.iter().filter(ours).map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["destroy-container", "run-container", "add-engine"]);
    assert_eq!(platform.controller.events(1).await.unwrap().len(), 1);
    loop {
        let Some(Notice::Event(event)) = live.next().await else { panic!("missed") };
        if event.kind.as_str() == "destroy-container" {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn output_is_streamed() {
    let platform = Platform::of(&["a"]).await;
    let mut talking = web();
    talking.args = vec!["echo".into(), "hello".into()];
    let id = platform.run(talking, 1).await.started[0].id.to_string();
    let options = LogOptions { stderr: false, ..LogOptions::default() };
    let chunks: Vec<_> = platform.controller.logs(&id, &options).await.unwrap().collect().await;
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0].as_ref().unwrap().bytes.as_ref(), b"hello\n");
    assert!(platform.controller.logs("nobody", &options).await.is_err());
}

//! Moving replicas from full hosts to emptier ones.

use super::apps::{platform, request, start};
use super::*;
use crate::model::EventKind;

fn six(image: &str) -> crate::wire::app::ApplyRequest {
    let update = "update = { drain = '1s' }";
    request(&format!("[component.web]\nimage = '{image}'\nreplicas = 6\nmemory = 100\nport = 80\n{update}"))
}

impl Platform {
    fn running_on(&self, host: &str) -> usize {
        self.host(host).really_there().iter().filter(|found| found.state.holds_resources()).count()
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_move_to_a_host_that_is_empty_and_a_new_leader_goes_on_with_it() {
    let mut platform = platform(&["one", "two"]).await;
    platform.controller.apply_app(&ann(), "shop", six("web:1")).await.unwrap();
    platform.settled().await;
    assert!(platform.controller.rebalance(&ann(), false).await.unwrap().is_empty(), "they are as full as each other");
    platform.hosts.insert(
        "three".to_owned(),
        SimulatedEngine::new(&SimulatedHost { memory: MemoryMb::new(1024), ..SimulatedHost::new("three") }),
    );
    platform.controller.shutdown().await;
    platform.controller = start(&platform).await;
    platform.add("three").await;
    platform.settled().await;
    let dry = platform.controller.rebalance(&ann(), true).await.unwrap();
    let moves: Vec<(String, &str, &str)> =
        dry.iter().map(|moved| (moved.replica.clone(), moved.from.as_str(), moved.to.as_str())).collect();
    assert_eq!(moves.len(), 2, "{dry:?}");
    assert!(moves.iter().all(|(_, from, to)| *from != "three" && *to == "three"), "{moves:?}");
    assert!(dry.iter().all(|moved| moved.gain > 1.0), "{dry:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(platform.running_on("three"), 0, "a dry run moves nothing");
    let events = platform.controller.events(50).await.unwrap();
    assert!(events.iter().all(|event| event.kind != EventKind::Rebalance));

    assert_eq!(platform.controller.rebalance(&ann(), false).await.unwrap(), dry);
    assert!(platform.controller.rebalance(&ann(), false).await.unwrap().is_empty(), "they are about to move already");
    platform.controller.shared.cluster.shutdown().await;
    platform.controller = start(&platform).await;
    assert!(eventually(|| platform.running_on("three") == 2 && platform.really_there() == 6).await);
    let app = platform.settled().await;
    assert_eq!(app.summary.ready, 6);
    let events = platform.controller.events(100).await.unwrap();
    let event = events.iter().find(|event| event.kind == EventKind::Rebalance).unwrap();
    assert_eq!(event.message, "shop: 2 replicas move to emptier hosts");
    assert_eq!(event.user.as_ref().map(|user| user.as_str()), Some("ann"));
    platform.check_at_rest();
}

//! Hosts that are slow, hang, die and come back, as the monitor sees them.

use super::*;
use crate::cluster::{ClusterSettings, ProbeKind};
use crate::model::ContainerState;

/// What the monitor said of an engine, the oldest first.
async fn statuses_told(platform: &Platform) -> Vec<String> {
    platform.heard().await;
    let events = platform.events.events().into_iter();
    let told = events.filter(|event| event.kind.as_str() == "engine-status");
    told.map(|event| event.message).collect()
}

fn slow(name: &str, milliseconds: u64) {
    let latency = Duration::from_millis(milliseconds);
    SimulatedEngine::named(&SimulatedHost { memory: MemoryMb::new(1024), latency, ..SimulatedHost::new(name) });
}

/// A platform over one host that the address leads to, so that its latency can be changed.
async fn over(name: &str, settings: ClusterSettings) -> (Platform, SimulatedEngine) {
    slow(name, 0);
    let host = SimulatedEngine::named(&SimulatedHost { memory: MemoryMb::new(1024), ..SimulatedHost::new(name) });
    let mut platform = Platform::without_engines(&[]).await;
    let settings = Settings { cluster: settings, ..Settings::default() };
    let builder = Controller::builder().sink(platform.events.clone()).settings(settings);
    platform.controller = builder.build().await.unwrap();
    platform.add(name).await;
    (platform, host)
}

#[tokio::test(start_paused = true)]
async fn a_host_that_hangs_is_down_within_three_seconds_and_every_step_is_told() {
    let (platform, host) = over("hangs-soon", ClusterSettings::default()).await;
    platform.run(web(), 1).await;
    let hung = tokio::time::Instant::now();
    host.set_hanging(true);
    platform.until("hangs-soon", EngineStatus::Down).await;
    assert!(hung.elapsed() <= Duration::from_millis(3100), "{:?}", hung.elapsed());
    assert_eq!(platform.controller.containers(false)[0].state, ContainerState::Unknown);
    let counts = || {
        let info = platform.controller.cluster_info();
        (info.container_count, info.running_count, info.unknown_count)
    };
    assert_eq!(counts(), (1, 0, 1));
    let back = tokio::time::Instant::now();
    host.set_hanging(false);
    platform.until("hangs-soon", EngineStatus::Up).await;
    assert!(back.elapsed() <= Duration::from_secs(2), "{:?}", back.elapsed());
    assert_eq!(platform.controller.containers(false)[0].state, ContainerState::Running);
    assert_eq!(counts(), (1, 1, 0));
    assert_eq!(
        statuses_told(&platform).await,
        [
            "engine hangs-soon is up, was pending",
            "engine hangs-soon is suspect, was up: no answer within 1s",
            "engine hangs-soon is down, was suspect: no answer within 1s",
            "engine hangs-soon is up, was down",
        ]
    );
    platform.check_at_rest();
}

#[tokio::test(start_paused = true)]
async fn a_host_that_answers_slowly_is_not_dead_and_not_told_of_again_and_again() {
    let (platform, _host) = over("slow-only", ClusterSettings::default()).await;
    slow("slow-only", 1500);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let engine = platform.controller.engine("slow-only").unwrap();
    assert_eq!((engine.health.status, engine.health.response_time_ms), (EngineStatus::Up, Some(1500)));
    let told = statuses_told(&platform).await;
    assert!(!told.iter().any(|message| message.contains("is down")), "{told:?}");
    // Once when it is found slow, once more for the probe that was under way by then, and never again.
    assert!(told.len() <= 5, "{told:?}");
    assert!(platform.run(web(), 1).await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn how_closely_hosts_are_watched_can_be_set() {
    let settings = ClusterSettings {
        probe: ProbeKind::Tcp,
        probe_interval: Duration::from_millis(100),
        probe_timeout: Duration::from_millis(50),
        probe_misses: 1,
        ..ClusterSettings::default()
    };
    let (platform, host) = over("watched-closely", settings).await;
    let gone = tokio::time::Instant::now();
    host.set_hanging(true);
    platform.until("watched-closely", EngineStatus::Down).await;
    assert!(gone.elapsed() <= Duration::from_millis(200), "{:?}", gone.elapsed());
}

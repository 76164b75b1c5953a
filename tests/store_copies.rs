//! `paas-server store copy` of a large platform, from SQLite to etcd and back, killed half-way both times and run again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use paas_core::model::{EngineSpec, Event, EventKind};
use paas_core::store::{Action, KeyRange, MAX_WRITES, Store, Table, Write, open_existing_store, open_store, tables};
use paas_core::testing::etcd::Etcd;
use serde_json::{Value, json};
use support::{eventually, program};

const EVENTS: usize = 100_000;
const ENGINES: usize = 1000;
/// How many commits are under way at once while a store is filled.
const AT_ONCE: usize = 16;
/// How long a copy may take to get half of the way.
const TIMEOUT: Duration = Duration::from_secs(300);

fn sqlite(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// Fills a store with so much that it takes a while to copy.
async fn fill(store: &dyn Store) {
    let mut writes = vec![
        Write::new(tables::PLATFORM, "name", Action::Insert(json!("a large platform"))),
        Write::new(tables::ACCOUNTS, "admin", Action::Insert(json!({"odd": [1.0, u64::MAX, 0.1, "\u{1f980}"]}))),
    ];
    for number in 0..EVENTS {
        let event = Event::new(EventKind::Login, format!("event {number} \u{1f980}")).tagged("docker");
        let body = serde_json::to_value(&event).unwrap();
        writes.push(Write::new(tables::EVENTS, event.id.to_string(), Action::Insert(body)));
    }
    for number in 0..ENGINES {
        let id = format!("engine-{number:04}");
        let spec = EngineSpec::new(id.parse().unwrap(), format!("sim://{id}").parse().unwrap());
        writes.push(Write::new(tables::ENGINES, id, Action::Insert(serde_json::to_value(&spec).unwrap())));
    }
    let commits = writes.chunks(MAX_WRITES).map(<[Write]>::to_vec);
    let commit = async |writes| {
        store.commit(writes).await.unwrap();
    };
    stream::iter(commits).for_each_concurrent(AT_ONCE, commit).await;
}

/// Everything that a store has, the marks of unfinished copies included.
async fn contents(store: &dyn Store) -> BTreeMap<(Table, String), Value> {
    let mut all = BTreeMap::new();
    for table in tables::ALL.into_iter().chain([tables::TRANSFERS]) {
        let documents = store.list(table, &KeyRange::all()).await.unwrap();
        all.extend(documents.into_iter().map(|document| ((table, document.key), document.body)));
    }
    all
}

fn copy(from: &str, to: &str) -> Command {
    let mut command = Command::new(program("paas-server"));
    command.args(["store", "copy", "--from", from, "--to", to]).stdin(Stdio::null()).stderr(Stdio::inherit());
    command
}

/// Begins a copy and kills it when `is_half` finds so; then copies to the end. How many changes that still needed.
async fn copy_in_two_lives(from: &str, to: &str, is_half: impl AsyncFn() -> bool) -> usize {
    let mut first = copy(from, to).stdout(Stdio::null()).spawn().unwrap();
    assert!(eventually(TIMEOUT, || is_half()).await, "the copy does not get half of the way");
    assert!(first.try_wait().unwrap().is_none(), "the copy was done before it could be killed");
    first.kill().unwrap();
    first.wait().unwrap();
    let begun = Instant::now();
    let second = copy(from, to).output().unwrap();
    let said = String::from_utf8(second.stdout).unwrap();
    println!("{from} to {to}, the second half: {:?}: {said}", begun.elapsed());
    assert!(second.status.success(), "{said}");
    assert!(said.contains(&format!("Copied {} documents", EVENTS + ENGINES + 2)), "{said}");
    let changes = said.split(". ").find_map(|sentence| sentence.strip_suffix(" changes were needed"));
    changes.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_events_go_to_etcd_and_back_also_when_killed_half_way() {
    const NAME: &str = "a_hundred_thousand_events_go_to_etcd_and_back_also_when_killed_half_way";
    let Some(etcd) = Etcd::start(NAME).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let (source, back) = (folder.path().join("source.db"), folder.path().join("back.db"));
    let store = open_store(&sqlite(&source)).await.unwrap();
    fill(&*store).await;
    let expected = contents(&*store).await;
    // A file belongs to one process at a time.
    drop(store);

    let there = etcd.client().await;
    let in_etcd = async || {
        let all = etcd_client::GetOptions::new().with_prefix().with_count_only();
        let found = there.kv_client().get("/paas/tables/events/", Some(all)).await.unwrap();
        found.count() as usize > EVENTS / 2
    };
    let changes = copy_in_two_lives(&sqlite(&source), &etcd.url(), in_etcd).await;
    assert!((1..EVENTS * 3 / 4).contains(&changes), "it went on where it ended: {changes}");
    let copied = open_existing_store(&etcd.url()).await.unwrap();
    assert!(contents(&*copied).await == expected, "etcd does not have what SQLite has");

    // Much of what was written is in the file itself, and the rest in the log beside it.
    let whole = std::fs::metadata(&source).unwrap().len();
    let in_file = async || std::fs::metadata(&back).is_ok_and(|file| file.len() > whole / 2);
    let changes = copy_in_two_lives(&etcd.url(), &sqlite(&back), in_file).await;
    assert!((1..EVENTS * 3 / 4).contains(&changes), "it went on where it ended: {changes}");
    let back = open_existing_store(&sqlite(&back)).await.unwrap();
    assert!(contents(&*back).await == expected, "not everything came back");
}

//! What each store takes for its verbs, beside what lies under it: a file that is appended to and flushed, or the same etcd
//! asked by its own client to put a document where there is none.
//!
//! Run with `cargo bench --bench store`, or with the names of stores for those alone. RethinkDB is the double of the tests, unless `PAAS_TEST_RETHINKDB` names a server.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod support;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use futures::future::join_all;
use paas_core::model::{Event, EventKind};
use paas_core::store::{Action, KeyRange, MAX_WRITES, Store, Table, Write, open_store};
use paas_core::testing::etcd::Etcd;
use paas_core::testing::rethinkdb::RethinkDouble;
use serde_json::Value;
use support::{Figure, rounds};

const CALLERS: [usize; 2] = [1, 32];
/// How many documents a range has.
const RANGE: usize = 100;
const TABLE: Table = Table::new("bench");

/// How long each call took, shortest first, and how many there were in a second.
struct Figures {
    sorted: Vec<Duration>,
    per_second: f64,
}

impl Figures {
    fn quantile(&self, of_hundred: usize) -> Duration {
        self.sorted[(self.sorted.len() - 1) * of_hundred / 100]
    }
}

/// For how long each figure is measured.
fn time() -> Duration {
    rounds(Duration::from_millis(1500), Duration::from_millis(500))
}

/// Lets several callers do something again and again. Each call gets a number that no other has.
async fn measure<F, Fut>(callers: usize, call: F) -> Figures
where
    F: Fn(u64) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let numbers = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let all = (0..callers).map(|_| {
        let (call, numbers) = (call.clone(), numbers.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            while begun.elapsed() < time() {
                let one = Instant::now();
                call(numbers.fetch_add(1, Ordering::Relaxed)).await;
                times.push(one.elapsed());
            }
            times
        })
    });
    let mut sorted: Vec<Duration> = join_all(all).await.into_iter().flat_map(|times| times.unwrap()).collect();
    let per_second = sorted.len() as f64 / begun.elapsed().as_secs_f64();
    sorted.sort_unstable();
    Figures { sorted, per_second }
}

fn row(store: &str, what: &str, callers: usize, figures: &Figures, bare: Option<&Figures>) {
    let ms = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1000.0);
    // Of the means: where a flush takes either a tenth of a millisecond or a tick of the clock, medians jump.
    let ratio = bare.map(|bare| bare.per_second / figures.per_second);
    let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    let (p50, p99) = (ms(figures.quantile(50)), ms(figures.quantile(99)));
    println!("{store:<10} {what:<18} {callers:>7} {:>10.0} {p50:>9} {p99:>9} {ratio:>7}", figures.per_second);
    let figure = Figure::new(format!("{store}: {what}, {callers} callers"), figures.per_second, "/s");
    bare.iter().fold(figure, |figure, bare| figure.against(bare.per_second)).print();
}

/// A document like those that there are most of.
fn body() -> Value {
    serde_json::to_value(Event::new(EventKind::Login, "somebody logged in").tagged("docker")).unwrap()
}

fn insertion(key: String) -> Write {
    Write::new(TABLE, key, Action::Insert(body()))
}

/// Measures every verb, beside what `bare` measures for that number of callers just before: what was written until then makes
/// both slower.
async fn bench(name: &str, store: Arc<dyn Store>, callers: &[usize], bare: impl AsyncFn(usize) -> Option<Figures>) {
    for &callers in callers {
        let bare = bare(callers).await;
        let bare = bare.as_ref();
        let inserts = measure(callers, {
            let store = store.clone();
            move |number| {
                let store = store.clone();
                async move {
                    store.insert(TABLE, &format!("{callers:02}-{number:08}"), body()).await.unwrap();
                }
            }
        });
        let inserts = inserts.await;
        row(name, "insert", callers, &inserts, bare);
        let there = inserts.sorted.len() as u64;
        let gets = measure(callers, {
            let store = store.clone();
            move |number| {
                let (store, key) = (store.clone(), format!("{callers:02}-{:08}", number * 7919 % there));
                async move { assert!(store.get(TABLE, &key).await.unwrap().is_some()) }
            }
        });
        row(name, "get", callers, &gets.await, None);
        let replaces = measure(callers, {
            let store = store.clone();
            move |number| {
                // A get for the version and the replacement, as everybody does it. Numbers go round, so callers seldom meet.
                let (store, key) = (store.clone(), format!("{callers:02}-{:08}", number % there));
                async move {
                    let found = store.get(TABLE, &key).await.unwrap().unwrap();
                    // Another one was faster and has replaced it.
                    let _ = store.replace(TABLE, &key, found.version, found.body).await;
                }
            }
        });
        row(name, "get and replace", callers, &replaces.await, bare);
        // After many writes a store may have to find out again where its newest documents are.
        let begun = Instant::now();
        store.list(TABLE, &KeyRange::last(RANGE)).await.unwrap();
        let first = Figures { sorted: vec![begun.elapsed()], per_second: 1.0 / begun.elapsed().as_secs_f64() };
        row(name, "range, the first", 1, &first, None);
        let ranges = measure(callers, {
            let store = store.clone();
            move |_| {
                let store = store.clone();
                async move { drop(store.list(TABLE, &KeyRange::last(RANGE)).await.unwrap()) }
            }
        });
        row(name, "range of 100", callers, &ranges.await, None);
        let commits = measure(callers, {
            let store = store.clone();
            move |number| {
                let key = |index: usize| format!("commit-{callers:02}-{number:08}-{index:03}");
                let (store, writes) = (store.clone(), (0..MAX_WRITES).map(|index| insertion(key(index))).collect());
                async move {
                    store.commit(writes).await.unwrap();
                }
            }
        });
        row(name, "commit of 100", callers, &commits.await, bare);
    }
}

/// What a disk takes to append a document and flush it, each caller to a file of its own.
async fn bare_file(folder: &Path, callers: usize) -> Figures {
    let folder = folder.to_owned();
    let figures = measure(callers, move |number| {
        let path = folder.join(format!("bare-{}", number % callers as u64));
        async move {
            let append = move || {
                let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
                file.write_all(body().to_string().as_bytes()).unwrap();
                file.sync_data().unwrap();
            };
            tokio::task::spawn_blocking(append).await.unwrap();
        }
    });
    let figures = figures.await;
    row("file", "append and flush", callers, &figures, None);
    figures
}

/// What a conditional write takes by etcd's own client.
async fn bare_etcd(etcd: &Etcd, callers: usize) -> Figures {
    let client = etcd.client().await;
    let figures = measure(callers, move |number| {
        let (mut client, key) = (client.kv_client(), format!("bare-{callers:02}-{number}"));
        let is_absent = Compare::create_revision(key.as_str(), CompareOp::Equal, 0);
        let txn = Txn::new().when([is_absent]).and_then([TxnOp::put(key, body().to_string(), None)]);
        async move { assert!(client.txn(txn).await.unwrap().succeeded()) }
    });
    let figures = figures.await;
    row("etcd", "bare insert", callers, &figures, None);
    figures
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let columns = ("store", "what", "callers", "per s", "p50 ms", "p99 ms", "× bare");
    let (store, what, callers, per_second, p50, p99, ratio) = columns;
    println!("{store:<10} {what:<18} {callers:>7} {per_second:>10} {p50:>9} {p99:>9} {ratio:>7}");
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let nothing = async |_: usize| None;
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);

    if is_wanted("memory") {
        bench("memory", open_store("memory:").await?, &CALLERS, nothing).await;
    }
    if is_wanted("sqlite") {
        let folder = tempfile::tempdir()?;
        let store = open_store(&format!("sqlite:{}/store.db", folder.path().display())).await?;
        bench("sqlite", store, &CALLERS, async |callers| Some(bare_file(folder.path(), callers).await)).await;
    }
    if is_wanted("etcd")
        && let Some(etcd) = Etcd::start("the bench of etcd").await
    {
        let store = open_store(&etcd.url()).await?;
        bench("etcd", store, &CALLERS, async |callers| Some(bare_etcd(&etcd, callers).await)).await;
    }
    match std::env::var("PAAS_TEST_RETHINKDB") {
        _ if !is_wanted("rethinkdb") => {}
        Ok(url) => bench("rethinkdb", open_store(&url).await?, &CALLERS, nothing).await,
        Err(_) => {
            let double = RethinkDouble::start().await?;
            // It has no index, so that a range takes as long as there is much: one caller is enough for it.
            bench("(double)", open_store(&double.url("paas")).await?, &CALLERS[..1], nothing).await;
            println!("(double) is the double of RethinkDB that the tests have: it keeps everything in memory.");
        }
    }
    Ok(())
}

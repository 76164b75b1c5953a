//! Somebody who asks every replica for its page, all the time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often each page is asked for.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks for pages until it is told to stop.
pub(crate) struct Asking {
    stop: CancellationToken,
    task: JoinHandle<()>,
    heard: Arc<Mutex<BTreeMap<String, Heard>>>,
}

/// How often a page came, and what happened the first time that it did not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) pages: usize,
    pub(crate) missed: Option<String>,
}

impl Asking {
    /// Begins to ask for these pages.
    pub(crate) fn begin(pages: Vec<String>) -> Self {
        let (stop, heard) = (CancellationToken::new(), Arc::<Mutex<BTreeMap<String, Heard>>>::default());
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().unwrap();
        let (ends, notes) = (stop.clone(), heard.clone());
        let task = tokio::spawn(async move {
            while !ends.is_cancelled() {
                for page in &pages {
                    let answer = client.get(page).send().await.and_then(reqwest::Response::error_for_status);
                    let mut notes = notes.lock().unwrap();
                    let heard = notes.entry(page.clone()).or_default();
                    match answer {
                        Ok(_) => heard.pages += 1,
                        Err(error) => heard.missed = heard.missed.take().or(Some(format!("{error:?}"))),
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { stop, task, heard }
    }

    /// Stops asking; what was heard of each page.
    pub(crate) async fn end(self) -> BTreeMap<String, Heard> {
        self.stop.cancel();
        self.task.await.unwrap();
        let heard = self.heard.lock().unwrap();
        heard.clone()
    }
}

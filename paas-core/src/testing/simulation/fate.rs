//! What becomes of a call, and of the server that makes it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;

/// How long a server lives.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    over: CancellationToken,
    /// After how many more moments it ends; never where there is none.
    left: Arc<Mutex<Option<u32>>>,
}

impl Life {
    /// Ends it now.
    pub(super) fn end(&self) {
        self.over.cancel();
    }

    /// Ends it after so many more moments, of which each change of a host and of the store has two: before it and after it.
    pub(super) fn end_after(&self, moments: u32) {
        *self.left.lock() = Some(moments);
    }

    /// It is not to end any more.
    pub(super) fn spare(&self) {
        *self.left.lock() = None;
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// One more moment. Whether it lives on.
    pub(super) fn goes_on(&self) -> bool {
        let mut left = self.left.lock();
        match &mut *left {
            Some(0) => self.over.cancel(),
            Some(left) => *left -= 1,
            None => {}
        }
        !self.is_over()
    }

    /// What a server waits for: for ever, when it is killed meanwhile.
    pub(super) async fn wait_for<T>(&self, answer: impl Future<Output = T>) -> T {
        match self.over.run_until_cancelled(answer).await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Whether it goes on for so long.
    pub(super) async fn lasts(&self, time: Duration) -> bool {
        if time.is_zero() {
            return !self.is_over();
        }
        self.over.run_until_cancelled(tokio::time::sleep(time)).await.is_some()
    }
}

/// How calls fare at this time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    /// Share of the calls that fail.
    pub(super) failing: f64,
    /// Share of the calls that are answered late.
    pub(super) slow: f64,
}

/// What decides how each call fares: the seed, what is called, and the how many-th such call it is. So a call fares the same
/// whatever else is called at that time.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    seed: u64,
    state: Arc<Mutex<(BTreeMap<String, u64>, Rates)>>,
}

/// How a call fares.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fate {
    /// How long it is on its way.
    pub(super) there: Duration,
    /// How long its answer is.
    pub(super) back: Duration,
    /// It is refused before anything is done.
    pub(super) is_refused: bool,
    /// It is done, and the answer is lost.
    pub(super) is_lost: bool,
    /// It arrives although its caller died while it was on its way.
    pub(super) arrives_anyway: bool,
    /// Which of several kinds of errors it is.
    pub(super) kind: u8,
}

impl Weather {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, state: Arc::default() }
    }

    pub(super) fn change(&self, rates: Rates) {
        self.state.lock().1 = rates;
    }

    /// How the next call of that name fares.
    pub(super) fn next(&self, call: &str) -> Fate {
        let (count, rates) = {
            let (counts, rates) = &mut *self.state.lock();
            let count = counts.entry(call.to_owned()).or_default();
            *count += 1;
            (*count, *rates)
        };
        let mut hasher = DefaultHasher::new();
        (self.seed, call, count).hash(&mut hasher);
        let random = &mut StdRng::seed_from_u64(hasher.finish());
        let mut milliseconds = |usual: u64, late: u64| {
            let is_late = random.random_bool(rates.slow);
            Duration::from_millis(random.random_range(0..if is_late { late } else { usual }))
        };
        let (there, back) = (milliseconds(20, 2000), milliseconds(20, 4000));
        let fails = random.random_bool(rates.failing);
        let is_lost = fails && random.random_bool(0.5);
        Fate {
            there,
            back,
            is_refused: fails && !is_lost,
            is_lost,
            arrives_anyway: random.random_bool(0.5),
            kind: random.random_range(0..8),
        }
    }
}

//! The starts of one engine, first come, first served.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::limiter::ConcurrencyLimiter;

/// Who waits to start a container on one engine.
#[derive(Debug)]
pub(super) struct StartQueue {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limiter: ConcurrencyLimiter,
    /// How many permits there are, free or in use. More than the limit for a while after it was lowered.
    permits: usize,
    under_way: usize,
}

impl StartQueue {
    /// Starts as many at once as `limiter` allows.
    pub(super) fn new(limiter: ConcurrencyLimiter) -> Self {
        let permits = limiter.limit();
        let state = State { limiter, permits, under_way: 0 };
        Self { permits: Arc::new(Semaphore::new(permits)), state: Mutex::new(state) }
    }

    /// Waits until one more may begin.
    pub(super) async fn next(self: Arc<Self>) -> StartSlot {
        // The semaphore is never closed, so there always is a permit.
        let permit = self.permits.clone().acquire_owned().await.ok();
        let mut state = self.state.lock();
        state.under_way += 1;
        let limit = state.limiter.limit();
        let measured_at = (state.under_way >= limit).then_some(limit);
        drop(state);
        StartSlot { queue: self, permit, began: Instant::now(), measured_at }
    }

    /// Whether nothing is under way, and all may begin that could.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.under_way == 0 && self.permits.available_permits() == state.permits
    }
}

/// Leave to start one container. The next one begins when it is dropped; what the start took counts only if it was
/// [`StartSlot::done`].
#[derive(Debug)]
pub(crate) struct StartSlot {
    queue: Arc<StartQueue>,
    permit: Option<OwnedSemaphorePermit>,
    began: Instant,
    /// The limit when it began, if as many were under way then: only such a start says something about the limit.
    measured_at: Option<usize>,
}

impl StartSlot {
    /// The container runs.
    pub(crate) fn done(self) {
        let mut state = self.queue.state.lock();
        if self.measured_at == Some(state.limiter.limit()) {
            state.limiter.record(self.began.elapsed());
        }
    }
}

impl Drop for StartSlot {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let mut state = self.queue.state.lock();
        state.under_way -= 1;
        let limit = state.limiter.limit();
        if state.permits > limit {
            state.permits -= 1;
            permit.forget();
        } else if state.permits < limit {
            self.queue.permits.add_permits(limit - state.permits);
            state.permits = limit;
        }
    }
}

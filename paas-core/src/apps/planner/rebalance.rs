//! Which replicas would be better off on another host.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::place::is_exclusive;
use super::status::Status;
use super::view::{Standing, View};
use super::{Component, Planner, sizes};
use crate::apps::{Desired, Goal, Instance, Observed};
use crate::model::app::{AppName, ComponentName, Spread};
use crate::model::{EngineId, EngineStatus};
use crate::scheduler::{AllocationRef, EngineState, PlacementRequest, Scheduler, Snapshot};

/// Hosts whose scores differ by less are as good as balanced, points.
const BALANCED: f64 = 10.0;
/// What a move has to gain at least, points: less is not worth another container.
const LEAST: f64 = 1.0;

/// A replica that is to move.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// Its application.
    pub app: AppName,
    /// Its container, which makes room on its host.
    pub replica: Instance,
    /// The host that takes the next one, as it looks now.
    pub to: EngineId,
    /// By how many points the scores of the two hosts come closer.
    pub gain: f64,
}

/// What is to move from the fullest hosts until the scores of all differ by less than ten points, in this order; nothing where they do
/// already. Of each slot at most one container.
///
/// The score is [`Scheduler::room`], and no more than `most` move at once, by which the rest may be seen again. Of applications with a rollout under way nothing
/// moves, nor of components that are not as they should be, nor what others use, has a volume of its own, runs on each host, or must
/// never run twice. No component is spread over fewer hosts by it, and nothing moves that `scheduler` would put where it is.
pub fn rebalance(
    apps: &[(&Desired, &Observed)],
    snapshot: &Snapshot,
    scheduler: &dyn Scheduler,
    now: Timestamp,
    most: usize,
) -> Vec<Move> {
    let mut planners: Vec<Planner<'_>> = apps
        .iter()
        .filter(|(desired, _)| may_move(desired))
        .map(|(desired, observed)| Planner::new(desired, observed, snapshot, scheduler, now))
        .collect();
    let mut movable: Vec<Movable<'_>> =
        planners.iter().enumerate().flat_map(|(index, planner)| planner.movable(index)).collect();
    let mut snapshot = snapshot.clone();
    let mut moves = Vec::new();
    while moves.len() < most
        && let Some(best) = next(scheduler, &planners, &movable, &mut snapshot)
    {
        let moved = movable.remove(best.index);
        let planner = &mut planners[moved.planner];
        let from = moved.replica.engine.clone();
        let _ = snapshot.give_back(&from, AllocationRef::from(&moved.takes));
        snapshot.reserve(&best.to, &moved.needs);
        let placed = planner.placed.entry(moved.component.clone()).or_default();
        if let Some(count) = placed.get_mut(&from) {
            *count = count.saturating_sub(1);
        }
        *placed.entry(best.to.clone()).or_default() += 1;
        let app = planner.desired.app.clone();
        moves.push(Move { app, replica: moved.replica, to: best.to, gain: best.gain });
    }
    moves
}

fn may_move(desired: &Desired) -> bool {
    desired.goal == Goal::Run && desired.rollout.is_none() && desired.is_target_good() && !desired.observe_only
}

/// A container that may move.
struct Movable<'a> {
    /// Whose it is.
    planner: usize,
    component: &'a ComponentName,
    view: View<'a>,
    replica: Instance,
    /// What it takes of its host, and what the next one needs.
    takes: PlacementRequest,
    needs: PlacementRequest,
}

/// The best move.
struct Best {
    /// Of that container.
    index: usize,
    to: EngineId,
    gain: f64,
}

impl<'a> Planner<'a> {
    /// What of an application may move at all.
    fn movable(&self, planner: usize) -> Vec<Movable<'a>> {
        let mut movable = Vec::new();
        // What uses another one would have to follow it.
        let used: BTreeSet<&ComponentName> = self.desired.components().flat_map(|(_, spec)| spec.used_here()).collect();
        for (name, spec) in self.desired.components().filter(|(name, _)| !used.contains(name)) {
            let component = Component { name, spec, views: self.views(name, spec) };
            if is_exclusive(spec) || !component.is_settled() || component.unavailable() > 0 {
                continue;
            }
            for view in component.views {
                let Some(fit) = view.fit.as_ref().filter(|_| view.only.is_none()) else { continue };
                if fit.standing != Standing::Known(Status::Ready) {
                    continue;
                }
                let takes = sizes::request(view.spec, fit.container.sizes);
                let needs = sizes::request(view.spec, None);
                let replica = view.instance(fit.container);
                movable.push(Movable { planner, component: name, view, replica, takes, needs });
            }
        }
        movable
    }

    /// Where a container would go, and what that would gain.
    fn gain(&self, movable: &Movable<'a>, snapshot: &mut Snapshot) -> Option<(EngineId, f64)> {
        let from = &movable.replica.engine;
        let before =
            |snapshot: &Snapshot, engine: &EngineId| snapshot.get(engine).map(|engine| self.scheduler.room(engine));
        let full = before(snapshot, from)?;
        snapshot.give_back(from, AllocationRef::from(&movable.takes)).ok()?;
        let choose = |snapshot: &Snapshot, except| {
            self.choose(snapshot, &movable.view, None, except).ok().map(|(engine, _)| engine)
        };
        let chosen = choose(snapshot, None).filter(|engine| engine != from);
        let to = chosen.and_then(|_| choose(snapshot, Some(from)));
        let gain = to.as_ref().and_then(|to| {
            let distance = before(snapshot, to)? - full;
            snapshot.reserve(to, &movable.needs);
            let after = before(snapshot, to)? - before(snapshot, from)?;
            let _ = snapshot.give_back(to, AllocationRef::from(&movable.needs));
            Some(distance - after.abs())
        });
        snapshot.reserve(from, &movable.takes);
        let (to, gain) = (to?, gain?);
        let count = |engine: &EngineId| {
            self.placed.get(movable.component).and_then(|placed| placed.get(engine)).copied().unwrap_or(0)
        };
        let spreads = movable.view.spec.place.spread == Spread::Host;
        (gain >= LEAST && (!spreads || count(&to) < count(from))).then_some((to, gain))
    }
}

/// The move that gains the most from the fullest host that has one, as long as the hosts are not balanced.
fn next(
    scheduler: &dyn Scheduler,
    planners: &[Planner<'_>],
    movable: &[Movable<'_>],
    snapshot: &mut Snapshot,
) -> Option<Best> {
    let takes_part = |engine: &&EngineState| engine.status == EngineStatus::Up && !engine.draining;
    let mut hosts: Vec<(f64, EngineId)> =
        snapshot.engines().filter(takes_part).map(|engine| (scheduler.room(engine), engine.id.clone())).collect();
    hosts.sort_by(|one, other| one.0.total_cmp(&other.0).then_with(|| one.1.cmp(&other.1)));
    let emptiest = hosts.last()?.0;
    for (_, host) in hosts.iter().take_while(|(full, _)| emptiest - full >= BALANCED) {
        let mut best: Option<Best> = None;
        for (index, movable) in movable.iter().enumerate().filter(|(_, movable)| movable.replica.engine == *host) {
            if let Some((to, gain)) = planners[movable.planner].gain(movable, snapshot)
                && best.as_ref().is_none_or(|best| gain > best.gain)
            {
                best = Some(Best { index, to, gain });
            }
        }
        if best.is_some() {
            return best;
        }
    }
    None
}

/// Hosts and their scores, for people.
#[cfg(test)]
pub(in crate::apps) fn scores(
    snapshot: &Snapshot,
    scheduler: &dyn Scheduler,
) -> std::collections::BTreeMap<EngineId, f64> {
    snapshot.engines().map(|engine| (engine.id.clone(), scheduler.room(engine))).collect()
}

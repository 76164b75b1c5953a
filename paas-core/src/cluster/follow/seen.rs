//! Which events of a host were taken already, and from when on a stream is opened again after a break.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::engine::EngineEvent;

/// How many of the newest events are remembered, to know them when a host gives them again. Docker keeps 256 for those who come
/// back; other daemons may keep more.
const REMEMBERED: usize = 4096;
/// How far before the last event a stream is opened again: a host stamps an event before it puts it in order.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);
/// By how much a clock may differ from what it should show without having been set: what an answer may take on its way.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(1);
/// How long after a stream was opened it may still give what was given before.
const REPLAY: Duration = Duration::from_secs(30);

/// What was taken of the events of one host.
///
/// Events are taken in the order in which they arrive, whatever time they carry: the clock of a host may step back. Only what a
/// stream that is opened again repeats is left out, and that is known by its content.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Before that moment, by the host's clock, nothing is asked for. It says nothing once the clock was set.
    begun: Option<Timestamp>,
    /// What the host's clock showed, and when. By the time of this machine, which goes on steadily.
    clock: Option<(Timestamp, Instant)>,
    /// The time of the last event that arrived, and when it did. At first, when it was begun to listen.
    last: Option<(Timestamp, Instant)>,
    /// The newest events, the oldest first, each by a hash of all that it says.
    newest: VecDeque<u64>,
    /// Those that the open stream may repeat, and how often each.
    repeats: HashMap<u64, usize>,
    opened: Option<Instant>,
}

impl Seen {
    /// A stream is about to be opened: from when on, by the host's clock, which shows `now`. `None` for "from now on".
    pub(super) fn open(&mut self, now: Option<Timestamp>) -> Option<Timestamp> {
        self.open_at(now, Instant::now())
    }

    fn open_at(&mut self, now: Option<Timestamp>, at: Instant) -> Option<Timestamp> {
        self.note_clock_at(now, at);
        self.opened = Some(at);
        self.repeats.clear();
        let Some((last, arrived)) = self.last else {
            self.begun = now;
            self.last = now.map(|now| (now, at));
            return now;
        };
        for event in &self.newest {
            *self.repeats.entry(*event).or_default() += 1;
        }
        // What was missed happened since the last one arrived: by the clock as it went on then, or as it was set meanwhile.
        let gap = SignedDuration::try_from(at.duration_since(arrived)).unwrap_or_default();
        let by_now = now.map_or(last, |now| earlier(now, gap));
        let since = earlier(last.min(by_now), MARGIN);
        Some(self.begun.map_or(since, |begun| since.max(begun)))
    }

    /// Notes what the host's clock shows. When it was set, times of before say nothing any more.
    pub(super) fn note_clock(&mut self, now: Option<Timestamp>) {
        self.note_clock_at(now, Instant::now());
    }

    fn note_clock_at(&mut self, now: Option<Timestamp>, at: Instant) {
        let Some(now) = now else { return };
        if let Some((shown, then)) = self.clock.replace((now, at)) {
            let passed = SignedDuration::try_from(at.duration_since(then)).unwrap_or_default();
            let off = now.duration_since(shown).saturating_sub(passed);
            if off.abs() > TOLERANCE {
                self.begun = None;
            }
        }
    }

    /// Notes an event. False when the stream only repeats it.
    pub(super) fn is_new(&mut self, event: &EngineEvent) -> bool {
        self.is_new_at(event, Instant::now())
    }

    fn is_new_at(&mut self, event: &EngineEvent, at: Instant) -> bool {
        self.last = Some((event.time, at));
        let mut hasher = DefaultHasher::new();
        event.hash(&mut hasher);
        let event = hasher.finish();
        if self.opened.is_some_and(|opened| at.duration_since(opened) > REPLAY) {
            self.repeats = HashMap::new();
        }
        if let Some(times) = self.repeats.get_mut(&event) {
            *times -= 1;
            if *times == 0 {
                self.repeats.remove(&event);
            }
            return false;
        }
        if self.newest.len() == REMEMBERED {
            self.newest.pop_front();
        }
        self.newest.push_back(event);
        true
    }
}

fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_sub(by).map_or(Timestamp::UNIX_EPOCH, |time| time.max(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EventDetail;

    const START: i64 = 1_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(START + second).unwrap()
    }

    fn event(second: i64, action: &str) -> EngineEvent {
        EngineEvent {
            time: at(second),
            action: action.to_owned(),
            container: None,
            name: "a".to_owned(),
            image: None,
            launch: None,
            detail: EventDetail::default(),
        }
    }

    fn later(begun: Instant, seconds: u64) -> Instant {
        begun + Duration::from_secs(seconds)
    }

    /// What a host as Docker gives to those who come back: it looks back from the newest to the first that is earlier.
    fn given(history: &[EngineEvent], since: Option<Timestamp>) -> Vec<EngineEvent> {
        let since = since.unwrap();
        let count = history.iter().rev().take_while(|event| event.time >= since).count();
        history[history.len() - count..].to_vec()
    }

    #[test]
    fn the_order_is_that_of_arrival_whatever_the_times_say() {
        let (mut seen, begun) = (Seen::default(), Instant::now());
        assert_eq!(seen.open_at(Some(at(0)), begun), Some(at(0)));
        for event in [event(5, "exec_die"), event(4, "die"), event(-600, "start"), event(-600, "start")] {
            assert!(seen.is_new_at(&event, begun), "nothing is dropped while the stream is the first: {event:?}");
        }
    }

    #[test]
    fn what_a_reopened_stream_repeats_is_taken_once_and_nothing_else_is_left_out() {
        let (mut seen, begun) = (Seen::default(), Instant::now());
        seen.open_at(Some(at(0)), begun);
        let mut history = vec![event(1, "create"), event(2, "start"), event(2, "start"), event(3, "attach")];
        assert!(history.iter().all(|event| seen.is_new_at(event, later(begun, 3))));
        // Reordered by the host, and one that nobody has heard among them.
        history.swap(0, 1);
        history.insert(2, event(2, "die"));
        let since = seen.open_at(Some(at(5)), later(begun, 5));
        let new: Vec<_> =
            given(&history, since).into_iter().filter(|event| seen.is_new_at(event, later(begun, 5))).collect();
        assert_eq!(new, [event(2, "die")]);
    }

    #[test]
    fn what_was_before_the_first_stream_is_not_asked_for() {
        let (mut seen, begun) = (Seen::default(), Instant::now());
        seen.open_at(Some(at(0)), begun);
        assert_eq!(seen.open_at(Some(at(10)), later(begun, 10)), Some(at(0)));
        assert_eq!(seen.open_at(Some(at(200)), later(begun, 200)), Some(at(0)), "nothing has arrived since");
        assert!(seen.is_new_at(&event(150, "die"), later(begun, 200)));
        assert_eq!(seen.open_at(Some(at(300)), later(begun, 300)), Some(at(90)));
    }

    /// However the clock of a host is set while the stream is broken, or before, everything of the gap is heard, once.
    #[test]
    fn a_clock_that_steps_loses_nothing_over_a_break() {
        for step in [-86_400, -600, -61, -2, 0, 2, 61, 600, 86_400] {
            for (before, steps_at) in [(20, 25), (20, 15)] {
                let (mut seen, begun) = (Seen::default(), Instant::now());
                let shows = |second: i64| if second >= steps_at { second + step } else { second };
                seen.open_at(Some(at(0)), begun);
                let heard = [event(shows(1), "a"), event(shows(before), "b")];
                assert!(heard.iter().all(|event| seen.is_new_at(event, later(begun, 20))));
                // The stream breaks at 21, and is open again at 30.
                let missed =
                    [event(shows(22), "c"), event(shows(24), "d"), event(shows(26), "e"), event(shows(29), "f")];
                let history = [&heard[..], &missed[..]].concat();
                let since = seen.open_at(Some(at(shows(30))), later(begun, 30));
                let new: Vec<_> = given(&history, since)
                    .into_iter()
                    .filter(|event| seen.is_new_at(event, later(begun, 30)))
                    .collect();
                assert_eq!(new, missed, "stepped by {step} at {steps_at}");
            }
        }
    }

    #[test]
    fn memory_is_bounded() {
        let (mut seen, begun) = (Seen::default(), Instant::now());
        seen.open_at(Some(at(0)), begun);
        for second in 0..10_000 {
            seen.is_new_at(&event(second, "start"), begun);
        }
        seen.open_at(Some(at(10_000)), begun);
        assert_eq!((seen.newest.len(), seen.repeats.len()), (REMEMBERED, REMEMBERED));
        assert!(!seen.is_new_at(&event(9_999, "start"), begun));
        assert!(seen.is_new_at(&event(9_999, "start"), begun + REPLAY * 2), "the same again, and not a repetition");
        assert_eq!(seen.repeats.len(), 0);
    }
}

//! What a person sees of a rollout while it is under way: one line per replica that changes in place on a terminal, one line
//! per change elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use paas_core::wire::app::AppStatus;

use super::{Output, apps, one_line};

/// Shows how an application changes.
pub(crate) struct RolloutReporter {
    output: Output,
    bars: Option<Bars>,
    /// What was said of each replica last, by component and slot.
    replicas: BTreeMap<(String, u32), String>,
    /// What was said once, and is not said again.
    said: BTreeSet<String>,
}

impl RolloutReporter {
    /// A reporter of what becomes different from `before`.
    pub(crate) fn new(output: Output, before: Option<&AppStatus>) -> Self {
        let watched = !output.quiet && std::io::stderr().is_terminal();
        let bars = watched.then(|| Bars { all: MultiProgress::new(), replicas: BTreeMap::new() });
        let said = before.map(|app| app.notes.iter().cloned().collect()).unwrap_or_default();
        Self { output, bars, replicas: before.map(lines_of).unwrap_or_default(), said }
    }

    /// Shows what is different from the last time.
    pub(crate) fn show(&mut self, app: &AppStatus) {
        for line in self.news(app) {
            self.say(&line);
        }
        let new = lines_of(app);
        let gone: Vec<_> = self.replicas.keys().filter(|key| !new.contains_key(*key)).cloned().collect();
        for key in gone {
            self.replicas.remove(&key);
            let line = format!("{}.{}: gone", key.0, key.1);
            self.put(&key, &line);
        }
        for (key, line) in new {
            let known = self.replicas.get(&key);
            // On a terminal the line changes in place; elsewhere each second would be a line of its own.
            let is_news = match &self.bars {
                Some(_) => known != Some(&line),
                None => known.is_none_or(|known| without_seconds(known) != without_seconds(&line)),
            };
            if is_news {
                self.put(&key, &line);
                self.replicas.insert(key, line);
            }
        }
    }

    /// What was not said yet of the application as a whole.
    fn news(&mut self, app: &AppStatus) -> Vec<String> {
        let back = app.rollout.as_ref().filter(|rollout| !rollout.why.is_empty());
        let back = back.map(|rollout| format!("going back to revision {}: {}", rollout.to, rollout.why));
        let news = back.into_iter().chain(app.notes.iter().cloned());
        news.filter(|line| self.said.insert(line.clone())).collect()
    }

    fn put(&mut self, key: &(String, u32), line: &str) {
        match &mut self.bars {
            Some(bars) => bars.put(key, line),
            None => self.output.say(line),
        }
    }

    /// Says something that stays.
    pub(crate) fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => drop(bars.all.println(one_line(line))),
            None => self.output.say(line),
        }
    }

    /// Leaves the lines as they are.
    pub(crate) fn finish(self) {
        for bar in self.bars.into_iter().flat_map(|bars| bars.replicas.into_values()) {
            bar.abandon();
        }
    }
}

/// A line without how many seconds something took so far.
fn without_seconds(line: &str) -> Vec<&str> {
    let words: Vec<&str> = line.split(' ').collect();
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let is_count = |at: usize| words.get(at + 1).is_some_and(|unit| unit.starts_with('s') && unit.len() <= 2);
    let kept = words.iter().enumerate().filter(|(at, word)| !(is_number(word) && is_count(*at)));
    kept.map(|(_, word)| *word).collect()
}

fn lines_of(app: &AppStatus) -> BTreeMap<(String, u32), String> {
    let line = |(name, replica)| {
        let replica: &paas_core::wire::app::ReplicaStatus = replica;
        ((format!("{name}"), replica.slot), apps::replica(name, replica))
    };
    apps::replicas(app).map(line).collect()
}

/// One line per replica.
struct Bars {
    all: MultiProgress,
    replicas: BTreeMap<(String, u32), ProgressBar>,
}

impl Bars {
    fn put(&mut self, key: &(String, u32), line: &str) {
        let bar = self.replicas.entry(key.clone()).or_insert_with(|| {
            let style =
                ProgressStyle::with_template("  {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            self.all.add(ProgressBar::new_spinner().with_style(style))
        });
        bar.set_message(line.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressDrawTarget;

    use super::*;
    use crate::args::Format;

    fn app(replicas: &str, more: &str) -> AppStatus {
        let text = format!(
            r#"{{"name": "shop", "state": "rolling-out", "revision": 4, "ready": 1, "replicas": 2, "components": ["web"],
                "changed": "2026-01-31T12:00:00Z", "component": {{"web": {{"image": "shop:1.9", "declared": 2, "ready": 1,
                "replicas": [{replicas}]}}}}{more}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn on_a_terminal_each_replica_has_a_line_that_changes() {
        let output = Output { format: Format::Table, quiet: false };
        let before = app(r#"{"slot": 1, "revision": 3, "engine": "a", "state": "ready"}"#, "");
        let mut reporter = RolloutReporter::new(output, Some(&before));
        let hidden = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        reporter.bars = Some(Bars { all: hidden, replicas: BTreeMap::new() });
        reporter.show(&before);
        assert!(reporter.bars.as_ref().unwrap().replicas.is_empty(), "nothing changed yet");
        reporter.show(&app(r#"{"slot": 1, "revision": 4, "engine": "b", "state": "starting"}"#, ""));
        reporter.show(&app(r#"{"slot": 1, "revision": 4, "engine": "b", "state": "ready"}"#, ""));
        let bars = &reporter.bars.as_ref().unwrap().replicas;
        assert_eq!(bars[&("web".to_owned(), 1)].message(), "web.1 on b: ready, revision 4");
        reporter.show(&app("", ""));
        let bars = &reporter.bars.as_ref().unwrap().replicas;
        assert_eq!((bars.len(), bars[&("web".to_owned(), 1)].message().as_str()), (1, "web.1: gone"));
        reporter.finish();
    }

    #[test]
    fn what_concerns_the_whole_is_said_once() {
        let mut reporter = RolloutReporter::new(Output { format: Format::Table, quiet: true }, None);
        let back = r#", "rollout": {"to": 5, "reason": "rollback", "why": "web.1 is not ready", "started":
            "2026-01-31T12:00:00Z"}, "notes": ["web waits for db"]"#;
        let news = reporter.news(&app("", back));
        assert_eq!(news, ["going back to revision 5: web.1 is not ready", "web waits for db"]);
        assert!(reporter.news(&app("", back)).is_empty());
    }

    #[test]
    fn the_template_is_right() {
        assert!(ProgressStyle::with_template("  {wide_msg}").is_ok());
    }
}

//! What a person sees of an operation while it is under way: bars on a terminal, lines elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use paas_core::controller::Progress;
use paas_core::model::EngineId;

use super::{Output, one_line};
use crate::client::Note;

const TICK: Duration = Duration::from_millis(120);

/// What an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Starting,
    Scaling,
    Pulling,
}

impl Work {
    const fn verb(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Scaling => "scaling",
            Self::Pulling => "pulling",
        }
    }
}

/// Shows the steps of one operation.
pub(crate) struct Reporter {
    output: Output,
    bars: Option<Bars>,
    /// Engines that are known to pull; the many steps of a pull make one line.
    pulling: BTreeSet<EngineId>,
}

impl Reporter {
    /// A reporter for an operation on `count` things, where that is known before.
    pub(crate) fn new(output: Output, work: Work, count: Option<u64>) -> Self {
        let watched = !output.quiet && std::io::stderr().is_terminal();
        let bars = watched.then(|| Bars::new(MultiProgress::new(), work, count));
        Self { output, bars, pulling: BTreeSet::new() }
    }

    /// Shows one step.
    pub(crate) fn show(&mut self, step: &Progress) {
        let line = self.line(step);
        match &mut self.bars {
            Some(bars) => bars.show(step, line),
            None => line.into_iter().for_each(|line| self.output.say(&line)),
        }
    }

    /// Shows what a newer server tells, as far as it is text.
    pub(crate) fn show_other(&mut self, note: &Note) {
        let place = note.engine.as_ref().map(|engine| format!(" on {engine}")).unwrap_or_default();
        let line = format!("{}{place}: {}", note.event, note.text);
        match &mut self.bars {
            Some(bars) => bars.say(&line),
            None => self.output.say(&line),
        }
    }

    /// The request was sent again, and what failed before does not count any more.
    pub(crate) fn begin_again(&mut self) {
        let line = "the connection broke off; the request was sent again";
        match &mut self.bars {
            Some(bars) => bars.begin_again(line),
            None => self.output.say(line),
        }
    }

    /// What is worth a line of its own.
    fn line(&mut self, step: &Progress) -> Option<String> {
        match step {
            Progress::Pulling { engine, image, .. } => {
                self.pulling.insert(engine.clone()).then(|| format!("pulling {image} on {engine}"))
            }
            Progress::Pulled { engine, image } => Some(format!("pulled {image} on {engine}")),
            Progress::Started { container, warnings, .. } => {
                let warned: String = warnings.iter().map(|warning| format!("; the host warns: {warning}")).collect();
                Some(format!("started {} on {}{warned}", container.id.short(), container.engine.id))
            }
            Progress::Retrying { index, engine, error } => {
                Some(format!("container {} is tried elsewhere; {engine}: {error}", index + 1))
            }
            Progress::Destroyed { container, engine } => Some(format!("destroyed {} on {engine}", container.short())),
            // Failures are told together at the end.
            _ => None,
        }
    }

    /// Clears what is only of interest while it lasts.
    pub(crate) fn finish(self) {
        if let Some(bars) = self.bars {
            bars.clear();
        }
    }
}

/// One bar for the whole and one line per engine that pulls.
struct Bars {
    all: MultiProgress,
    work: Work,
    whole: ProgressBar,
    pulls: BTreeMap<EngineId, ProgressBar>,
    retried: usize,
    failed: usize,
}

impl Bars {
    fn new(all: MultiProgress, work: Work, count: Option<u64>) -> Self {
        let whole = match count {
            Some(count) => ProgressBar::new(count).with_style(style("{spinner} {prefix} [{bar:30}] {pos}/{len} {msg}")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {prefix} {pos} done {msg}")),
        };
        let whole = all.add(whole.with_prefix(work.verb()));
        whole.enable_steady_tick(TICK);
        Self { all, work, whole, pulls: BTreeMap::new(), retried: 0, failed: 0 }
    }

    fn show(&mut self, step: &Progress, line: Option<String>) {
        match step {
            Progress::Pulling { engine, image, status, current, total } => {
                let bar = self.pulls.entry(engine.clone()).or_insert_with(|| {
                    let bar = ProgressBar::new_spinner().with_style(style("  {prefix}: {wide_msg}"));
                    self.all.add(bar.with_prefix(engine.to_string()))
                });
                let bytes = |bytes: &u64| indicatif::HumanBytes(*bytes).to_string();
                let amount = match (current, total) {
                    (Some(current), Some(total)) => format!(" {} of {}", bytes(current), bytes(total)),
                    (Some(current), None) => format!(" {}", bytes(current)),
                    _ => String::new(),
                };
                bar.set_message(one_line(&format!("pulling {image}: {status}{amount}")));
            }
            Progress::Pulled { engine, .. } => {
                if let Some(bar) = self.pulls.remove(engine) {
                    bar.finish_and_clear();
                }
                // A run pulls too, but what it counts is containers.
                if self.work == Work::Pulling {
                    self.whole.inc(1);
                }
            }
            Progress::Started { .. } | Progress::Destroyed { .. } => self.whole.inc(1),
            Progress::Retrying { .. } => {
                self.retried += 1;
                // Where something goes wrong, what it was must stay to be read.
                let _ = self.all.println(one_line(&line.unwrap_or_default()));
            }
            Progress::Failed(_) => self.failed += 1,
            _ => {}
        }
        let counts = [(self.retried, "tried elsewhere"), (self.failed, "failed")];
        let told = counts.into_iter().filter(|&(count, _)| count > 0);
        self.whole.set_message(told.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", "));
    }

    fn begin_again(&mut self, line: &str) {
        self.failed = 0;
        self.say(line);
    }

    fn say(&mut self, line: &str) {
        let _ = self.all.println(one_line(line));
    }

    fn clear(self) {
        for bar in self.pulls.values() {
            bar.finish_and_clear();
        }
        self.whole.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // A template that is wrong would only look plain.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressDrawTarget;
    use paas_core::controller::Failure;

    use super::*;

    fn pulling(engine: &EngineId) -> Progress {
        Progress::Pulling {
            engine: engine.clone(),
            image: "httpd".parse().unwrap(),
            status: "Downloading".to_owned(),
            current: Some(1),
            total: Some(2),
        }
    }

    #[test]
    fn bars_count_what_was_done_and_what_failed() {
        let engine: EngineId = "local".parse().unwrap();
        let hidden = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let mut bars = Bars::new(hidden, Work::Starting, Some(3));
        bars.show(&pulling(&engine), None);
        assert_eq!(bars.pulls[&engine].message(), "pulling httpd: Downloading 1 B of 2 B");
        bars.show(&Progress::Pulled { engine: engine.clone(), image: "httpd".parse().unwrap() }, None);
        assert!(bars.pulls.is_empty());
        let container = "0123456789abcdef".parse().unwrap();
        bars.show(&Progress::Destroyed { container, engine: engine.clone() }, None);
        let failure =
            Failure { index: 1, engine: Some(engine), container: None, error: "no".to_owned(), deferred: false };
        bars.show(&Progress::Failed(failure), None);
        assert_eq!((bars.whole.position(), bars.whole.length()), (1, Some(3)));
        assert_eq!(bars.whole.message(), "1 failed");
        bars.clear();
    }

    #[test]
    fn a_pull_counts_engines() {
        let hidden = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let mut bars = Bars::new(hidden, Work::Pulling, Some(2));
        bars.show(&Progress::Pulled { engine: "local".parse().unwrap(), image: "httpd".parse().unwrap() }, None);
        assert_eq!(bars.whole.position(), 1);
    }

    #[test]
    fn templates_are_right() {
        for template in [
            "{spinner} {prefix} [{bar:30}] {pos}/{len} {msg}",
            "{spinner} {prefix} {pos} done {msg}",
            "  {prefix}: {wide_msg}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}

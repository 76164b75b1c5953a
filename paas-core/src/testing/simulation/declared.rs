//! Applications that somebody declares at random.

use std::fmt::Write as _;

use rand::RngExt;
use rand::rngs::StdRng;

use super::programs::{DIES, GOOD, JOB, SICK, UNREADY, WITHDRAWN};
use crate::wire::app::{AppRequest, read_files};

/// The application of a world.
pub(super) const APP: &str = "shop";

/// What somebody declares: the same components again and again, with new images, sizes and numbers.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    parts: Vec<Part>,
    versions: u32,
}

/// A component, as it is written.
#[derive(Clone, Debug)]
struct Part {
    name: &'static str,
    /// The lines that stay.
    lines: String,
    image: &'static str,
    version: u32,
    /// Nothing for one that is on each host.
    replicas: Option<u32>,
    most: u32,
    memory: u32,
    order: &'static str,
    parallel: u32,
    is_declared: bool,
    is_optional: bool,
}

fn pick<T: Copy>(random: &mut StdRng, all: &[T]) -> T {
    all[random.random_range(0..all.len())]
}

impl Declared {
    pub(super) fn new(random: &mut StdRng) -> Self {
        let mut parts = vec![web(random)];
        if random.random_bool(0.4) {
            parts.push(with_volume(random));
        }
        if random.random_bool(0.2) {
            parts.push(only_one());
        }
        if random.random_bool(0.2) {
            parts.push(job(random));
        }
        if random.random_bool(0.2) {
            parts.push(on_each_host());
        }
        if parts.iter().any(|part| part.name == "db") && random.random_bool(0.5) {
            parts[0].lines.push_str("depends_on = ['db']\n");
        }
        Self { parts, versions: 1 }
    }

    /// Another version that works.
    pub(super) fn improve(&mut self, random: &mut StdRng) {
        self.change(random, &[]);
    }

    /// Another version that does not.
    pub(super) fn spoil(&mut self, random: &mut StdRng) {
        self.change(random, &[SICK, DIES, WITHDRAWN, UNREADY]);
    }

    fn change(&mut self, random: &mut StdRng, images: &[&'static str]) {
        self.versions += 1;
        let version = self.versions;
        let chosen = random.random_range(0..self.parts.len());
        for (number, part) in self.parts.iter_mut().enumerate() {
            let good = if part.name == "job" { JOB } else { GOOD };
            let was_bad = part.image != good;
            part.image = good;
            if number == chosen && !images.is_empty() {
                (part.image, part.version) = (pick(random, images), version);
            } else if was_bad || random.random_bool(0.6) {
                part.version = version;
            }
            if part.replicas.is_some() && random.random_bool(0.3) {
                part.replicas = Some(random.random_range(1..=part.most));
            }
            if random.random_bool(0.2) {
                part.memory = pick(random, &[64, 96, 128]);
            }
            if part.is_optional && random.random_bool(0.2) {
                part.is_declared = !part.is_declared;
            }
        }
    }

    /// Another number of a component that has one, with its name.
    pub(super) fn scale(&mut self, random: &mut StdRng) -> (&'static str, u32) {
        let part = &mut self.parts[0];
        let replicas = random.random_range(1..=part.most);
        part.replicas = Some(replicas);
        (part.name, replicas)
    }

    /// The file.
    pub(super) fn file(&self) -> AppRequest {
        let mut text = format!("app = '{APP}'\n");
        for part in self.parts.iter().filter(|part| part.is_declared) {
            let Part { name, lines, image, version, replicas, memory, order, parallel, .. } = part;
            let replicas = replicas.map_or("'each-host'".to_owned(), |replicas| replicas.to_string());
            let update =
                format!("order = '{order}', parallel = {parallel}, monitor = '2s', drain = '3s', progress = '2m'");
            writeln!(text, "[component.{name}]\nimage = '{image}:{version}'\nreplicas = {replicas}\nmemory = {memory}")
                .expect("text takes everything");
            writeln!(text, "update = {{ {update} }}\nstop = {{ grace = '2s' }}\n{lines}")
                .expect("text takes everything");
        }
        read_files(&[("paas.toml", &text)], |_| None).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

const CHECKED: &str = "health = { command = ['check'], interval = '1s', start = '5s' }\n";

fn part(name: &'static str, replicas: Option<u32>, most: u32) -> Part {
    Part {
        name,
        lines: String::new(),
        image: GOOD,
        version: 1,
        replicas,
        most,
        memory: 64,
        order: "auto",
        parallel: 1,
        is_declared: true,
        is_optional: false,
    }
}

fn web(random: &mut StdRng) -> Part {
    let mut web = part("web", Some(random.random_range(1..=4)), 5);
    web.order = pick(random, &["auto", "start-first", "start-first", "stop-first"]);
    web.parallel = random.random_range(1..=2);
    for (line, share) in [
        (CHECKED, 0.5),
        ("before = { command = ['migrate'] }\n", 0.25),
        ("publish = ['8443:80']\n", 0.1),
        ("heal = { after = 'never' }\n", 0.1),
        ("restart = 'unless-stopped'\n", 0.2),
    ] {
        if random.random_bool(share) {
            web.lines.push_str(line);
        }
    }
    if web.lines.contains("publish") {
        // Each host has its port once, so that the new one cannot come first where each host has one.
        (web.replicas, web.most, web.order) = (Some(1), 2, "auto");
    }
    web
}

fn with_volume(random: &mut StdRng) -> Part {
    let mut db = part("db", Some(random.random_range(1..=2)), 2);
    db.order = pick(random, &["auto", "stop-first"]);
    db.lines.push_str("volumes = ['data:/data']\n");
    if random.random_bool(0.5) {
        db.lines.push_str(CHECKED);
    }
    if random.random_bool(0.3) {
        db.lines.push_str("before = { command = ['migrate'] }\n");
    }
    db
}

fn only_one() -> Part {
    let lines = "heal = { singleton = true }\n".to_owned();
    Part { lines, is_optional: true, ..part("one", Some(1), 1) }
}

fn job(random: &mut StdRng) -> Part {
    let lines = format!("restart = '{}'\n", pick(random, &["no", "on-failure"]));
    Part { lines, image: JOB, is_optional: true, ..part("job", Some(1), 2) }
}

fn on_each_host() -> Part {
    Part { is_optional: true, ..part("agent", None, 0) }
}

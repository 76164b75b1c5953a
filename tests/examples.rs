//! Every example runs to its end, without Docker, and says something.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Command;

fn folder_of_examples() -> PathBuf {
    // The test program is in target/<profile>/deps; cargo puts the examples beside that folder.
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples")
}

#[test]
fn every_example_runs() {
    let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap();
    let mut names: Vec<String> = sources
        .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 3, "only {names:?}");
    for name in names {
        let program = folder_of_examples().join(&name);
        assert!(program.is_file(), "{name} is not built; run 'cargo build --examples' first");
        let output = Command::new(program).output().unwrap();
        let talk = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} ended with {}: {talk}", output.status);
        assert!(!output.stdout.is_empty(), "{name} says nothing");
    }
}

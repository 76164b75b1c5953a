//! The programs of this workspace as they are released, for benchmarks that start them.

use std::path::PathBuf;
use std::process::Command;

/// Builds server and command line as `cargo build --release` does, and gives their folder.
///
/// # Panics
/// When they cannot be built.
pub fn build() -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "paas-server", "--package", "paas-cli"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo can be run");
    assert!(built.success(), "the programs are built");
    // This program lies in `deps` beside them.
    let own = std::env::current_exe().expect("this program has a path");
    own.ancestors().nth(2).expect("and lies in a folder of the target folder").to_owned()
}

//! Tests that need a real server are skipped where it is missing, and loudly.

use std::io::Write;

/// Makes a test fail where it would be skipped.
pub const NO_SKIP_VARIABLE: &str = "PAAS_TEST_NO_SKIP";

/// Says loudly that a test does not run, and why.
///
/// # Panics
/// Where [`NO_SKIP_VARIABLE`] is `1`.
pub fn skip(test: &str, reason: &str) {
    let required = std::env::var(NO_SKIP_VARIABLE).is_ok_and(|value| value == "1");
    assert!(!required, "{test} must not be skipped: {reason}");
    // Past the capturing of output by the test harness.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
}

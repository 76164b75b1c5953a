//! How much the tests do: what needs nothing but this program, all of it, or all of it for hours.

/// Leaves out the tests that need a real Docker host, etcd or several hosts, when it is `1`.
pub const QUICK_VARIABLE: &str = "PAAS_TEST_QUICK";
/// How many seeds a test tries that does the same with other random numbers each time.
pub const SEEDS_VARIABLE: &str = "PAAS_TEST_SEEDS";
/// How many rounds a test goes that does the same to real programs again and again.
pub const ROUNDS_VARIABLE: &str = "PAAS_TEST_ROUNDS";
/// Why a test is skipped that needs a real server.
pub const LEFT_OUT: &str = "left out of the quick tests";

/// Whether only what needs no real server is to be tested.
#[must_use]
pub fn is_quick() -> bool {
    std::env::var(QUICK_VARIABLE).is_ok_and(|value| value == "1")
}

/// How many seeds to try, where `usual` do from day to day.
///
/// # Panics
/// Where [`SEEDS_VARIABLE`] holds no number.
#[must_use]
pub fn seeds(usual: usize) -> usize {
    number(SEEDS_VARIABLE, usual)
}

/// How many rounds to go, where `usual` do from day to day.
///
/// # Panics
/// Where [`ROUNDS_VARIABLE`] holds no number.
#[must_use]
pub fn rounds(usual: usize) -> usize {
    number(ROUNDS_VARIABLE, usual)
}

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("the variable holds a number"))
}

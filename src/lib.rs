//! The unpublished root package of the workspace. It holds what crosses crates: `examples/`, `benches/` and `tests/`.

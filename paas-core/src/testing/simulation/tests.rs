use super::run;

#[test]
fn one() {
    let outcome = run(1);
    assert!(outcome.broken.is_none(), "{outcome}");
}

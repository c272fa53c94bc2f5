//! Runs one property over many generated values, on a fixed seed.

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner},
};

/// What a property says of one value.
pub(crate) type Held = Result<(), TestCaseError>;

/// Tries a property on `cases` values; gives the reason and the smallest value found that breaks it.
pub(crate) fn search<S: Strategy>(
    cases: u32,
    values: &S,
    property: impl Fn(S::Value) -> Held,
) -> Result<(), TestError<S::Value>> {
    let asked = Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { asked.cases } else { cases };
    let rng_seed = if asked.rng_seed == RngSeed::Random { RngSeed::Fixed(20_260) } else { asked.rng_seed };
    let config = Config { cases, rng_seed, failure_persistence: None, max_shrink_iters: 400, ..asked };
    TestRunner::new(config).run(values, property)
}

/// Fails the test with the smallest value that breaks the property.
pub(crate) fn holds<S: Strategy>(cases: u32, values: &S, property: impl Fn(S::Value) -> Held) {
    if let Err(error) = search(cases, values, property) {
        panic!("{error}");
    }
}

/// Turns a finding into a failed case.
pub(crate) fn ensure(holds: bool, finding: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { Err(TestCaseError::fail(finding())) }
}

//! Gates: what a candidate must pass before it is announced, compared with the champion on the same rows.
//!
//! Pure: takes what was computed, gives verdicts. A failed gate can be overridden, with a reason that is recorded.

use std::collections::BTreeMap;

use modelcast_protocol::{manifest::Manifest, schema::FeatureSchema};
use serde::{Deserialize, Serialize};

/// What a candidate must pass.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatePolicy {
    /// By the metric's name.
    #[serde(default)]
    pub metrics: BTreeMap<String, MetricGate>,
    /// Largest size of the artifact as a multiple of the champion's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_growth_max: Option<f64>,
}

/// What one metric must satisfy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricGate {
    /// Which way is better.
    pub better: Direction,
    /// Smallest value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// Largest value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// How much worse than the champion it may be, as a part of the champion's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worse_by_at_most: Option<f64>,
}

/// Which way a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// An error.
    Lower,
    /// A score.
    Higher,
}

/// What one gate said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateResult {
    /// Its name: what `--override` takes.
    pub gate: String,
    /// What it said.
    pub verdict: GateVerdict,
    /// The values that it compared.
    pub detail: String,
}

/// Whether a gate lets a candidate through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateVerdict {
    /// It does.
    Passed,
    /// It does not.
    Failed,
    /// It does not, and somebody took responsibility.
    Overridden,
    /// There is nothing to compare with.
    Skipped,
}

/// The champion's side of the comparison.
pub(crate) struct ChampionSide<'a> {
    pub(crate) manifest: &'a Manifest,
    /// Its metrics on the candidate's hold-out rows, or why it cannot be scored on them.
    pub(crate) metrics: Result<BTreeMap<String, f64>, String>,
}

/// A candidate, as far as gates look at it.
pub(crate) struct Candidate<'a> {
    pub(crate) metrics: &'a BTreeMap<String, f64>,
    pub(crate) schema: &'a FeatureSchema,
    pub(crate) size_bytes: u64,
    /// What decoding it and recomputing its golden rows gave.
    pub(crate) golden: Result<(), String>,
}

impl GateResult {
    /// Whether it keeps a candidate from being published.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.verdict == GateVerdict::Failed
    }
}

/// Judges a candidate. `overrides` has a reason for each gate that may fail.
pub(crate) fn judge(
    policy: &GatePolicy,
    candidate: &Candidate<'_>,
    champion: Option<&ChampionSide<'_>>,
    overrides: &BTreeMap<String, String>,
) -> Vec<GateResult> {
    let mut results = vec![golden(candidate)];
    results.extend(policy.metrics.iter().flat_map(|(name, gate)| metric(name, gate, candidate, champion)));
    results.push(size(policy, candidate, champion));
    results.push(schema(candidate, champion));
    for result in &mut results {
        if let Some(reason) = overrides.get(&result.gate).filter(|_| result.is_failed()) {
            result.verdict = GateVerdict::Overridden;
            result.detail = format!("{}; overridden: {reason}", result.detail);
        }
    }
    results
}

/// Names of the gates that a policy has: what an override may name.
#[must_use]
pub(crate) fn names(policy: &GatePolicy) -> Vec<String> {
    let metrics = policy.metrics.keys().flat_map(|name| [name.clone(), format!("{name}-vs-champion")]);
    ["golden", "size", "schema"].into_iter().map(str::to_owned).chain(metrics).collect()
}

fn golden(candidate: &Candidate<'_>) -> GateResult {
    let (passed, detail) = match &candidate.golden {
        Ok(()) => (true, "the encoded artifact decodes, and its golden rows agree".to_owned()),
        Err(cause) => (false, cause.clone()),
    };
    result("golden", passed, detail)
}

fn metric(
    name: &str,
    gate: &MetricGate,
    candidate: &Candidate<'_>,
    champion: Option<&ChampionSide<'_>>,
) -> Vec<GateResult> {
    let Some(value) = candidate.metrics.get(name).copied().filter(|value| value.is_finite()) else {
        return vec![result(name, false, format!("the candidate has no finite metric {name}"))];
    };
    let mut results = Vec::new();
    if gate.at_least.is_some() || gate.at_most.is_some() {
        let passed =
            gate.at_least.is_none_or(|least| value >= least) && gate.at_most.is_none_or(|most| value <= most);
        let bound = |word: &str, bound: Option<f64>| bound.map(|bound| format!(", {word} {bound}"));
        let bounds = [bound("at least", gate.at_least), bound("at most", gate.at_most)];
        let bounds: String = bounds.into_iter().flatten().collect();
        results.push(result(name, passed, format!("{value:.6}{bounds}")));
    }
    if let Some(tolerance) = gate.worse_by_at_most {
        results.push(relative(name, gate.better, value, tolerance, champion));
    }
    results
}

fn relative(
    name: &str,
    better: Direction,
    value: f64,
    tolerance: f64,
    champion: Option<&ChampionSide<'_>>,
) -> GateResult {
    let gate = format!("{name}-vs-champion");
    let skipped = |detail: String| GateResult { gate: gate.clone(), verdict: GateVerdict::Skipped, detail };
    let before = match champion.map(|champion| &champion.metrics) {
        None => return skipped("there is no champion".to_owned()),
        Some(Err(cause)) => return skipped(format!("the champion cannot be scored on these rows: {cause}")),
        Some(Ok(metrics)) => match metrics.get(name) {
            Some(before) => *before,
            None => return skipped(format!("the champion has no metric {name}")),
        },
    };
    let room = before.abs() * tolerance;
    let passed = match better {
        Direction::Lower => value <= before + room,
        Direction::Higher => value >= before - room,
    };
    result(&gate, passed, format!("{value:.6}, the champion has {before:.6}, {tolerance} of it allowed"))
}

fn size(policy: &GatePolicy, candidate: &Candidate<'_>, champion: Option<&ChampionSide<'_>>) -> GateResult {
    let (Some(most), Some(champion)) = (policy.size_growth_max, champion) else {
        let detail = "no limit, or no champion".to_owned();
        return GateResult { gate: "size".into(), verdict: GateVerdict::Skipped, detail };
    };
    let (new, old) = (candidate.size_bytes, champion.manifest.size_bytes.max(1));
    #[expect(clippy::cast_precision_loss, reason = "a ratio of sizes needs no more than 53 bits")]
    let growth = new as f64 / old as f64;
    result("size", growth <= most, format!("{new} bytes after {old}, {most} times allowed"))
}

fn schema(candidate: &Candidate<'_>, champion: Option<&ChampionSide<'_>>) -> GateResult {
    let Some(champion) = champion else {
        let detail = "there is no champion".to_owned();
        return GateResult { gate: "schema".into(), verdict: GateVerdict::Skipped, detail };
    };
    let breaks = candidate.schema.breaks(&champion.manifest.schema);
    let detail =
        if breaks.is_empty() { "callers of the champion are served".to_owned() } else { breaks.join("; ") };
    result("schema", breaks.is_empty(), detail)
}

fn result(gate: &str, passed: bool, detail: String) -> GateResult {
    let verdict = if passed { GateVerdict::Passed } else { GateVerdict::Failed };
    GateResult { gate: gate.to_owned(), verdict, detail }
}

#[cfg(test)]
mod tests {
    use modelcast_protocol::schema::{Feature, FeatureKind, Numeric, Output, OutputKind};

    use super::*;

    fn schema(features: &[&str]) -> FeatureSchema {
        let kind = FeatureKind::Numeric(Numeric::default());
        let feature = |name: &&str| Feature { name: (*name).into(), title: None, kind: kind.clone() };
        let output = Output { name: "y".into(), title: None, kind: OutputKind::Numeric { unit: None } };
        FeatureSchema { features: features.iter().map(feature).collect(), outputs: vec![output] }
    }

    fn gate(better: Direction, tolerance: f64) -> GatePolicy {
        let gate =
            MetricGate { better, at_least: None, at_most: Some(50.0), worse_by_at_most: Some(tolerance) };
        GatePolicy { metrics: [("rmse".to_owned(), gate)].into(), size_growth_max: None }
    }

    fn verdicts(policy: &GatePolicy, value: f64, overrides: &[&str]) -> Vec<(String, GateVerdict)> {
        let metrics = [("rmse".to_owned(), value)].into();
        let schema = schema(&["a"]);
        let candidate = Candidate { metrics: &metrics, schema: &schema, size_bytes: 10, golden: Ok(()) };
        let overrides =
            overrides.iter().map(|gate| ((*gate).to_owned(), "known and meant".to_owned())).collect();
        let results = judge(policy, &candidate, None, &overrides);
        results.into_iter().map(|result| (result.gate, result.verdict)).collect()
    }

    fn verdict_of(results: &[(String, GateVerdict)], gate: &str) -> GateVerdict {
        results.iter().find(|(name, _)| name == gate).unwrap().1.clone()
    }

    #[test]
    fn an_absolute_threshold_holds_and_not_a_number_passes_nothing() {
        let policy = gate(Direction::Lower, 0.1);
        for (value, wanted) in [
            (50.0, GateVerdict::Passed),
            (50.1, GateVerdict::Failed),
            (f64::NAN, GateVerdict::Failed),
            (f64::INFINITY, GateVerdict::Failed),
        ] {
            assert_eq!(verdict_of(&verdicts(&policy, value, &[]), "rmse"), wanted, "{value}");
        }
    }

    #[test]
    fn an_override_covers_its_own_gate_only() {
        let policy = gate(Direction::Lower, 0.1);
        let results = verdicts(&policy, 60.0, &["rmse"]);
        assert_eq!(verdict_of(&results, "rmse"), GateVerdict::Overridden);
        let results = verdicts(&policy, 60.0, &["schema"]);
        assert_eq!(verdict_of(&results, "rmse"), GateVerdict::Failed);
    }

    #[test]
    fn a_tolerance_is_relative_to_the_champion_in_the_right_direction() {
        let against = |better, value: f64, before: f64| {
            let gate = |metrics| {
                let manifest = crate::publish::package::tests::manifest(&schema(&["a"]));
                let champion = ChampionSide { manifest: &manifest, metrics };
                relative("rmse", better, value, 0.1, Some(&champion)).verdict
            };
            gate(Ok([("rmse".to_owned(), before)].into()))
        };
        assert_eq!(against(Direction::Lower, 110.0, 100.0), GateVerdict::Passed);
        assert_eq!(against(Direction::Lower, 110.1, 100.0), GateVerdict::Failed);
        assert_eq!(against(Direction::Higher, 90.0, 100.0), GateVerdict::Passed);
        assert_eq!(against(Direction::Higher, 89.9, 100.0), GateVerdict::Failed);
    }

    #[test]
    fn a_schema_that_breaks_callers_and_a_grown_artifact_fail() {
        let manifest = crate::publish::package::tests::manifest(&schema(&["a"]));
        let champion = ChampionSide { manifest: &manifest, metrics: Err("none".into()) };
        let metrics = BTreeMap::new();
        let new = schema(&["b"]);
        let size_bytes = manifest.size_bytes * 3;
        let candidate = Candidate { metrics: &metrics, schema: &new, size_bytes, golden: Err("off".into()) };
        let policy = GatePolicy { size_growth_max: Some(2.0), ..GatePolicy::default() };
        let results = judge(&policy, &candidate, Some(&champion), &BTreeMap::new());
        let failed: Vec<_> =
            results.iter().filter(|result| result.is_failed()).map(|r| r.gate.as_str()).collect();
        assert_eq!(failed, ["golden", "size", "schema"]);
    }
}

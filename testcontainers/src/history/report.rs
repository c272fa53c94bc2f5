//! What a check found: a verdict for each guarantee, with its evidence.

use std::fmt;

use serde::Serialize;

use super::event::FaultCounts;
use super::read::At;

/// Most violations of one guarantee that are kept; all are counted.
const VIOLATIONS_KEPT: usize = 20;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file's name.
    pub file: String,
    /// Its line, from 1.
    pub line: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Each guarantee that a history can contradict.
    pub findings: Vec<Finding>,
    /// What there was.
    pub counts: Counts,
    /// Files whose last line is torn.
    pub torn: Vec<String>,
}

/// What was found of one guarantee.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Its number.
    pub guarantee: u8,
    /// What it says.
    pub claim: &'static str,
    /// Whether it held.
    pub verdict: Verdict,
    /// Facts that were held against others for it.
    pub checked: u64,
    /// What contradicts it.
    pub violations_total: u64,
    /// The first 20.
    pub violations: Vec<Violation>,
}

/// Whether a guarantee held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing contradicts it.
    Held,
    /// Something does.
    Broken,
    /// The history says nothing about it.
    NothingToCheck,
}

/// A contradiction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// What is wrong.
    pub what: String,
    /// The lines that contradict each other.
    pub evidence: Vec<Place>,
}

/// What there was in a history.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Processes.
    pub processes: u64,
    /// Attempts at publishing a version.
    pub publishes: u64,
    /// Attempts at other changes.
    pub changes: u64,
    /// Of both, how many were told: committed.
    pub committed: u64,
    /// Unchanged.
    pub unchanged: u64,
    /// Generations lost to others, by both.
    pub conflicts: u64,
    /// Unknown.
    pub unknown: u64,
    /// Refused.
    pub refused: u64,
    /// Not done because Kafka did not do its part.
    pub unavailable: u64,
    /// Attempts that nobody told the end of: their process was killed.
    pub unfinished: u64,
    /// Announcements that took force.
    pub generations: u64,
    /// Records of the announcements that do not verify: torn, damaged, or of nobody's.
    pub unverified: u64,
    /// Versions swapped in, by all subscribers.
    pub swaps: u64,
    /// Requests answered.
    pub requests: u64,
    /// Status records.
    pub statuses: u64,
    /// Faults, by kind.
    pub faults: FaultCounts,
}

impl Report {
    /// Whether every guarantee held. One of which the history says nothing did not.
    #[must_use]
    pub fn held(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict == Verdict::Held)
    }
}

/// Collects what a check finds.
pub(super) struct Tally(Finding);

impl Tally {
    pub(super) fn new(guarantee: u8, claim: &'static str) -> Self {
        Self(Finding {
            guarantee,
            claim,
            verdict: Verdict::NothingToCheck,
            checked: 0,
            violations_total: 0,
            violations: Vec::new(),
        })
    }

    /// A fact was held against others.
    pub(super) fn checked(&mut self) {
        self.0.checked += 1;
    }

    /// It contradicts them.
    pub(super) fn broken<'a>(&mut self, what: String, evidence: impl IntoIterator<Item = At<'a>>) {
        self.0.violations_total += 1;
        if self.0.violations.len() < VIOLATIONS_KEPT {
            let evidence = evidence.into_iter().map(At::place).collect();
            self.0.violations.push(Violation { what, evidence });
        }
    }

    pub(super) fn finding(mut self) -> Finding {
        self.0.verdict = match (self.0.violations_total, self.0.checked) {
            (1.., _) => Verdict::Broken,
            (0, 0) => Verdict::NothingToCheck,
            (0, _) => Verdict::Held,
        };
        self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "held",
            Self::Broken => "BROKEN",
            Self::NothingToCheck => "nothing to check",
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processes, publishes, changes, committed, unchanged, conflicts, unknown, .. } = self;
        let Self { refused, unavailable, unfinished, generations, unverified, .. } = self;
        let Self { swaps, requests, statuses, faults, .. } = self;
        writeln!(f, "{publishes} publishes and {changes} other changes by {processes} processes:")?;
        writeln!(
            f,
            "  {committed} committed, {unchanged} unchanged, {unknown} unknown, {refused} refused, \
             {unavailable} without Kafka, {unfinished} unfinished; {conflicts} conflicts on the way"
        )?;
        writeln!(
            f,
            "  {generations} generations, {unverified} announcements that do not verify; {swaps} swaps, {requests} requests, \
             {statuses} status records"
        )?;
        let faults: Vec<_> = faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        write!(f, "  faults: {}", if faults.is_empty() { "none".to_owned() } else { faults.join(", ") })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.counts)?;
        for file in &self.torn {
            writeln!(f, "  {file}: its last line is torn and not used")?;
        }
        for finding in &self.findings {
            let Finding { guarantee, claim, verdict, checked, violations_total, violations } = finding;
            writeln!(f, "guarantee {guarantee:2}  {verdict:<16}  {checked:>7} checked  {claim}")?;
            for Violation { what, evidence } in violations {
                let evidence: Vec<_> = evidence.iter().map(ToString::to_string).collect();
                writeln!(f, "    {what}\n      {}", evidence.join("  "))?;
            }
            let kept = u64::try_from(violations.len()).unwrap_or(u64::MAX);
            if *violations_total > kept {
                writeln!(f, "    and {} more", violations_total - kept)?;
            }
        }
        Ok(())
    }
}

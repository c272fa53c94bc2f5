//! `[run]`: when a run begins, what it puts up with, and who approves it.

use std::time::Duration;

use cronexpr::Crontab;
use modelcast::settings::SettingsError;
use serde::Deserialize;

use super::output::{OutputSettings, To};
use crate::settings::{
    Source,
    source::{Shown, wrong},
};

/// Longest time that a setting may name, in seconds: an hour.
const SECONDS_MAX: u64 = 3_600;
/// Most rows between two commits: they are in memory on their way to a table.
const COMMIT_ROWS_MAX: u64 = 1_000_000;

/// `[run]`, as written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunSection {
    /// When a run begins.
    pub when: WhenWord,
    /// The schedule.
    pub cron: Option<String>,
    /// The time zone that the schedule is in.
    pub time_zone: String,
    /// Failed rows that a run may have: a number of rows, or a share such as `1%`.
    pub failures_max: String,
    /// Rows between two commits: what is done again after a kill, and how much stands in one part or transaction.
    pub commit_rows: u64,
    /// How long a run waits for the wanted version before it takes the one that is live.
    pub model_wait_seconds: u64,
    /// Who approves a finished run.
    pub approve: Approve,
}

/// When a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenWord {
    /// At the start, and then the program ends.
    #[default]
    Once,
    /// At the times of `cron`.
    Schedule,
    /// Whenever another version goes live.
    Live,
}

/// Who approves a finished run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approve {
    /// Somebody, having inspected it.
    #[default]
    Manual,
    /// This program, at once.
    Automatic,
}

/// When a run begins, what it puts up with, and who approves it.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// When a run begins.
    pub when: When,
    /// Failed rows that a run may have.
    pub failures_max: FailuresMax,
    /// Rows between two commits.
    pub commit_rows: u64,
    /// How long a run waits for the wanted version.
    pub model_wait: Duration,
    /// Who approves a finished run.
    pub approve: Approve,
}

/// When a run begins.
#[derive(Debug, Clone)]
pub enum When {
    /// At the start, and then the program ends.
    Once,
    /// At these times.
    Schedule(Box<Crontab>),
    /// Whenever another version goes live.
    Live,
}

/// Failed rows that a run may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FailuresMax {
    /// So many; one more ends the run at once.
    Rows(u64),
    /// Such a part of all rows, which is known at the end.
    Share(f64),
}

impl Default for RunSection {
    fn default() -> Self {
        Self {
            when: WhenWord::Once,
            cron: None,
            time_zone: "UTC".to_owned(),
            failures_max: "1%".to_owned(),
            commit_rows: 100_000,
            model_wait_seconds: 30,
            approve: Approve::Manual,
        }
    }
}

impl RunSettings {
    pub(super) fn check(
        section: RunSection,
        once: Option<Source>,
        output: &OutputSettings,
        shown: &mut Shown<'_>,
    ) -> Result<Self, SettingsError> {
        let source = once.unwrap_or_else(|| shown.written("run", "when"));
        let word = if once.is_some() { WhenWord::Once } else { section.when };
        shown.add("run.when", word.name().to_owned(), source);
        let when = match word {
            WhenWord::Once => When::Once,
            WhenWord::Live => When::Live,
            WhenWord::Schedule => {
                let cron = section.cron.as_deref().unwrap_or_default();
                shown.add("run.cron", cron.to_owned(), shown.written("run", "cron"));
                shown.add("run.time_zone", section.time_zone.clone(), shown.written("run", "time_zone"));
                When::Schedule(Box::new(schedule(cron, &section.time_zone)?))
            }
        };
        let failures_max = FailuresMax::parse(&section.failures_max).ok_or_else(|| {
            let possible = "a number of rows, or a share of them such as \"1%\", is";
            wrong("run.failures_max", &section.failures_max, possible)
        })?;
        shown.add("run.failures_max", section.failures_max, shown.written("run", "failures_max"));
        let numbers = [
            ("commit_rows", section.commit_rows, 1, COMMIT_ROWS_MAX),
            ("model_wait_seconds", section.model_wait_seconds, 0, SECONDS_MAX),
        ];
        for (name, value, low, high) in numbers {
            let key = format!("run.{name}");
            if !(low..=high).contains(&value) {
                return Err(wrong(&key, &value, &format!("from {low} to {high} is")));
            }
            shown.add(&key, value.to_string(), shown.written("run", name));
        }
        if output.to == To::Table {
            let word = match section.approve {
                Approve::Manual => "manual",
                Approve::Automatic => "automatic",
            };
            shown.add("run.approve", word.to_owned(), shown.written("run", "approve"));
        }
        let model_wait = Duration::from_secs(section.model_wait_seconds);
        let RunSection { commit_rows, approve, .. } = section;
        Ok(Self { when, failures_max, commit_rows, model_wait, approve })
    }
}

impl WhenWord {
    fn name(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Schedule => "schedule",
            Self::Live => "live",
        }
    }
}

impl FailuresMax {
    fn parse(text: &str) -> Option<Self> {
        match text.trim().strip_suffix('%') {
            None => text.trim().parse().ok().map(Self::Rows),
            Some(percent) => {
                let share = percent.trim().parse::<f64>().ok()? / 100.0;
                (0.0..=1.0).contains(&share).then_some(Self::Share(share))
            }
        }
    }
}

fn schedule(cron: &str, time_zone: &str) -> Result<Crontab, SettingsError> {
    if cron.split_whitespace().count() != 5 {
        let possible =
            "minute, hour, day of the month, month and day of the week, such as \"30 6 * * 1-5\", is";
        return Err(wrong("run.cron", &cron, possible));
    }
    let crontab = cronexpr::parse_crontab(&format!("{cron} {time_zone}"));
    crontab.map_err(|error| SettingsError::Value {
        key: "run.cron, run.time_zone".to_owned(),
        value: format!("{cron} {time_zone}"),
        cause: error.to_string(),
    })
}

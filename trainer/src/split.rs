//! Which rows are trained on, and which are held out to judge the fit by.
//!
//! By time: the greatest value of a column is held out, and `until` bounds the rest. Or by a file of row numbers,
//! where a split made elsewhere is to be repeated. Reads no features (see `table`).
//!
//! # Invariants
//! * No row is in both, and neither is empty.

use std::{cmp::Ordering, collections::BTreeSet, fs, path::Path, path::PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::{
    dataset::{Dataset, DatasetError},
    recipe::SplitRule,
};

/// Largest file of row numbers.
const ROWS_FILE_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Places of rows in a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Trained on.
    pub train: Vec<usize>,
    /// Held out.
    pub hold_out: Vec<usize>,
    /// What bounds the training rows, as the data has it; none for a file of row numbers.
    pub until: Option<String>,
    /// What the held-out rows have in common, for people.
    pub held_out: String,
}

/// Why a data set cannot be split.
#[derive(Debug, Error)]
pub enum SplitError {
    /// The file lacks the time column, or a cell of it is empty.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// `--until` for a split that has no time.
    #[error("--until needs a split by time_column, and this data set is split by {}", path.display())]
    NoTime {
        /// The file of row numbers.
        path: PathBuf,
    },
    /// Training until then would train on the hold-out, or on nothing.
    #[error(
        "--until {until} is not possible: rows are from {first} to {last}, and those of {last} are held out"
    )]
    Until {
        /// The bound asked for.
        until: String,
        /// The least value.
        first: String,
        /// The greatest value.
        last: String,
    },
    /// All rows have the same time.
    #[error("column {column:?} has the same value in all rows: there is nothing to hold out")]
    OneValue {
        /// The time column.
        column: String,
    },
    /// The file of row numbers cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of row numbers does not fit the data set.
    #[error("{}: {cause}", path.display())]
    Rows {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
}

/// A file of row numbers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowsFile {
    /// Where the split is from, for people.
    #[serde(default)]
    about: String,
    train: Vec<usize>,
    hold_out: Vec<usize>,
}

/// Splits a data set.
///
/// # Errors
/// [`SplitError`], in the order of its variants.
pub fn split(dataset: &Dataset, rule: &SplitRule, until: Option<&str>) -> Result<Split, SplitError> {
    match (rule, until) {
        (SplitRule::LastValue { time_column }, until) => by_time(dataset, time_column, until),
        (SplitRule::RowsFile { path }, None) => by_rows(dataset, path),
        (SplitRule::RowsFile { path }, Some(_)) => Err(SplitError::NoTime { path: path.clone() }),
    }
}

fn by_time(dataset: &Dataset, time_column: &str, until: Option<&str>) -> Result<Split, SplitError> {
    let column = dataset.column(time_column)?;
    let mut times = Vec::with_capacity(dataset.rows().len());
    for row in dataset.rows() {
        let cell = column.cell(row);
        if cell.is_empty() {
            return Err(column.wrong(row, "the cell is empty, and the split needs it").into());
        }
        times.push(cell);
    }
    let mut values: Vec<&str> = times.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    values.sort_by(|left, right| order(left, right));
    let (Some(&first), Some(&last)) = (values.first(), values.last()) else {
        return Err(SplitError::OneValue { column: time_column.to_owned() });
    };
    let before_last = values.iter().rev().copied().find(|value| order(value, last) == Ordering::Less);
    let newest = before_last.ok_or_else(|| SplitError::OneValue { column: time_column.to_owned() })?;
    let until = until.unwrap_or(newest);
    if order(until, first) == Ordering::Less || order(until, last) != Ordering::Less {
        let [until, first, last] = [until, first, last].map(str::to_owned);
        return Err(SplitError::Until { until, first, last });
    }
    let places = |wanted: &dyn Fn(&str) -> bool| -> Vec<usize> {
        times.iter().enumerate().filter(|(_, time)| wanted(time)).map(|(place, _)| place).collect()
    };
    Ok(Split {
        train: places(&|time| order(time, until) != Ordering::Greater),
        hold_out: places(&|time| order(time, last) == Ordering::Equal),
        until: Some(until.to_owned()),
        held_out: format!("{time_column} = {last}"),
    })
}

/// Numbers by value, anything else (such as dates of ISO 8601) as text.
fn order(left: &str, right: &str) -> Ordering {
    match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(left), Ok(right)) => left.total_cmp(&right),
        _ => left.cmp(right),
    }
}

fn by_rows(dataset: &Dataset, path: &Path) -> Result<Split, SplitError> {
    let unreadable = |source| SplitError::Unreadable { path: path.to_owned(), source };
    let wrong = |cause: String| SplitError::Rows { path: path.to_owned(), cause };
    if fs::metadata(path).map_err(unreadable)?.len() > ROWS_FILE_MAX_BYTES {
        return Err(wrong(format!("is larger than {ROWS_FILE_MAX_BYTES} bytes")));
    }
    let text = fs::read(path).map_err(unreadable)?;
    let rows: RowsFile = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let mut seen = BTreeSet::new();
    for &row in rows.train.iter().chain(&rows.hold_out) {
        if row >= dataset.rows().len() {
            let count = dataset.rows().len();
            return Err(wrong(format!(
                "row {row} does not exist: {} has {count} rows",
                dataset.path().display()
            )));
        }
        if !seen.insert(row) {
            return Err(wrong(format!("row {row} is listed twice")));
        }
    }
    if rows.train.is_empty() || rows.hold_out.is_empty() {
        return Err(wrong("train or hold_out is empty".to_owned()));
    }
    let held_out = if rows.about.is_empty() { path.display().to_string() } else { rows.about };
    Ok(Split { train: rows.train, hold_out: rows.hold_out, until: None, held_out })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_year(until: Option<&str>) -> Result<Split, SplitError> {
        let text = b"year\n2006\n2008\n2007\n2008\n2006\n";
        let dataset = Dataset::parse(Path::new("a.csv"), text).unwrap();
        split(&dataset, &SplitRule::LastValue { time_column: "year".into() }, until)
    }

    fn by_file(json: &str) -> Result<Split, SplitError> {
        let dataset = Dataset::parse(Path::new("a.csv"), b"a\n1\n2\n3\n").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), json).unwrap();
        split(&dataset, &SplitRule::RowsFile { path: file.path().to_owned() }, None)
    }

    #[test]
    fn the_last_value_is_held_out_whatever_the_bound() {
        let all = by_year(None).unwrap();
        assert_eq!((all.train, all.hold_out), (vec![0, 2, 4], vec![1, 3]));
        let first = by_year(Some("2006")).unwrap();
        assert_eq!((first.train, first.hold_out), (vec![0, 4], vec![1, 3]));
    }

    #[test]
    fn a_bound_that_reaches_the_hold_out_or_no_row_is_refused() {
        for until in ["2005", "2008", "2009", "never"] {
            let error = by_year(Some(until)).unwrap_err().to_string();
            assert!(error.contains(until) && error.contains("2006") && error.contains("2008"), "{error}");
        }
    }

    #[test]
    fn a_rows_file_is_followed_and_checked() {
        let good = by_file(r#"{"train": [2, 0], "hold_out": [1]}"#).unwrap();
        assert_eq!((good.train, good.hold_out), (vec![2, 0], vec![1]));
        let rows = [
            (r#"{"train": [0, 3], "hold_out": [1]}"#, "row 3 does not exist"),
            (r#"{"train": [0, 1], "hold_out": [1]}"#, "row 1 is listed twice"),
            (r#"{"train": [], "hold_out": [1]}"#, "empty"),
            (r#"{"train": [0], "test": [1]}"#, "unknown field"),
        ];
        for (json, words) in rows {
            let error = by_file(json).unwrap_err().to_string();
            assert!(error.contains(words), "{error:?} lacks {words:?}");
        }
    }
}

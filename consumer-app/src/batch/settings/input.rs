//! `[input]`: what is scored.

use std::{collections::BTreeMap, path::PathBuf};

use modelcast::settings::SettingsError;
use modelcast_protocol::Digest;
use serde::Deserialize;

use crate::{
    batch::input::{FileFormat, columns::ColumnRules},
    settings::{
        Source,
        source::{Shown, some, wrong},
    },
};

/// `[input]`, as written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputSection {
    /// The file.
    pub path: Option<PathBuf>,
    /// How it is written; without it, what its name says.
    pub format: Option<FileFormat>,
    /// What stands between two cells of CSV.
    pub delimiter: char,
    /// The column with each row's key; without it, the row's number.
    pub key: Option<String>,
    /// Columns that are of no use; `*` for all that are.
    pub ignore: Vec<String>,
    /// What an empty cell means, by feature.
    pub missing: BTreeMap<String, String>,
}

/// What is scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSettings {
    /// The file.
    pub path: PathBuf,
    /// How it is written.
    pub format: FileFormat,
    /// What stands between two cells of CSV.
    pub delimiter: u8,
    /// Which columns are which.
    pub columns: ColumnRules,
}

impl Default for InputSection {
    fn default() -> Self {
        Self {
            path: None,
            format: None,
            delimiter: ',',
            key: None,
            ignore: Vec::new(),
            missing: BTreeMap::new(),
        }
    }
}

impl InputSettings {
    /// A digest of what says how the file is read: another one gives other rows or other keys.
    #[must_use]
    pub fn reading(&self) -> Digest {
        Digest::of(format!("{:?}", (self.format, self.delimiter, &self.columns)).as_bytes())
    }

    pub(super) fn check(
        mut section: InputSection,
        path: Option<(PathBuf, Source)>,
        key: Option<(String, Source)>,
        shown: &mut Shown<'_>,
    ) -> Result<Self, SettingsError> {
        if path.is_some() {
            section.format = None; // the file's is that of another path
        }
        let source = shown.put_over(&mut section.path, some(path), "input", "path");
        let Some(path) = section.path else {
            return Err(wrong("input.path", &"", "the path of a file, in [input] or by --input, is"));
        };
        shown.add("input.path", path.display().to_string(), source);
        let Some(format) = section.format.or_else(|| FileFormat::of(&path)) else {
            let possible = "a name that ends in .csv or .parquet, or a format in input.format, is";
            return Err(wrong("input.path", &path.display(), possible));
        };
        shown.add("input.format", format.name().to_owned(), shown.written("input", "format"));
        let delimiter = u8::try_from(section.delimiter).ok().filter(|byte| byte.is_ascii() && *byte != b'"');
        let Some(delimiter) = delimiter else {
            return Err(wrong(
                "input.delimiter",
                &section.delimiter,
                "an ASCII character other than a quote is",
            ));
        };
        shown.add("input.delimiter", format!("{:?}", section.delimiter), shown.written("input", "delimiter"));
        let source = shown.put_over(&mut section.key, some(key), "input", "key");
        let said = section.key.clone().unwrap_or_else(|| "the row's number".to_owned());
        shown.add("input.key", said, source);
        shown.add("input.ignore", format!("{:?}", section.ignore), shown.written("input", "ignore"));
        shown.add("input.missing", format!("{:?}", section.missing), shown.written("input", "missing"));
        let columns = ColumnRules { key: section.key, ignore: section.ignore, missing: section.missing };
        Ok(Self { path, format, delimiter, columns })
    }
}

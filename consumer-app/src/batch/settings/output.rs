//! `[output]`: where predictions go.

use std::path::PathBuf;

use modelcast::settings::SettingsError;
use serde::{Deserialize, Serialize};

use crate::{
    batch::input::FileFormat,
    settings::{
        Source,
        source::{Shown, wrong},
    },
};

/// `[output]`, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputSection {
    /// A table or a file.
    pub to: To,
    /// The file.
    pub path: Option<PathBuf>,
}

/// Where predictions go; written into the journal too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSettings {
    /// A table or a file.
    pub to: To,
    /// The file; empty for a table.
    pub path: PathBuf,
}

/// A table or a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum To {
    /// The store that `[predictions]` names.
    #[default]
    Table,
    /// A file of CSV.
    Csv,
    /// A file of Parquet.
    Parquet,
}

impl To {
    /// The file's format; none for a table.
    #[must_use]
    pub fn format(self) -> Option<FileFormat> {
        match self {
            Self::Table => None,
            Self::Csv => Some(FileFormat::Csv),
            Self::Parquet => Some(FileFormat::Parquet),
        }
    }
}

impl OutputSettings {
    pub(super) fn check(
        section: OutputSection,
        over: Option<(PathBuf, Source)>,
        shown: &mut Shown<'_>,
    ) -> Result<Self, SettingsError> {
        let source = over.as_ref().map(|(_, source)| *source);
        let (to, path) = match over {
            None => (section.to, section.path),
            Some((path, _)) => {
                let to = match FileFormat::of(&path) {
                    Some(FileFormat::Csv) => To::Csv,
                    Some(FileFormat::Parquet) => To::Parquet,
                    None => {
                        let possible = "a name that ends in .csv or .parquet is";
                        return Err(wrong("--output", &path.display(), possible));
                    }
                };
                (to, Some(path))
            }
        };
        let name = to.format().map_or("table", FileFormat::name);
        shown.add("output.to", name.to_owned(), source.unwrap_or_else(|| shown.written("output", "to")));
        let path = match (to, path) {
            (To::Table, _) => PathBuf::new(),
            (_, Some(path)) if path.file_name().is_some() => path,
            (_, path) => {
                let path = path.unwrap_or_default();
                return Err(wrong("output.path", &path.display(), "the path of a file is"));
            }
        };
        if to != To::Table {
            let source = source.unwrap_or_else(|| shown.written("output", "path"));
            shown.add("output.path", path.display().to_string(), source);
        }
        Ok(Self { to, path })
    }
}

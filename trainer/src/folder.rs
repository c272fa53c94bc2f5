//! A package as a folder: `artifact`, `schema.json`, `golden.json` and `report.json`.
//!
//! Does not decode the artifact or recompute golden rows: the gates do, before anything is published.
//!
//! # Invariants
//! * `report.json` is written last and removed first: a folder without it is no package.
//! * What is read back has the digest that the report states.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use modelcast_protocol::{
    Digest, golden::GoldenRows, limits::ARTIFACT_MAX_BYTES, manifest::Lineage, name::ModelName,
    schema::FeatureSchema,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{fit::Quality, package::Package};

/// Name of the artifact's file.
pub const ARTIFACT: &str = "artifact";
const SCHEMA: &str = "schema.json";
const GOLDEN: &str = "golden.json";
const REPORT: &str = "report.json";
/// Largest JSON file of a package: a schema at all its limits is smaller.
const JSON_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What is wrong with a package folder.
#[derive(Debug, Error)]
pub enum FolderError {
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}; `trainer train --out` writes a package", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what a package has there.
    #[error("{}: {cause}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
}

/// What `report.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    model: ModelName,
    dataset: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    held_out: String,
    format: String,
    artifact_digest: Digest,
    artifact_bytes: u64,
    metrics: BTreeMap<String, f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fit: Option<Quality>,
    lineage: Lineage,
}

/// Writes a package into a folder, which is made if it does not exist; a package there is replaced.
///
/// # Errors
/// [`FolderError::Write`].
pub fn write(folder: &Path, package: &Package) -> Result<(), FolderError> {
    let failed = |path: &Path, source| FolderError::Write { path: path.to_owned(), source };
    fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    let report_path = folder.join(REPORT);
    match fs::remove_file(&report_path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed(&report_path, source)),
        _ => {}
    }
    let report = Report {
        model: package.model.clone(),
        dataset: package.dataset.clone(),
        until: package.until.clone(),
        held_out: package.held_out.clone(),
        format: package.format.clone(),
        artifact_digest: package.artifact_digest(),
        artifact_bytes: u64::try_from(package.artifact.len()).unwrap_or(u64::MAX),
        metrics: package.metrics.clone(),
        fit: package.quality,
        lineage: package.lineage.clone(),
    };
    let artifact_path = folder.join(ARTIFACT);
    fs::write(&artifact_path, &package.artifact).map_err(|source| failed(&artifact_path, source))?;
    write_json(&folder.join(SCHEMA), &package.schema)?;
    write_json(&folder.join(GOLDEN), &package.golden)?;
    write_json(&report_path, &report)
}

/// Reads a package from a folder.
///
/// # Errors
/// [`FolderError::Read`] and [`FolderError::Malformed`].
pub fn read(folder: &Path) -> Result<Package, FolderError> {
    let report: Report = read_json(&folder.join(REPORT))?;
    let schema: FeatureSchema = read_json(&folder.join(SCHEMA))?;
    let golden: GoldenRows = read_json(&folder.join(GOLDEN))?;
    let path = folder.join(ARTIFACT);
    let artifact = read_bytes(&path, ARTIFACT_MAX_BYTES)?;
    let found = Digest::of(&artifact);
    if found != report.artifact_digest {
        let cause = format!("has digest {found}, and {REPORT} states {}", report.artifact_digest);
        return Err(FolderError::Malformed { path, cause });
    }
    let malformed = |name: &str, cause: String| FolderError::Malformed { path: folder.join(name), cause };
    schema.validate().map_err(|error| malformed(SCHEMA, error.to_string()))?;
    golden.validate(&schema).map_err(|error| malformed(GOLDEN, error.to_string()))?;
    let Report { model, dataset, until, held_out, format, metrics, fit: quality, lineage, .. } = report;
    Ok(Package {
        model,
        dataset,
        until,
        held_out,
        format,
        artifact,
        schema,
        golden,
        lineage,
        metrics,
        quality,
    })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), FolderError> {
    let failed = |source| FolderError::Write { path: path.to_owned(), source };
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    fs::write(path, text).map_err(failed)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, FolderError> {
    serde_json::from_slice(&read_bytes(path, JSON_MAX_BYTES)?)
        .map_err(|error| FolderError::Malformed { path: path.to_owned(), cause: error.to_string() })
}

fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>, FolderError> {
    let unreadable = |source| FolderError::Read { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > most {
        let cause = format!("has {size} bytes, and at most {most} are read");
        return Err(FolderError::Malformed { path: path.to_owned(), cause });
    }
    fs::read(path).map_err(unreadable)
}

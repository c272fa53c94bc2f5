//! One file of predictions, written in parts and put in place when it is complete.
//!
//! Beside it stand `<file>.summary.json`, which says which version made it and what the run had to say, and
//! `<file>.failures.csv` where rows failed.
//!
//! # Invariants
//! * A part is synced and renamed before the journal counts it; a part that the journal does not count is removed.
//! * The file takes its name last, in one step, and replaces the one of the run before.
//! * Doing the end again gives the same files: a crash within it is made up for by doing it again.

use std::{
    fs::{self, File},
    io::{self, BufWriter},
    path::{Path, PathBuf},
    sync::Arc,
};

use modelcast_protocol::schema::FeatureSchema;
use serde_json::json;

use super::{
    SinkError,
    columns::FileColumns,
    csv::{self, CsvPart},
    parquet::{self, ParquetPart},
};
use crate::batch::{
    chunk::Chunk,
    input::FileFormat,
    summary::Summary,
    work::{self, Journal, Work},
};

/// The file of one run.
pub struct FileSink {
    work: Arc<Work>,
    journal: Journal,
    path: PathBuf,
    format: FileFormat,
    columns: FileColumns,
    part: Option<Part>,
    /// Where the next commit goes.
    end: u64,
    failures: ::csv::Writer<BufWriter<File>>,
}

enum Part {
    Csv(Box<CsvPart>),
    Parquet(Box<ParquetPart>),
}

impl FileSink {
    /// Goes on where the journal says; writes it if the run is new.
    ///
    /// # Errors
    /// [`SinkError`].
    pub fn open(
        work: Arc<Work>,
        journal: Journal,
        (format, path): (FileFormat, &Path),
        schema: &FeatureSchema,
    ) -> Result<Self, SinkError> {
        if path.canonicalize().is_ok_and(|path| path == journal.input.path) {
            return Err(SinkError::OverInput { path: path.to_owned() });
        }
        let columns = FileColumns::new(&journal, schema)?;
        let failed = |source| cannot(work.folder(), source);
        work.drop_parts(journal.parts).map_err(failed)?;
        work.write_journal(&journal).map_err(failed)?;
        let failures = File::create(work.failures()).map_err(failed)?;
        let mut failures = ::csv::Writer::from_writer(BufWriter::new(failures));
        let header = failures.write_record(["row", "key", "cause"]);
        header.map_err(|error| failed(error.into()))?;
        let end = journal.position;
        Ok(Self { path: path.to_owned(), work, journal, format, columns, part: None, end, failures })
    }

    pub(super) fn position(&self) -> u64 {
        self.journal.position
    }

    pub(super) fn write(&mut self, chunk: &Chunk) -> Result<(), SinkError> {
        let folder = self.work.folder().to_owned();
        for failure in &chunk.failures {
            let record = [&failure.row.to_string(), &failure.key, &failure.cause];
            self.failures.write_record(record).map_err(|error| cannot(&folder, error.into()))?;
        }
        self.end = self.end.max(chunk.end);
        let from = chunk.numbers.partition_point(|number| *number < self.journal.position);
        if from == chunk.len() {
            return Ok(());
        }
        self.write_rows(chunk, from).map_err(|source| cannot(&folder, source))
    }

    fn write_rows(&mut self, chunk: &Chunk, from: usize) -> io::Result<()> {
        let part = match &mut self.part {
            Some(part) => part,
            none => {
                let path = self.work.part(self.journal.parts).with_extension("new");
                none.insert(match self.format {
                    FileFormat::Csv => Part::Csv(Box::new(CsvPart::create(&path)?)),
                    FileFormat::Parquet => {
                        Part::Parquet(Box::new(ParquetPart::create(&path, &self.columns)?))
                    }
                })
            }
        };
        match part {
            Part::Csv(csv) => csv.write(chunk, from, &self.columns),
            Part::Parquet(parquet) => parquet.write(chunk, from, &self.columns),
        }
    }

    pub(super) fn commit(&mut self) -> Result<(), SinkError> {
        let committed = self.commit_part();
        committed.map_err(|source| cannot(self.work.folder(), source))
    }

    fn commit_part(&mut self) -> io::Result<()> {
        let mut next = Journal { position: self.end, ..self.journal.clone() };
        if let Some(part) = self.part.take() {
            let file = match part {
                Part::Csv(csv) => csv.close()?,
                Part::Parquet(parquet) => parquet.close()?,
            };
            file.sync_all()?;
            let path = self.work.part(next.parts);
            fs::rename(path.with_extension("new"), &path)?;
            next.parts += 1;
        }
        if next != self.journal {
            self.work.write_journal(&next)?;
            self.journal = next;
        }
        Ok(())
    }

    pub(super) fn finish(mut self, summary: &Summary) -> Result<(), SinkError> {
        self.commit()?;
        let path = self.path.clone();
        self.put_in_place(summary).map_err(|source| cannot(&path, source))
    }

    fn put_in_place(self, summary: &Summary) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let parts: Vec<PathBuf> = (0..self.journal.parts).map(|part| self.work.part(part)).collect();
        let new = work::beside(&self.path);
        let to = File::create(&new)?;
        let joined = match self.format {
            FileFormat::Csv => csv::join(&parts, &self.columns, to)?,
            FileFormat::Parquet => parquet::join(&parts, &self.columns, to)?,
        };
        joined.sync_all()?;
        let failures = self.failures.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
        failures.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let beside = with_suffix(&self.path, ".failures.csv");
        if summary.failures == 0 {
            work::remove(&beside)?;
        } else {
            // The state folder may be on another file system.
            fs::copy(self.work.failures(), work::beside(&beside))?;
            File::open(work::beside(&beside))?.sync_all()?;
            work::put_in_place(&work::beside(&beside), &beside)?;
        }
        let said = json!({ "run": self.journal.run, "scorer": self.journal.scorer, "summary": summary });
        work::replace(&with_suffix(&self.path, ".summary.json"), &serde_json::to_vec_pretty(&said)?)?;
        work::put_in_place(&new, &self.path)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn cannot(place: &Path, source: io::Error) -> SinkError {
    SinkError::Io { place: place.display().to_string(), source }
}

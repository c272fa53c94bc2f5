//! A file that remembers what the system said when it could not be read: Parquet's own errors keep the words alone.
//!
//! A place that is not in the file is no such error: it is Parquet that asked for it.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek as _, SeekFrom},
    sync::{Arc, Mutex, PoisonError},
};

use axum::body::Bytes;
use parquet::{
    errors::{ParquetError, Result},
    file::reader::{ChunkReader, Length},
};

/// A file whose clones read the same one, and remember together.
#[derive(Clone)]
pub(super) struct Watched {
    file: Arc<File>,
    lost: Arc<Mutex<Option<io::Error>>>,
}

/// Reads on from one place.
pub(super) struct Reading {
    file: File,
    lost: Arc<Mutex<Option<io::Error>>>,
}

impl Watched {
    pub(super) fn new(file: File) -> Self {
        Self { file: Arc::new(file), lost: Arc::default() }
    }

    /// What the system said last, if reading has failed since this was asked.
    pub(super) fn lost(&self) -> Option<io::Error> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn at(&self, start: u64) -> Result<Reading> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        Ok(Reading { file, lost: Arc::clone(&self.lost) })
    }
}

impl Length for Watched {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for Watched {
    type T = BufReader<Reading>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        self.at(start).map(BufReader::new)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let there = usize::try_from(self.len()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(length.min(there));
        let read = self.at(start)?.take(length as u64).read_to_end(&mut bytes)?;
        if read == length {
            return Ok(bytes.into());
        }
        Err(ParquetError::EOF(format!("{length} bytes are wanted at {start}, and there are {read}")))
    }
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                // An error cannot be cloned.
                let said =
                    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
                *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
            }
        })
    }
}

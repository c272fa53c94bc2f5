//! An artifact's bytes, in memory or in a file, read as a stream.
//!
//! A small artifact comes inside an announcement and stays in memory; a large one is on disk and never whole in
//! memory except as what its decoder makes of it.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek as _, SeekFrom},
    path::PathBuf,
};

use modelcast_protocol::{Digest, digest::DigestWriter};

const BUFFER_BYTES: usize = 256 * 1024;

/// Where an artifact's bytes are.
#[derive(Debug, Clone)]
pub enum Artifact {
    /// In memory.
    Memory(Vec<u8>),
    /// Compiled into the program.
    Static(&'static [u8]),
    /// In a file that nobody writes to any more.
    File(PathBuf),
    /// In such a file, from an offset to its end.
    Part {
        /// Which file.
        path: PathBuf,
        /// Where the artifact starts.
        offset: u64,
    },
}

/// Reads and digests at once.
pub(crate) struct DigestingReader<R> {
    inner: R,
    digest: DigestWriter,
    bytes: u64,
}

impl Artifact {
    /// A stream over the bytes, buffered.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn reader(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(match self {
            Self::Memory(bytes) => Box::new(bytes.as_slice()),
            Self::Static(bytes) => Box::new(*bytes),
            Self::File(path) => Box::new(BufReader::with_capacity(BUFFER_BYTES, File::open(path)?)),
            Self::Part { path, offset } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*offset))?;
                Box::new(BufReader::with_capacity(BUFFER_BYTES, file))
            }
        })
    }

    /// Size and digest of the bytes as they are now; reads them once, some 3 GB/s.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn measure(&self) -> io::Result<(u64, Digest)> {
        let mut reader = DigestingReader::new(self.reader()?);
        reader.drain()?;
        Ok(reader.finish())
    }

    /// All bytes, when there are at most `cap` of them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn small(&self, cap: usize) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.reader()?.take(cap as u64 + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() <= cap).then_some(bytes))
    }
}

impl<R: Read> DigestingReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, digest: DigestWriter::default(), bytes: 0 }
    }

    /// Reads what is left.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    pub(crate) fn finish(&self) -> (u64, Digest) {
        (self.bytes, self.digest.finish())
    }
}

impl<R: Read> Read for DigestingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(read) = buffer.get(..count) {
            self.digest.update(read);
        }
        self.bytes += count as u64;
        Ok(count)
    }
}

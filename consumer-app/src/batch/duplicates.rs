//! Finds keys that stand in more than one row, in bounded memory, whatever the number of rows.
//!
//! A digest of each key is kept with the number of its row; what does not fit in memory is sorted and put into a file,
//! and all is merged at the end. A digest has 128 bits: among 10⁹ keys, two different ones have the same with a
//! probability of 2⁻⁶⁹.
//!
//! # Invariants
//! * At most `IN_MEMORY_MAX` keys are in memory, and at the end some KiB of each sorted piece.
//! * The file has no name: it goes with the process.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::{self, File},
    io::{self, BufWriter, Seek as _, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use modelcast_protocol::Digest;

/// 64 MiB of keys.
const IN_MEMORY_MAX: usize = 2 * 1024 * 1024;
const ENTRY_BYTES: usize = 24;
/// Read from each sorted piece at a time.
const PIECE_BUFFER_BYTES: usize = 24 * 1024;

/// A key's digest, and the number of its row.
type Entry = (u128, u64);

/// The keys of a run.
pub struct Duplicates {
    folder: PathBuf,
    entries: Vec<Entry>,
    file: Option<File>,
    /// Where each sorted piece in the file ends, in bytes.
    ends: Vec<u64>,
    in_memory_max: usize,
}

impl Duplicates {
    /// No keys yet; `folder` is where the file would be.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            entries: Vec::new(),
            file: None,
            ends: Vec::new(),
            in_memory_max: IN_MEMORY_MAX,
        }
    }

    /// Adds the key of a row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, key: &str, row: u64) -> io::Result<()> {
        if self.entries.len() >= self.in_memory_max {
            self.put_away()?;
        }
        let digest = Digest::of(key.as_bytes());
        let start = digest.as_bytes().first_chunk::<16>().copied().unwrap_or_default();
        self.entries.push((u128::from_le_bytes(start), row));
        Ok(())
    }

    /// Two rows with one key, if there are any: the earliest row that has the key of one before it, and that one.
    ///
    /// # Errors
    /// When the file cannot be written or read.
    pub fn find(mut self) -> io::Result<Option<(u64, u64)>> {
        if self.file.is_none() {
            self.entries.sort_unstable();
            return first_pair(self.entries.into_iter().map(Ok));
        }
        self.put_away()?;
        let Some(file) = self.file.map(Arc::new) else { return Ok(None) };
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let pieces = starts.zip(&self.ends).map(|(at, end)| Piece {
            file: Arc::clone(&file),
            at,
            end: *end,
            buffer: Vec::new(),
        });
        first_pair(Merged::new(pieces.collect())?)
    }

    /// Sorts what is in memory and appends it to the file.
    fn put_away(&mut self) -> io::Result<()> {
        self.entries.sort_unstable();
        let mut file = match self.file.take() {
            Some(file) => file,
            None => unnamed(&self.folder)?,
        };
        let mut out = BufWriter::new(&mut file);
        for (key, row) in self.entries.drain(..) {
            out.write_all(&key.to_le_bytes())?;
            out.write_all(&row.to_le_bytes())?;
        }
        out.flush()?;
        drop(out);
        self.ends.push(file.stream_position()?);
        self.file = Some(file);
        Ok(())
    }
}

/// A sorted piece of the file, entry by entry.
struct Piece {
    file: Arc<File>,
    at: u64,
    end: u64,
    /// Entries that were read and not given yet, the next one last.
    buffer: Vec<Entry>,
}

impl Piece {
    fn next(&mut self) -> io::Result<Option<Entry>> {
        if self.buffer.is_empty() {
            let mut bytes = [0; PIECE_BUFFER_BYTES];
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            let read = bytes.get_mut(..left.min(PIECE_BUFFER_BYTES)).unwrap_or_default();
            self.file.read_exact_at(read, self.at)?;
            self.at += read.len() as u64;
            self.buffer.extend(read.chunks_exact(ENTRY_BYTES).rev().filter_map(|entry| {
                let (key, row) = entry.split_first_chunk::<16>()?;
                Some((u128::from_le_bytes(*key), u64::from_le_bytes(row.try_into().ok()?)))
            }));
        }
        Ok(self.buffer.pop())
    }
}

/// The entries of all pieces, ascending.
struct Merged {
    pieces: Vec<Piece>,
    /// The next entry of each piece that has one, with the piece's place.
    next: BinaryHeap<Reverse<(Entry, usize)>>,
}

impl Merged {
    fn new(pieces: Vec<Piece>) -> io::Result<Self> {
        let mut merged = Self { next: BinaryHeap::with_capacity(pieces.len()), pieces };
        for place in 0..merged.pieces.len() {
            merged.pull(place)?;
        }
        Ok(merged)
    }

    fn pull(&mut self, place: usize) -> io::Result<()> {
        if let Some(entry) = self.pieces.get_mut(place).map(Piece::next).transpose()?.flatten() {
            self.next.push(Reverse((entry, place)));
        }
        Ok(())
    }
}

impl Iterator for Merged {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((entry, place)) = self.next.pop()?;
        Some(self.pull(place).map(|()| entry))
    }
}

/// Of neighbours with one key, those of which the later row is the earliest.
fn first_pair(ascending: impl Iterator<Item = io::Result<Entry>>) -> io::Result<Option<(u64, u64)>> {
    let mut before: Option<Entry> = None;
    let mut found: Option<(u64, u64)> = None;
    for entry in ascending {
        let (key, row) = entry?;
        if let Some((_, first)) = before.filter(|(same, _)| *same == key)
            && found.is_none_or(|(_, later)| row < later)
        {
            found = Some((first, row));
        }
        before = Some((key, row));
    }
    Ok(found)
}

/// A new file that no name leads to.
fn unnamed(folder: &Path) -> io::Result<File> {
    let path = folder.join("keys.new");
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(keys: &[String], in_memory_max: usize) -> Option<(u64, u64)> {
        let folder = tempfile::tempdir().unwrap();
        let mut duplicates = Duplicates { in_memory_max, ..Duplicates::new(folder.path()) };
        for (row, key) in (1..).zip(keys) {
            duplicates.add(key, row).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the file has a name");
        duplicates.find().unwrap()
    }

    #[test]
    fn the_first_repeated_key_is_found_in_memory_and_on_disk() {
        for in_memory_max in [1_000_000, 1_000, 7] {
            let mut keys: Vec<String> = (0..20_000).map(|key| format!("k{key}")).collect();
            assert_eq!(found(&keys, in_memory_max), None);
            keys[15_000] = "k3".into();
            keys[19_999] = "k9".into();
            assert_eq!(found(&keys, in_memory_max), Some((4, 15_001)), "{in_memory_max} in memory");
            keys[4] = "k3".into();
            assert_eq!(found(&keys, in_memory_max), Some((4, 5)), "{in_memory_max} in memory");
        }
        assert_eq!(found(&[], 1), None);
    }
}

//! The two copies of the superblock on disk, written in turn, each synced before the other is touched.
//!
//! A power cut tears at most the copy being written; the other is then one step older, which weakens its marks by a second
//! and nothing else: what must not be forgotten (identity, epoch, limbo, the clean end) is written to both.

use super::files::io_error;
use super::superblock::Superblock;
use crate::replica::ReplicaError;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The files' names.
pub(super) const NAMES: [&str; 2] = ["superblock.a", "superblock.b"];

/// Far above what all days of the calendar need. A file that grew beyond it is not read into memory.
const BYTES_MAX: u64 = 16 << 20;

/// What the two files say.
#[derive(Debug)]
pub(super) struct Found {
    /// The newest copy that can be read, and which of the two it is.
    pub(super) newest: Option<(Superblock, usize)>,
    /// How many can be read.
    pub(super) readable: usize,
    /// Why the others cannot be read; a file that is not there has no entry.
    pub(super) unreadable: Vec<String>,
}

/// Reads both copies in `dir`.
pub(super) fn read(dir: &Path) -> Result<Found, ReplicaError> {
    let mut found = Found { newest: None, readable: 0, unreadable: Vec::new() };
    for (slot, name) in NAMES.iter().enumerate() {
        let path = dir.join(name);
        let bytes = match read_bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error("read", &path, &error)),
        };
        match Superblock::decode(&bytes) {
            Ok(superblock) => {
                found.readable += 1;
                if found.newest.as_ref().is_none_or(|(newest, _)| newest.generation < superblock.generation) {
                    found.newest = Some((superblock, slot));
                }
            }
            Err(error) => found.unreadable.push(format!("{name}: {error}")),
        }
    }
    Ok(found)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::open(path)?, BYTES_MAX), &mut bytes)?;
    Ok(bytes)
}

/// The files, open for writing.
#[derive(Debug)]
pub(super) struct SuperblockFile {
    files: [File; 2],
    paths: [PathBuf; 2],
    next: usize,
}

impl SuperblockFile {
    /// Opens or makes the files in `dir`; `newest` is the copy to be overwritten last. The caller syncs the directory.
    pub(super) fn open(dir: &Path, newest: Option<usize>) -> Result<SuperblockFile, ReplicaError> {
        let open = |name: &str| {
            let path = dir.join(name);
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            file.map(|file| (file, path.clone())).map_err(|error| io_error("open", &path, &error))
        };
        let ((a, path_a), (b, path_b)) = (open(NAMES[0])?, open(NAMES[1])?);
        Ok(SuperblockFile { files: [a, b], paths: [path_a, path_b], next: 1 - newest.unwrap_or(1) })
    }

    /// Writes one copy, the older one.
    pub(super) fn write(&mut self, superblock: &mut Superblock) -> Result<(), ReplicaError> {
        superblock.generation += 1;
        let bytes = superblock.encode();
        let (file, path) = (&self.files[self.next], &self.paths[self.next]);
        let written = file.write_all_at(&bytes, 0).and_then(|()| file.set_len(bytes.len() as u64)).and_then(|()| file.sync_all());
        written.map_err(|error| io_error("write", path, &error))?;
        self.next = 1 - self.next;
        Ok(())
    }

    /// Writes both copies: for what neither may forget.
    pub(super) fn write_both(&mut self, superblock: &mut Superblock) -> Result<(), ReplicaError> {
        self.write(superblock)?;
        self.write(superblock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_readable_copy_counts_and_is_overwritten_last() {
        let dir = tempfile::tempdir().unwrap();
        let mut superblock = Superblock::new(1);
        let mut file = SuperblockFile::open(dir.path(), None).unwrap();
        for epoch in 1..=5 {
            superblock.epoch = epoch;
            file.write(&mut superblock).unwrap();
            let (newest, slot) = read(dir.path()).unwrap().newest.unwrap();
            assert_eq!((&newest, slot), (&superblock, (epoch as usize + 1) % 2));
            file = SuperblockFile::open(dir.path(), Some(slot)).unwrap();
        }
    }

    #[test]
    fn a_torn_copy_leaves_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut superblock = Superblock::new(1);
        let mut file = SuperblockFile::open(dir.path(), None).unwrap();
        superblock.epoch = 8;
        file.write_both(&mut superblock).unwrap();
        for name in NAMES {
            let intact = std::fs::read(dir.path().join(name)).unwrap();
            for length in 0..intact.len() {
                std::fs::write(dir.path().join(name), &intact[..length]).unwrap();
                let found = read(dir.path()).unwrap();
                assert_eq!((found.newest.unwrap().0.epoch, found.unreadable.len()), (8, 1));
            }
            std::fs::write(dir.path().join(name), &intact).unwrap();
        }
        std::fs::write(dir.path().join(NAMES[0]), "").unwrap();
        std::fs::remove_file(dir.path().join(NAMES[1])).unwrap();
        let found = read(dir.path()).unwrap();
        assert_eq!((found.newest, found.unreadable.len()), (None, 1));
    }

    #[test]
    fn a_shorter_superblock_leaves_nothing_of_a_longer_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = SuperblockFile::open(dir.path(), None).unwrap();
        let mut superblock = Superblock { limbo: Some("a long reason".into()), ..Superblock::new(1) };
        file.write_both(&mut superblock).unwrap();
        superblock.limbo = None;
        file.write_both(&mut superblock).unwrap();
        assert_eq!(read(dir.path()).unwrap().newest.unwrap().0, superblock);
    }
}

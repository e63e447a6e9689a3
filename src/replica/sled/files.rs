//! What is done to directories and disks, beside the engine.

use crate::replica::ReplicaError;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// An I/O error as the replica tells it. A full disk has a variant of its own.
pub(super) fn io_error(action: &'static str, path: &Path, error: &io::Error) -> ReplicaError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ReplicaError::DiskFull { path: path.to_owned() },
        kind => ReplicaError::Io { action, path: path.to_owned(), kind, message: error.to_string() },
    }
}

/// Makes the names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), ReplicaError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| io_error("sync", dir, &error))
}

/// Makes `dir` and what is missing above it, readable by its owner alone, and makes their names durable.
pub(super) fn make_dirs(dir: &Path) -> Result<(), ReplicaError> {
    let mut missing = Vec::new();
    for ancestor in dir.ancestors() {
        // The empty path stands for the working directory, above a relative one.
        if ancestor.as_os_str().is_empty() || ancestor.exists() {
            break;
        }
        missing.push(ancestor);
    }
    for dir in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(dir) {
            // Replicas of one store are opened side by side, below one home.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => (),
            Err(error) => return Err(io_error("make", dir, &error)),
            Ok(()) => (),
        }
        match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent)?,
            _ => sync_dir(Path::new("."))?,
        }
    }
    Ok(())
}

/// The names in `dir`; empty where there is no such directory.
pub(super) fn names_in(dir: &Path) -> Result<Vec<String>, ReplicaError> {
    let failed = |error: &io::Error| io_error("list", dir, error);
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(|error| failed(&error))?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// The device on which `dir` lies.
pub(super) fn device_of(dir: &Path) -> Result<u64, ReplicaError> {
    std::fs::metadata(dir).map(|metadata| metadata.dev()).map_err(|error| io_error("read", dir, &error))
}

/// Bytes that are free for us on the disk of `dir`.
pub(super) fn free_bytes(dir: &Path) -> Result<u64, ReplicaError> {
    let space = rustix::fs::statvfs(dir).map_err(|error| io_error("read", dir, &error.into()))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Writes `text` into a new file in `dir` and makes both durable.
pub(super) fn write_note(dir: &Path, name: &str, text: &str) -> Result<PathBuf, ReplicaError> {
    let path = dir.join(name);
    let written =
        File::create(&path).and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| io_error("write", &path, &error))?;
    sync_dir(dir)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_for_their_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b/c");
        make_dirs(&dir).unwrap();
        make_dirs(&dir).unwrap();
        for made in ["a", "a/b", "a/b/c"] {
            let mode = std::fs::metadata(home.path().join(made)).unwrap().mode();
            assert_eq!(mode & 0o777, 0o700, "{made}");
        }
        std::fs::write(home.path().join("file"), "").unwrap();
        assert!(matches!(make_dirs(&home.path().join("file/d")), Err(ReplicaError::Io { .. })));
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(io_error("write", Path::new("x"), &full), ReplicaError::DiskFull { path: "x".into() });
        assert!(free_bytes(Path::new(".")).unwrap() > 0);
    }
}

//! The database of meta data: values by name, the claimed epoch, and the mark of the last group that touched it.

use super::day::MARK_KEY;
use super::engine::{Database, Tree};
use super::marks::{Mark, Tail, decode_meta, encode_meta};
use crate::replica::ReplicaError;
use bytes::Bytes;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const EPOCH_KEY: &str = "epoch";

/// The open database of meta data.
pub(super) struct MetaStore {
    values: Tree,
    marks: Tree,
    pub(super) database: Database,
    path: PathBuf,
    _lock: Arc<File>,
}

/// What was found when it was opened.
#[derive(Debug)]
pub(super) struct RecoveredMeta {
    pub(super) mark: Option<Mark>,
    /// 0 where none was claimed.
    pub(super) epoch: u32,
}

impl MetaStore {
    pub(super) fn dir(replica: &Path) -> PathBuf {
        replica.join("meta")
    }

    pub(super) fn open(database: Database, path: PathBuf, lock: Arc<File>) -> Result<(MetaStore, RecoveredMeta), ReplicaError> {
        let (values, marks) = (database.tree("meta")?, database.tree("marks")?);
        let mark = marks.get(MARK_KEY)?.and_then(|bytes| Mark::decode(&bytes)).filter(|mark| mark.day.is_none());
        let epoch = marks.get(EPOCH_KEY.as_bytes())?;
        let epoch = epoch
            .and_then(|bytes| decode_meta(EPOCH_KEY, &bytes).and_then(|value| value.try_into().ok().map(u32::from_be_bytes)));
        // An epoch that cannot be read shows as 0: below that of the superblock, which is ground for limbo.
        let recovered = RecoveredMeta { mark, epoch: epoch.unwrap_or_default() };
        Ok((MetaStore { values, marks, database, path, _lock: lock }, recovered))
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Bytes>, ReplicaError> {
        let Some(bytes) = self.values.get(key.as_bytes())? else { return Ok(None) };
        decode_meta(key, &bytes).map(|value| Some(Bytes::copy_from_slice(value))).ok_or_else(|| self.damaged(key))
    }

    pub(super) fn with_prefix(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, ReplicaError> {
        let mut found = Vec::new();
        let mut cursor = self.values.from(prefix.as_bytes());
        while let Some((key, bytes)) = cursor.next()? {
            if !key.starts_with(prefix.as_bytes()) {
                break;
            }
            let name = String::from_utf8_lossy(&key).into_owned();
            let value = decode_meta(&name, &bytes).ok_or_else(|| self.damaged(&name))?;
            found.push((name, Bytes::copy_from_slice(value)));
        }
        Ok(found)
    }

    pub(super) fn write(&self, values: &[(String, Bytes)]) -> Result<(), ReplicaError> {
        values.iter().try_for_each(|(key, value)| self.values.insert(key.as_bytes(), &encode_meta(key, value)))
    }

    pub(super) fn write_epoch(&self, epoch: u32) -> Result<(), ReplicaError> {
        self.marks.insert(EPOCH_KEY.as_bytes(), &encode_meta(EPOCH_KEY, &epoch.to_be_bytes()))
    }

    pub(super) fn write_mark(&self, group: u64, incarnation: u64, peers: &[u64]) -> Result<(), ReplicaError> {
        let mark = Mark { day: None, incarnation, group, tail: Tail::default(), peers: peers.to_vec() };
        self.marks.insert(MARK_KEY, &mark.encode())
    }

    fn damaged(&self, key: &str) -> ReplicaError {
        ReplicaError::Damaged { path: self.path.clone(), what: format!("the meta value {key:?} fails its checksum") }
    }
}

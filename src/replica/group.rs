//! What a replica applies at once: writes and meta values that share one sync.

use super::origin::Origin;
use super::record::{self, Record, Version};
use crate::order::OrderNumber;
use bytes::Bytes;
use std::sync::Arc;

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

    /// Where the order came from, if its record says so.
    #[must_use]
    pub fn origin(&self) -> Option<Arc<Origin>> {
        record::origin_of(&self.bytes)
    }

    /// Payload and origin.
    pub(crate) fn parts(&self) -> (Bytes, Option<Arc<Origin>>) {
        record::parts(&self.bytes)
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
        // Saturating: a caller may ask for any size.
        let grown = self.bytes.saturating_add(bytes).saturating_add(Self::WRITE_OVERHEAD);
        cfg!(ordermint_planted = "no_group_cap") || grown <= Self::BYTES_MAX
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

// The planted bug is there to lift the cap that these tests prove.
#[cfg(all(test, not(ordermint_planted = "no_group_cap")))]
mod tests {
    use super::*;
    use crate::config::defaults::VALUE_BYTES_MAX;
    use crate::order::{Day, SetId};
    use crate::replica::Kind;

    fn write(value: usize) -> Write {
        let number = OrderNumber::new(Day::MIN, 1, SetId::from_checked(7)).expect("a number");
        let version = Version { epoch: 2, counter: 3 };
        let record = Record { kind: Kind::Order, version, generation: 0, value: vec![b'x'; value].into(), origin: None };
        Write::new(number, &record, true)
    }

    #[test]
    fn a_write_knows_what_it_was_made_of() {
        let write = write(5);
        assert_eq!((write.version(), write.is_fresh()), (Version { epoch: 2, counter: 3 }, true));
        assert_eq!(Record::decode(write.number(), write.bytes()).map(|record| record.value), Ok(Bytes::from_static(b"xxxxx")));
        let same = Write::encoded(write.number(), write.version(), write.bytes().clone(), false);
        assert_eq!((same.number(), same.bytes(), same.is_fresh()), (write.number(), write.bytes(), false));
    }

    #[test]
    fn a_group_never_grows_over_its_cap_and_is_as_before_when_full() {
        for size in [0, 100, VALUE_BYTES_MAX] {
            let mut group = Group::new(1);
            let mut pushed = 0;
            while group.has_room_for(write(size).bytes().len()) {
                assert_eq!(group.push(write(size)), Ok(()));
                pushed += 1;
            }
            let bytes = group.bytes();
            assert!(bytes <= Group::BYTES_MAX && bytes >= pushed * (size + 24));
            assert_eq!(group.push(write(size)), Err(GroupFull { max: Group::BYTES_MAX }));
            assert_eq!(group.push_meta("key", vec![0; size + 40]), Err(GroupFull { max: Group::BYTES_MAX }));
            assert_eq!((group.writes().len(), group.meta().len(), group.bytes()), (pushed, 0, bytes));
        }
    }

    #[test]
    fn a_group_of_no_writes_is_empty_until_a_meta_value_comes() {
        let mut group = Group::new(4);
        group.set_peer_marks(vec![1, 2]);
        assert!(group.is_empty());
        assert_eq!((group.epoch(), group.peer_marks(), group.bytes()), (4, &[1, 2][..], 0));
        assert_eq!(group.push_meta("map", "value"), Ok(()));
        assert!(!group.is_empty() && group.bytes() > 8);
        assert_eq!(group.meta(), [("map".to_owned(), Bytes::from_static(b"value"))]);
    }

    #[test]
    fn the_largest_value_fits_and_an_absurd_one_is_refused() {
        let mut group = Group::new(1);
        assert!(group.has_room_for(write(VALUE_BYTES_MAX).bytes().len()));
        assert!(!group.has_room_for(usize::MAX));
        assert_eq!(group.push(write(Group::BYTES_MAX)), Err(GroupFull { max: Group::BYTES_MAX }));
        assert_eq!(group.push_meta("key", vec![0; 1 << 20]), Err(GroupFull { max: Group::BYTES_MAX }));
        assert!(group.is_empty());
    }
}

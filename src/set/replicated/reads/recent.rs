//! Recent orders in memory: for each the newest version that is known to be on W replicas. A strong read of one of them asks
//! no replica and runs on the caller's thread.
//!
//! Why that is as good as asking: one coordinator alone writes a SET. As long as it has as many voting replicas as a claim asks
//! for, no other coordinator can have claimed the SET behind its back; and what was read or written last by this one, and is on W,
//! is the newest that any strong read may have returned. An entry changes before anybody is told of a newer version, and goes as
//! soon as a write is in doubt.
//!
//! A table of buckets in which each order has one place, by its sequence: new orders push out those of long ago. A general
//! cache would have to be told to forget what a slow read brings back late; here a count of changes, under the lock of the same
//! bucket, says so.

use crate::error::Error;
use crate::order::OrderNumber;
use crate::replica::{Kind, Record, Version, Write};
use crate::set::replicated::Core;
use crate::set::replicated::reads::get::as_order;
use crate::set::{Order, Reading};
use parking_lot::{Mutex, MutexGuard};

/// What a bucket may hold, in bytes of values and their bookkeeping.
const BUCKET_BYTES: usize = 32 << 10;
/// Places in a bucket.
const PLACES: usize = 64;
/// What an order costs beside its value: its place and the allocation behind it.
const OVERHEAD: usize = 128;

/// The table; see above.
pub(crate) struct Recent {
    buckets: Box<[Mutex<Bucket>]>,
}

#[derive(Default)]
struct Bucket {
    places: Vec<Option<Entry>>,
    bytes: usize,
    /// Counts what makes somebody who looked before come too late to leave a find here.
    changes: u64,
    /// Where to look first for something to push out.
    hand: usize,
}

#[derive(Clone)]
struct Entry {
    number: OrderNumber,
    record: Record,
    /// The first version of a new order: there is nothing older that could be brought back when it is pushed out.
    is_new: bool,
}

/// How many changes there were when a read began, or a new order was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Changes(u64);

impl Recent {
    /// For at most `bytes` bytes, in whole buckets, rounded down to a power of two; below 32 KiB none.
    pub(crate) fn new(bytes: usize) -> Recent {
        let count = bytes / BUCKET_BYTES;
        let count = if count == 0 { 0 } else { 1 << count.ilog2() };
        Recent { buckets: (0..count).map(|_| Mutex::default()).collect() }
    }

    fn place(number: OrderNumber) -> u64 {
        // Sequence and day, without the SET: consecutive orders stand side by side.
        number.to_u64() >> 10
    }

    fn bucket(&self, number: OrderNumber) -> Option<&Mutex<Bucket>> {
        // A power of two, or none at all.
        let mask = self.buckets.len().checked_sub(1)?;
        self.buckets.get((Recent::place(number) / PLACES as u64) as usize & mask)
    }

    /// The newest version.
    pub(crate) fn get(&self, number: OrderNumber) -> Option<Record> {
        self.bucket(number)?.lock().find(number).cloned()
    }

    pub(crate) fn version(&self, number: OrderNumber) -> Option<Version> {
        self.bucket(number)?.lock().find(number).map(|record| record.version)
    }

    /// For a read that begins.
    pub(crate) fn changes(&self, number: OrderNumber) -> Changes {
        Changes(self.bucket(number).map_or(0, |bucket| bucket.lock().changes))
    }

    /// A new order, sent at `sent`, is on W replicas. By now it may have been changed by somebody who came upon it.
    pub(crate) fn created(&self, write: &Write, sent: Changes) {
        let Some(bucket) = self.bucket(write.number()) else { return };
        let (kind, version) = (Kind::Order, write.version());
        let (value, origin) = write.parts();
        let record = Record { kind, version, generation: 0, value, origin };
        let mut bucket = bucket.lock();
        if bucket.changes == sent.0 {
            bucket.put(Entry { number: write.number(), record, is_new: true });
        }
    }

    /// A newer version is on W replicas.
    pub(crate) fn written(&self, number: OrderNumber, record: &Record) {
        let Some(bucket) = self.bucket(number) else { return };
        let mut bucket = bucket.lock();
        bucket.changes += 1;
        bucket.put(Entry { number, record: record.clone(), is_new: false });
    }

    /// A strong read that began at `began` found this.
    pub(crate) fn read(&self, number: OrderNumber, record: &Record, began: Changes) {
        let Some(bucket) = self.bucket(number) else { return };
        let mut bucket = bucket.lock();
        if bucket.changes == began.0 {
            bucket.put(Entry { number, record: record.clone(), is_new: false });
        } else {
            bucket.outdate(number, record.version);
        }
    }

    /// A read of many orders found these, which are on W replicas: what is older here must not be shown any more.
    pub(crate) fn outdate<'a>(&self, found: impl Iterator<Item = (OrderNumber, &'a Record)>) {
        let mut locked: Option<(&Mutex<Bucket>, MutexGuard<'_, Bucket>)> = None;
        for (number, record) in found {
            let Some(bucket) = self.bucket(number) else { return };
            // Neighbours share a bucket, and so the lock.
            let mut guard = match locked.take() {
                Some((same, guard)) if std::ptr::eq(same, bucket) => guard,
                other => {
                    drop(other);
                    bucket.lock()
                }
            };
            guard.outdate(number, record.version);
            locked = Some((bucket, guard));
        }
    }

    /// It is not known any more what stands.
    pub(crate) fn forget(&self, number: OrderNumber) {
        let Some(bucket) = self.bucket(number) else { return };
        let mut bucket = bucket.lock();
        bucket.changes += 1;
        bucket.remove(number);
    }

    /// Another replica has a say from now on.
    pub(crate) fn forget_all(&self) {
        for bucket in &self.buckets {
            let mut bucket = bucket.lock();
            *bucket = Bucket { changes: bucket.changes + 1, ..Bucket::default() };
        }
    }
}

impl Entry {
    /// What it counts for.
    fn bytes(&self) -> usize {
        // The origin's own bytes lie in the same allocation as the value.
        let origin = self.record.origin.as_ref().map_or(0, |origin| 2 * origin.footprint());
        self.record.value.len() + OVERHEAD + origin
    }
}

impl Bucket {
    fn find(&self, number: OrderNumber) -> Option<&Record> {
        let entry = self.places.get(Recent::place(number) as usize % PLACES)?.as_ref()?;
        (entry.number == number).then_some(&entry.record)
    }

    fn put(&mut self, entry: Entry) {
        if self.find(entry.number).is_some_and(|held| held.version >= entry.record.version) {
            return;
        }
        if self.places.is_empty() {
            self.places.resize(PLACES, None);
        }
        let place = Recent::place(entry.number) as usize % PLACES;
        self.clear(place);
        self.bytes += entry.bytes();
        self.places[place] = Some(entry);
        // Each turn looks at another place, so this ends; one value alone is far below the bound.
        for _ in 0..PLACES {
            if self.bytes <= BUCKET_BYTES {
                break;
            }
            self.hand = (self.hand + 1) % PLACES;
            if self.hand != place {
                self.clear(self.hand);
            }
        }
    }

    /// Somebody is told of `version`: nothing older may be shown from now on, nor be brought here by whoever looked before.
    fn outdate(&mut self, number: OrderNumber, version: Version) {
        match self.find(number) {
            Some(held) if held.version >= version => {}
            _ => {
                self.changes += 1;
                self.remove(number);
            }
        }
    }

    fn remove(&mut self, number: OrderNumber) {
        if self.find(number).is_some() {
            self.clear(Recent::place(number) as usize % PLACES);
        }
    }

    fn clear(&mut self, place: usize) {
        if let Some(entry) = self.places.get_mut(place).and_then(Option::take) {
            self.bytes -= entry.bytes();
            // What stood here kept older versions away.
            self.changes += u64::from(!entry.is_new);
        }
    }
}

impl Core {
    /// The answer to a read, where it is known without asking a replica.
    pub(crate) fn recent(&self, number: OrderNumber, reading: Reading) -> Option<Result<Option<Order>, Error>> {
        // With fewer another coordinator may have claimed the SET.
        if self.epoch() == 0 || self.voters().count() < self.quorum.r().max(self.quorum.claim()) || self.is_closing() {
            return None;
        }
        let record = self.recent.get(number)?;
        if reading.at_least.is_some_and(|wanted| record.version < wanted) || self.check_floor(number.day()).is_err() {
            return None;
        }
        Some(Ok(as_order(number, Some(record))))
    }

    /// The newest version of `number` that this coordinator knows to be on W replicas.
    pub(crate) fn newest_known(&self, number: OrderNumber) -> Option<Version> {
        self.recent.version(number).max(self.latest_written(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Day, SetId};
    use crate::replica::{Origin, RequestKey};
    use std::sync::Arc;

    fn number(sequence: u64) -> OrderNumber {
        OrderNumber::new(Day::MIN, sequence, SetId::from_checked(7)).expect("a number")
    }

    fn record(counter: u64, bytes: usize) -> Record {
        let version = Version { epoch: 1, counter };
        Record { kind: Kind::Order, version, generation: 0, value: vec![7; bytes].into(), origin: None }
    }

    fn create(recent: &Recent, sequence: u64, record: Record) {
        recent.created(&Write::new(number(sequence), &record, true), recent.changes(number(sequence)));
    }

    fn held(recent: &Recent, sequence: u64) -> Option<u64> {
        recent.get(number(sequence)).map(|record| record.version.counter)
    }

    #[test]
    fn the_newest_version_stays_whatever_comes_late() {
        let recent = Recent::new(1 << 20);
        create(&recent, 1, record(1, 10));
        let began = recent.changes(number(1));
        recent.written(number(1), &record(5, 10));
        recent.read(number(1), &record(1, 10), began);
        assert_eq!(held(&recent, 1), Some(5));
        // Pushed out, and a slow read brings back what it found before the write.
        recent.forget(number(1));
        recent.read(number(1), &record(1, 10), began);
        assert_eq!(held(&recent, 1), None);
        recent.read(number(1), &record(5, 10), recent.changes(number(1)));
        assert_eq!(held(&recent, 1), Some(5));
    }

    #[test]
    fn what_a_read_found_newer_is_not_shown_older_afterwards() {
        let recent = Recent::new(1 << 20);
        let began = recent.changes(number(1));
        create(&recent, 1, record(4, 10));
        recent.written(number(2), &record(5, 10));
        // The count changed for a neighbour: too late to be kept, but not too late to push out the older one.
        recent.read(number(1), &record(6, 10), began);
        assert_eq!(held(&recent, 1), None);
        create(&recent, 3, record(7, 10));
        recent.outdate([(number(3), &record(7, 10))].into_iter());
        assert_eq!(held(&recent, 3), Some(7));
        recent.outdate([(number(3), &record(8, 10))].into_iter());
        assert_eq!(held(&recent, 3), None);
    }

    #[test]
    fn what_an_order_came_from_is_kept_with_it_and_counted() {
        let recent = Recent::new(1 << 20);
        let mut keyed = record(1, 100);
        keyed.origin = Some(Arc::new(Origin { request_key: RequestKey::new(&[7; 255], &keyed.value), ..Origin::default() }));
        create(&recent, 1, keyed.clone());
        create(&recent, 2, record(1, 100));
        assert_eq!(recent.get(number(1)), Some(keyed));
        assert_eq!(recent.get(number(2)), Some(record(1, 100)));
        let bytes: usize = recent.buckets.iter().map(|bucket| bucket.lock().bytes).sum();
        assert!(bytes > 2 * (100 + OVERHEAD) + 2 * 255, "{bytes}: the key lies in the record and in its origin");
    }

    #[test]
    fn memory_is_bounded_and_the_newest_orders_are_there() {
        let recent = Recent::new(1 << 20);
        for sequence in 0..100_000 {
            create(&recent, sequence, record(sequence + 1, (sequence % 7_000) as usize));
        }
        let bytes: usize = recent.buckets.iter().map(|bucket| bucket.lock().bytes).sum();
        let recounted: usize =
            recent.buckets.iter().flat_map(|bucket| bucket.lock().places.clone()).flatten().map(|entry| entry.bytes()).sum();
        assert_eq!(bytes, recounted);
        assert!(bytes <= 1 << 20, "{bytes}");
        assert_eq!(held(&recent, 99_999), Some(100_000));
        recent.forget_all();
        assert_eq!(held(&recent, 99_999), None);
        assert!(Recent::new(1).buckets.is_empty());
        create(&Recent::new(0), 1, record(1, 1));
    }
}

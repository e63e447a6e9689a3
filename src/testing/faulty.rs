//! A replica that misbehaves on command.

mod switches;

pub use self::switches::Faults;

use self::switches::{Lie, asked_for, failed, here};
use crate::order::{Day, OrderNumber};
use crate::replica::{
    Applied, Chunk, Group, Identity, KeyUse, Lookup, Marks, Noted, RangeDigest, Replica, ReplicaError, ScanLimit, Scanned,
    Standing,
};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// Wraps a replica and does to it what a [`FaultControl`](Faults) says.
///
/// Without faults it is the replica it wraps. `standing`, `marks`, `form`, `epoch`, `banish`, `readmit`, `days`,
/// `meta`, `meta_with_prefix` and `close` are never tampered with.
///
/// ```
/// use ordermint::testing::{FaultControl, Faulty};
/// use ordermint::{Group, MemoryReplica, ReplicaError};
/// use std::sync::Arc;
///
/// let faults = FaultControl::new();
/// let replica = Faulty::new(Arc::new(MemoryReplica::new()), faults.clone());
/// faults.fill_disk();
/// assert!(matches!(replica.apply(&Group::new(1)), Err(ReplicaError::DiskFull { .. })));
/// assert!(replica.apply(&Group::new(1)).is_ok());
/// assert_eq!(faults.applies(), 2);
/// ```
pub struct Faulty {
    inner: Arc<dyn Replica>,
    faults: Faults,
}

impl Faulty {
    /// Wraps `inner`.
    #[must_use]
    #[expect(
        clippy::new_ret_no_self,
        reason = "nothing can be done with the type itself, and every caller needs the trait object"
    )]
    pub fn new(inner: Arc<dyn Replica>, faults: Faults) -> Arc<dyn Replica> {
        Arc::new(Faulty { inner, faults })
    }

    fn begin_read(&self, call: &'static str) -> Result<(), ReplicaError> {
        self.faults.begin(call, |switches| &mut switches.read)
    }
}

impl Replica for Faulty {
    fn apply(&self, group: &Group) -> Result<Applied, ReplicaError> {
        self.faults.begin("apply", |switches| &mut switches.apply)?;
        let (full, fail_after) = self.faults.take_apply_faults();
        if full {
            return Err(ReplicaError::DiskFull { path: here() });
        }
        let applied = self.inner.apply(group)?;
        self.faults.before_answer();
        if fail_after { Err(failed("sync")) } else { Ok(applied) }
    }

    fn get(&self, number: OrderNumber) -> Result<Lookup, ReplicaError> {
        self.begin_read("get")?;
        let answer = self.inner.get(number)?;
        Ok(match self.faults.lie(number) {
            None => answer,
            Some(Lie::Damaged) => Lookup::Damaged(asked_for()),
            Some(Lie::Absent) => Lookup::Absent,
        })
    }

    fn scan(&self, day: Day, after: Option<OrderNumber>, limit: ScanLimit) -> Result<Chunk, ReplicaError> {
        self.begin_read("scan")?;
        let mut chunk = self.inner.scan(day, after, limit)?;
        let upto = chunk.upto;
        for (number, lie) in self.faults.lies_about(day) {
            let answered = Some(number) > after && upto.is_none_or(|upto| number <= upto);
            if answered {
                chunk.items.retain(|item| !matches!(item, Scanned::Found(found, _) if *found == number));
                if lie == Lie::Damaged {
                    let place = chunk.items.partition_point(|item| item.first() < number);
                    chunk.items.insert(place, Scanned::Damaged { from: number, to: number, damage: asked_for() });
                }
            }
        }
        Ok(chunk)
    }

    fn digest(&self, day: Day, range: u32, below_epoch: u32) -> Result<RangeDigest, ReplicaError> {
        self.begin_read("digest")?;
        let mut digest = self.inner.digest(day, range, below_epoch)?;
        for (number, lie) in self.faults.lies_about(day) {
            if RangeDigest::range_of(number) != range {
                continue;
            }
            // What the record added is taken out again: a digest is a sum.
            if let Lookup::Found(record) = self.inner.get(number)?
                && record.version.epoch < below_epoch
            {
                let mut added = RangeDigest::default();
                added.add(number, record.version, &record.encode(number));
                digest.records -= added.records;
                digest.sum = digest.sum.wrapping_sub(added.sum);
            }
            digest.damaged += u64::from(lie == Lie::Damaged);
        }
        Ok(digest)
    }

    fn keyed(&self, key: &[u8], since: Day) -> Result<Vec<OrderNumber>, ReplicaError> {
        self.begin_read("keyed")?;
        let mut numbers = self.inner.keyed(key, since)?;
        numbers.retain(|number| self.faults.lie(*number) != Some(Lie::Absent));
        Ok(numbers)
    }

    fn keys(&self, since: Day, after: Option<&KeyUse>, limit: usize) -> Result<Vec<KeyUse>, ReplicaError> {
        self.begin_read("keys")?;
        let mut uses = self.inner.keys(since, after, limit.saturating_add(self.faults.lies()))?;
        uses.retain(|used| self.faults.lie(used.number) != Some(Lie::Absent));
        uses.truncate(limit);
        Ok(uses)
    }

    fn noted(&self, after: Option<OrderNumber>, limit: usize) -> Result<Vec<Noted>, ReplicaError> {
        self.begin_read("noted")?;
        // As many more as may be left out, so that a short answer still means that there is no more.
        let lies = self.faults.lies();
        let mut noted = self.inner.noted(after, limit.saturating_add(lies))?;
        noted.retain_mut(|noted| {
            let lie = self.faults.lie(noted.number);
            if lie == Some(Lie::Damaged) {
                *noted = Noted { number: noted.number, supersedes: Vec::new(), unverified: Vec::new(), request_key: None };
            }
            lie != Some(Lie::Absent)
        });
        noted.truncate(limit);
        Ok(noted)
    }

    fn standing(&self) -> Standing {
        self.inner.standing()
    }

    fn marks(&self) -> Marks {
        self.inner.marks()
    }

    fn form(&self, identity: &Identity) -> Result<(), ReplicaError> {
        self.inner.form(identity)
    }

    fn claim(&self, epoch: u32) -> Result<(), ReplicaError> {
        if self.faults.take_claim_fault() {
            return Err(failed("claim"));
        }
        self.inner.claim(epoch)
    }

    fn epoch(&self) -> u32 {
        self.inner.epoch()
    }

    fn banish(&self, reason: &str) -> Result<(), ReplicaError> {
        self.inner.banish(reason)
    }

    fn readmit(&self, group: u64) -> Result<(), ReplicaError> {
        self.inner.readmit(group)
    }

    fn days(&self) -> Result<Vec<Day>, ReplicaError> {
        self.inner.days()
    }

    fn meta(&self, key: &str) -> Result<Option<Bytes>, ReplicaError> {
        self.inner.meta(key)
    }

    fn meta_with_prefix(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, ReplicaError> {
        self.inner.meta_with_prefix(prefix)
    }

    fn close(&self) -> Result<(), ReplicaError> {
        self.inner.close()
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("faults", &self.faults).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::SetId;
    use crate::replica::{Kind, MemoryReplica, Origin, Record, RequestKey, Version, Write};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;
    use std::time::Duration;

    const ALL: ScanLimit = ScanLimit { records: 100, bytes: 1 << 20 };

    fn number(sequence: u64) -> OrderNumber {
        OrderNumber::new(Day::MIN, sequence, SetId::from_checked(7)).expect("a number")
    }

    fn group(sequences: &[u64]) -> Group {
        let mut group = Group::new(1);
        for &sequence in sequences {
            let version = Version { epoch: 1, counter: sequence };
            let value = Bytes::from(sequence.to_string());
            let record = Record { kind: Kind::Order, version, generation: 0, value, origin: None };
            group.push(Write::new(number(sequence), &record, true)).expect("room");
        }
        group
    }

    fn pair() -> (Arc<dyn Replica>, Arc<dyn Replica>, Faults) {
        let (honest, faults) = (Arc::new(MemoryReplica::new()), Faults::new());
        (Faulty::new(Arc::<MemoryReplica>::clone(&honest), faults.clone()), honest, faults)
    }

    fn numbers(chunk: &Chunk) -> Vec<(u64, bool)> {
        chunk.items.iter().map(|item| (item.first().sequence(), matches!(item, Scanned::Found(..)))).collect()
    }

    #[test]
    fn a_failed_apply_wrote_nothing_and_one_that_fails_after_wrote_all() {
        let (faulty, honest, faults) = pair();
        faults.fail_applies(1);
        assert!(matches!(faulty.apply(&group(&[1])), Err(ReplicaError::Io { .. })));
        assert_eq!(honest.get(number(1)), Ok(Lookup::Absent));
        faults.fill_disk();
        assert!(matches!(faulty.apply(&group(&[1])), Err(ReplicaError::DiskFull { .. })));
        assert_eq!(honest.get(number(1)), Ok(Lookup::Absent));
        faults.fail_after_apply(1);
        assert!(matches!(faulty.apply(&group(&[1])), Err(ReplicaError::Io { .. })));
        assert!(matches!(honest.get(number(1)), Ok(Lookup::Found(_))));
        assert_eq!(faulty.apply(&group(&[2])), Ok(Applied::default()), "each fault was asked for once");
        assert_eq!(faults.applies(), 4);
    }

    #[test]
    fn panics_and_failures_of_reads_are_counted_down() {
        let (faulty, honest, faults) = pair();
        faults.panic_reads(1);
        faults.fail_reads(2);
        assert!(catch_unwind(AssertUnwindSafe(|| faulty.get(number(1)))).is_err(), "the panic comes first");
        assert!(faulty.scan(Day::MIN, None, ALL).is_err(), "the other failure was spent on the call that panicked");
        assert_eq!(faulty.digest(Day::MIN, 0, 9), Ok(RangeDigest::default()));
        assert_eq!(faults.reads(), 3);
        faults.fail_claims(1);
        assert!(matches!(faulty.claim(1), Err(ReplicaError::Io { .. })));
        assert_eq!((honest.epoch(), faulty.claim(1), honest.epoch()), (0, Ok(()), 1));
        faults.panic_applies(1);
        assert!(catch_unwind(AssertUnwindSafe(|| faulty.apply(&group(&[1])))).is_err());
        assert_eq!(faulty.get(number(1)), Ok(Lookup::Absent));
    }

    /// It is lied about as `get` lies about it.
    #[test]
    fn the_index_fails_as_reads_do_and_tells_no_more_than_they() {
        let (faulty, honest, faults) = pair();
        let origin = Origin {
            request_key: RequestKey::new(b"key", b"value"),
            unverified: vec![SetId::from_checked(8)],
            ..Origin::default()
        };
        let mut noted = Group::new(1);
        for at in 1..=4 {
            let version = Version { epoch: 1, counter: at };
            let (value, origin) = (Bytes::from_static(b"value"), Some(Arc::new(origin.clone())));
            let record = Record { kind: Kind::Order, version, generation: 0, value, origin };
            noted.push(Write::new(number(at), &record, true)).expect("room");
        }
        honest.apply(&noted).expect("applied");
        faults.fail_reads(3);
        assert!(
            faulty.keyed(b"key", Day::MIN).is_err() && faulty.noted(None, 9).is_err() && faulty.keys(Day::MIN, None, 9).is_err()
        );
        assert_eq!(faulty.keyed(b"key", Day::MIN), honest.keyed(b"key", Day::MIN));
        assert_eq!(faulty.noted(None, 9), honest.noted(None, 9));
        assert_eq!(faulty.keys(Day::MIN, None, 9), honest.keys(Day::MIN, None, 9));
        assert_eq!(faults.reads(), 6);
        faults.forget(number(2));
        faults.damage_reads_of(number(3));
        assert_eq!(faulty.keyed(b"key", Day::MIN), Ok([1, 3, 4].map(number).to_vec()));
        let page = faulty.noted(None, 2).expect("noted");
        assert_eq!(page.iter().map(|noted| noted.number).collect::<Vec<_>>(), [1, 3].map(number));
        assert_eq!(page.iter().map(|noted| noted.unverified.len()).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(faulty.noted(Some(number(3)), 2).map(|noted| noted.len()), Ok(1));
    }

    #[test]
    fn what_hangs_goes_on_after_release_and_can_fail_then() {
        let (faulty, honest, faults) = pair();
        faults.hang_applies();
        faults.hang_reads();
        thread::scope(|scope| {
            let apply = scope.spawn(|| faulty.apply(&group(&[1])));
            let read = scope.spawn(|| faulty.get(number(1)));
            while faults.applies() + faults.reads() < 2 {
                thread::yield_now();
            }
            assert_eq!(honest.get(number(1)), Ok(Lookup::Absent));
            assert!(!apply.is_finished() && !read.is_finished());
            faults.fail_reads(1);
            faults.release();
            faults.hang_applies();
            assert!(matches!(apply.join(), Ok(Ok(_))), "a hang asked for after the release is not for this call");
            assert!(matches!(read.join(), Ok(Err(ReplicaError::Io { .. }))));
        });
    }

    #[test]
    fn what_hangs_before_it_answers_has_done_its_work() {
        let (faulty, honest, faults) = pair();
        faults.hang_answers();
        thread::scope(|scope| {
            let apply = scope.spawn(|| faulty.apply(&group(&[1])));
            while !matches!(honest.get(number(1)), Ok(Lookup::Found(_))) {
                thread::yield_now();
            }
            assert!(!apply.is_finished());
            faults.release();
            assert!(matches!(apply.join(), Ok(Ok(_))));
        });
        assert_eq!(faulty.apply(&group(&[2])), Ok(Applied::default()), "the release ended it");
    }

    #[test]
    fn a_release_ends_a_delay() {
        let (faulty, _, faults) = pair();
        // A test that had to wait for this would be noticed.
        faults.delay_applies(Duration::from_secs(3_600));
        thread::scope(|scope| {
            let apply = scope.spawn(|| faulty.apply(&group(&[1])));
            while faults.applies() < 1 {
                thread::yield_now();
            }
            faults.release();
            assert!(matches!(apply.join(), Ok(Ok(_))));
        });
        faults.delay_reads(Duration::from_millis(1));
        assert!(matches!(faulty.get(number(1)), Ok(Lookup::Found(_))), "a delayed call does its work");
    }

    #[test]
    fn a_forgotten_number_is_as_if_never_written() {
        let (faulty, honest, faults) = pair();
        honest.apply(&group(&[1, 2, 3])).expect("applied");
        let others = MemoryReplica::new();
        others.apply(&group(&[1, 3])).expect("applied");
        faults.forget(number(2));
        faults.forget(number(9));
        assert_eq!(faulty.get(number(2)), Ok(Lookup::Absent));
        assert_eq!(faulty.scan(Day::MIN, None, ALL), others.scan(Day::MIN, None, ALL));
        assert_eq!(faulty.digest(Day::MIN, 0, 9), others.digest(Day::MIN, 0, 9));
        assert_eq!(faulty.digest(Day::MIN, 0, 1), Ok(RangeDigest::default()), "below the epoch there was nothing to forget");
        faulty.apply(&group(&[2])).expect("applied");
        assert_eq!(faulty.get(number(2)), Ok(Lookup::Absent), "also after writing it again");
        faults.mend(number(2));
        assert_eq!(faulty.digest(Day::MIN, 0, 9), honest.digest(Day::MIN, 0, 9));
    }

    #[test]
    fn a_damaged_number_is_damaged_everywhere_also_where_nothing_was() {
        let (faulty, honest, faults) = pair();
        honest.apply(&group(&[1, 2, 4])).expect("applied");
        faults.damage_reads_of(number(2));
        faults.damage_reads_of(number(3));
        assert!(matches!(faulty.get(number(2)), Ok(Lookup::Damaged(_))));
        let chunk = faulty.scan(Day::MIN, None, ALL).expect("a chunk");
        assert_eq!(numbers(&chunk), [(1, true), (2, false), (3, false), (4, true)]);
        let chunk = faulty.scan(Day::MIN, Some(number(2)), ScanLimit { records: 1, bytes: 100 }).expect("a chunk");
        assert_eq!((numbers(&chunk), chunk.upto), (vec![(3, false), (4, true)], None));
        let chunk = faulty.scan(Day::MIN, None, ScanLimit { records: 1, bytes: 100 }).expect("a chunk");
        assert_eq!((numbers(&chunk), chunk.upto), (vec![(1, true)], Some(number(1))), "not beyond what the chunk says");
        let digest = faulty.digest(Day::MIN, 0, 9).expect("a digest");
        assert_eq!((digest.records, digest.damaged), (2, 2));
    }
}

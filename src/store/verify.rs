//! Reading every record of every replica of a closed store.

use super::{Builder, find};
use crate::error::Error;
use crate::order::{Day, OrderNumber, SetId};
use crate::replica::{Marks, Record, Replica, ReplicaError, ScanLimit, Scanned, Standing};
use crate::set::replicated::{Opened, guarded, marks_of, standing_of};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

/// Something that is wrong. Printed on one line.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The SET.
    pub set: SetId,
    /// The replica.
    pub replica: u8,
    /// Where in it.
    pub place: Where,
    /// What.
    pub what: String,
}

/// Where a [`Finding`] lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Where {
    /// The replica as a whole.
    Replica,
    /// One order.
    Number(OrderNumber),
    /// Numbers from one to another, both included.
    Range(OrderNumber, OrderNumber),
}

/// What was read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Verified {
    /// Records, each counted on each replica.
    pub records: u64,
    /// Replicas read.
    pub replicas: u64,
    /// Findings told.
    pub findings: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {} replica {} ", self.set, self.replica)?;
        match self.place {
            Where::Replica => write!(f, "all: ")?,
            Where::Number(number) => write!(f, "{number}: ")?,
            Where::Range(from, to) => write!(f, "{from}-{to}: ")?,
        }
        f.write_str(&self.what)
    }
}

/// See [`Builder::verify`].
pub(super) fn verify(builder: Builder, mut report: impl FnMut(Finding)) -> Result<Verified, Error> {
    builder.check()?;
    let plan = find::plan(&builder)?;
    let opened = find::open_all(&plan, false, builder.settings.cache_bytes, builder.settings.open_timeout);
    let survey = find::survey(&plan, opened, None)?;
    if !survey.formed {
        return Err(Error::NoStore { home: builder.home.unwrap_or_default() });
    }
    let mut verified = Verified::default();
    for (set, opened) in plan.iter().zip(&survey.opened) {
        let mut tell = |replica: u8, place: Where, what: String| {
            verified.findings += 1;
            report(Finding { set: set.id, replica, place, what });
        };
        let replicas = readable(opened, &mut tell);
        verified.replicas += replicas.len() as u64;
        let mut days = BTreeSet::new();
        for (index, replica) in &replicas {
            match guarded(|| replica.days()) {
                Ok(found) => days.extend(found),
                Err(error) => tell(*index, Where::Replica, error.to_string()),
            }
        }
        for day in days {
            verified.records += compare_day(day, &replicas, &mut tell);
        }
        compare_meta(&replicas, &mut tell);
        for (index, replica) in &replicas {
            if let Err(error) = guarded(|| replica.close()) {
                tell(*index, Where::Replica, format!("does not close: {error}"));
            }
        }
    }
    Ok(verified)
}

/// The replicas that can be read; those that cannot, or do not vote, are told.
fn readable(opened: &[Opened], tell: &mut impl FnMut(u8, Where, String)) -> Vec<(u8, Arc<dyn Replica>)> {
    let mut replicas: Vec<(u8, Arc<dyn Replica>)> = Vec::new();
    for (index, result) in (0u8..).zip(opened) {
        match result {
            Err(error) => tell(index, Where::Replica, error.to_string()),
            Ok(replica) => match standing_of(&**replica) {
                Err(error) => tell(index, Where::Replica, error.to_string()),
                Ok(Standing::Fresh) => tell(index, Where::Replica, "empty".to_owned()),
                Ok(Standing::Limbo { reason, .. }) => {
                    tell(index, Where::Replica, format!("in limbo: {reason}"));
                    replicas.push((index, Arc::clone(replica)));
                }
                Ok(Standing::Voting(_)) => replicas.push((index, Arc::clone(replica))),
            },
        }
    }
    let mut marks = Vec::new();
    for (index, replica) in &replicas {
        match marks_of(&**replica) {
            Ok(of_one) => marks.push((*index, of_one)),
            Err(error) => tell(*index, Where::Replica, error.to_string()),
        }
    }
    for (witness, marks_there) in &marks {
        for (index, Marks { own, .. }) in &marks {
            let seen = marks_there.peers.get(usize::from(*index)).copied().unwrap_or(0);
            if seen > *own {
                let what = format!("holds group {own} at most, but replica {witness} knows that group {seen} was synced there");
                tell(*index, Where::Replica, what);
            }
        }
    }
    replicas
}

/// A replica's day, read in chunks.
struct Reader<'a> {
    index: u8,
    replica: &'a dyn Replica,
    day: Day,
    items: VecDeque<Scanned>,
    after: Option<OrderNumber>,
    ended: bool,
}

impl Reader<'_> {
    /// The next item without taking it; `Err` once when the replica cannot go on.
    fn peek(&mut self) -> Result<Option<&Scanned>, ReplicaError> {
        while self.items.is_empty() && !self.ended {
            let limit = ScanLimit { records: 1_024, bytes: 1 << 20 };
            match guarded(|| self.replica.scan(self.day, self.after, limit)) {
                Ok(chunk) => {
                    self.items = chunk.items.into();
                    self.ended = chunk.upto.is_none();
                    self.after = chunk.upto;
                }
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            }
        }
        Ok(self.items.front())
    }
}

/// Reads one day of all replicas in step and tells where they differ; returns how many records were read.
fn compare_day(day: Day, replicas: &[(u8, Arc<dyn Replica>)], tell: &mut impl FnMut(u8, Where, String)) -> u64 {
    let mut readers: Vec<Reader<'_>> = replicas
        .iter()
        .map(|(index, replica)| Reader {
            index: *index,
            replica: &**replica,
            day,
            items: VecDeque::new(),
            after: None,
            ended: false,
        })
        .collect();
    let mut records = 0;
    // Until where a replica has said that it cannot read: what is missing there was told.
    let mut damaged_to: BTreeMap<u8, OrderNumber> = BTreeMap::new();
    let mut silent: BTreeSet<u8> = BTreeSet::new();
    loop {
        let mut first: Option<OrderNumber> = None;
        for reader in &mut readers {
            let index = reader.index;
            // Damage is told as it comes up, and passed over.
            loop {
                match reader.peek() {
                    Ok(Some(Scanned::Damaged { from, to, damage })) => {
                        let place = if from == to { Where::Number(*from) } else { Where::Range(*from, *to) };
                        tell(index, place, damage.to_string());
                        let end = damaged_to.entry(index).or_insert(*to);
                        *end = (*end).max(*to);
                        reader.items.pop_front();
                    }
                    Ok(Some(Scanned::Found(number, _))) => {
                        first = Some(first.map_or(*number, |first| first.min(*number)));
                        break;
                    }
                    Ok(None) => break,
                    Err(error) => {
                        // Told once: nothing else is known of the rest of this day here.
                        tell(index, Where::Replica, format!("cannot be read to the end of {day}: {error}"));
                        silent.insert(index);
                    }
                }
            }
        }
        let Some(number) = first else { return records };
        let mut copies: Vec<(u8, Option<Record>)> = Vec::new();
        for reader in &mut readers {
            let here = matches!(reader.items.front(), Some(Scanned::Found(found, _)) if *found == number);
            let copy = match here.then(|| reader.items.pop_front()).flatten() {
                Some(Scanned::Found(_, record)) => Some(record),
                _ => None,
            };
            records += u64::from(copy.is_some());
            let can_say = !silent.contains(&reader.index) && damaged_to.get(&reader.index).is_none_or(|end| *end < number);
            if copy.is_some() || can_say {
                copies.push((reader.index, copy));
            }
        }
        tell_odd_ones(number, &copies, tell);
    }
}

/// Tells whose copy differs from the one that most share; all of them where no copy is shared by most.
fn tell_odd_ones(number: OrderNumber, copies: &[(u8, Option<Record>)], tell: &mut impl FnMut(u8, Where, String)) {
    let same = |a: &Option<Record>, b: &Option<Record>| match (a, b) {
        (Some(a), Some(b)) => (a.kind, a.version, &a.value) == (b.kind, b.version, &b.value),
        (None, None) => true,
        _ => false,
    };
    let shared = |copy: &Option<Record>| copies.iter().filter(|(_, other)| same(copy, other)).count();
    let most = copies.iter().map(|(_, copy)| shared(copy)).max().unwrap_or(0);
    if most == copies.len() {
        return;
    }
    let majority = most * 2 > copies.len();
    for (index, copy) in copies {
        if majority && shared(copy) == most {
            continue;
        }
        let what = match copy {
            None => "is missing here".to_owned(),
            Some(record) => format!("version {} with {} bytes, others differ", record.version, record.value.len()),
        };
        tell(*index, Where::Number(number), what);
    }
}

/// Tells whose meta values differ from those that most share. Lease marks are passed over: they move by majority and may
/// differ after a kill, and each open reads and writes them anew.
fn compare_meta(replicas: &[(u8, Arc<dyn Replica>)], tell: &mut impl FnMut(u8, Where, String)) {
    let mut held: Vec<(u8, BTreeMap<String, Bytes>)> = Vec::new();
    for (index, replica) in replicas {
        match guarded(|| replica.meta_with_prefix("")) {
            Ok(values) => held.push((*index, values.into_iter().filter(|(key, _)| !key.starts_with("lease/")).collect())),
            Err(error) => tell(*index, Where::Replica, error.to_string()),
        }
    }
    let keys: BTreeSet<String> = held.iter().flat_map(|(_, values)| values.keys().cloned()).collect();
    for key in keys {
        let shared = |value: Option<&Bytes>| held.iter().filter(|(_, values)| values.get(&key) == value).count();
        let most = held.iter().map(|(_, values)| shared(values.get(&key))).max().unwrap_or(0);
        for (index, values) in &held {
            let same = shared(values.get(&key));
            if same < held.len() && (same < most || most * 2 <= held.len()) {
                let what = if values.contains_key(&key) { "differs from the others" } else { "is missing here" };
                tell(*index, Where::Replica, format!("the meta value {key:?} {what}"));
            }
        }
    }
}

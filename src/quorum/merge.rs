//! Merging what several replicas say about a stretch of a day. Pure.

use super::{Mask, keeps};
use crate::config::Quorum;
use crate::order::OrderNumber;
use crate::replica::{Chunk, Record, Scanned};
use std::collections::BTreeMap;

/// What the replicas together say.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Merged {
    /// Enough of them carry this record.
    Agreed(OrderNumber, Record),
    /// They differ: the number must be read by itself, as strongly as any.
    Read(OrderNumber),
    /// Fewer than R can say whether there is anything from one number to the other.
    Unknown(OrderNumber, OrderNumber),
}

impl Merged {
    /// The number, or the first of the unknown ones.
    pub(crate) fn first(&self) -> OrderNumber {
        match self {
            Merged::Agreed(number, _) | Merged::Read(number) | Merged::Unknown(number, _) => *number,
        }
    }
}

/// Merges the chunks of `asked` replicas, which all began after the same number. The result says all there is to say up to
/// the second value (`None`: the end of the day), in order of number.
///
/// `need`: how many must be able to read a number, R at least. `clean_below`: all voters are known to agree on what older epochs
/// than this wrote.
pub(crate) fn merge(
    quorum: Quorum,
    need: u8,
    voters: Mask,
    clean_below: u32,
    chunks: &[(u8, Chunk)],
) -> (Vec<Merged>, Option<OrderNumber>) {
    let upto = chunks.iter().filter_map(|(_, chunk)| chunk.upto).min();
    let within = |number: OrderNumber| upto.is_none_or(|upto| number <= upto);
    let mut found: BTreeMap<OrderNumber, Vec<(u8, &Record)>> = BTreeMap::new();
    let mut gaps: Vec<(OrderNumber, OrderNumber)> = Vec::new();
    for (index, chunk) in chunks {
        for item in &chunk.items {
            match item {
                Scanned::Found(number, record) if within(*number) => found.entry(*number).or_default().push((*index, record)),
                Scanned::Damaged { from, to, .. } if within(*from) => gaps.push((*from, upto.map_or(*to, |upto| upto.min(*to)))),
                Scanned::Found(..) | Scanned::Damaged { .. } => {}
            }
        }
    }
    let damaged_at = |number: OrderNumber| gaps.iter().filter(|(from, to)| (*from..=*to).contains(&number)).count();
    let readers = chunks.len();
    let mut merged: Vec<(OrderNumber, Merged)> = Vec::with_capacity(found.len());
    for (number, copies) in found {
        let newest = copies.iter().map(|(_, record)| record).max_by_key(|record| (record.version, record.generation));
        let Some(newest) = newest else { continue };
        let same =
            |record: &Record| record.version == newest.version && record.value == newest.value && record.kind == newest.kind;
        let carriers: Mask = copies.iter().filter(|(_, record)| same(record)).map(|(index, _)| *index).collect();
        let diverged = copies.iter().any(|(_, record)| record.version == newest.version && !same(record));
        let heard = readers.saturating_sub(damaged_at(number)) >= usize::from(need);
        let settled = newest.version.epoch < clean_below;
        let enough = settled || keeps(quorum, voters, carriers);
        let item = match enough && heard && !diverged {
            true => Merged::Agreed(number, (*newest).clone()),
            false => Merged::Read(number),
        };
        merged.push((number, item));
    }
    // Where fewer than R replicas can read, there may be orders that nobody among them shows.
    for (from, to) in unheard(&gaps, readers, usize::from(need)) {
        merged.push((from, Merged::Unknown(from, to)));
    }
    merged.sort_by_key(|(number, _)| *number);
    (merged.into_iter().map(|(_, item)| item).collect(), upto)
}

/// The stretches over which so many of `readers` are damaged that fewer than `r` are left.
fn unheard(gaps: &[(OrderNumber, OrderNumber)], readers: usize, r: usize) -> Vec<(OrderNumber, OrderNumber)> {
    let mut stretches: Vec<(OrderNumber, OrderNumber)> = Vec::new();
    let mut edges: Vec<OrderNumber> = gaps.iter().map(|(from, _)| *from).collect();
    edges.sort_unstable();
    edges.dedup();
    for from in edges {
        let over: Vec<OrderNumber> = gaps.iter().filter(|(a, b)| (*a..=*b).contains(&from)).map(|(_, to)| *to).collect();
        if readers.saturating_sub(over.len()) >= r {
            continue;
        }
        // As far as enough of them stay damaged: the k-th farthest end, k being how many it takes.
        let mut ends = over;
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let takes = (readers + 1).saturating_sub(r).max(1);
        let Some(to) = ends.get(takes - 1).copied() else { continue };
        match stretches.last_mut() {
            Some((_, last)) if from <= *last => *last = to.max(*last),
            _ => stretches.push((from, to)),
        }
    }
    stretches
}

#[cfg(test)]
mod tests;

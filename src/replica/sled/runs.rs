//! The bytes of a packed run: fresh records of one day side by side under the number of the first. Pure.
//!
//! ```text
//!  0  u8   format, 1
//!  1  u8   how many records, 1 to 64
//!  2  u16  0
//!  4  u32  CRC-32 over key (8 bytes), bytes 0..4, bytes 8.. up to the end of the index
//!  8  u64  first number of the run before, 0 in the first run of a day
//! 16  index, for each record:
//!       u32  its sequence less the sequence of the first
//!       u16  where it ends, counted from the end of the index
//! ..  the records, each with a checksum of its own, as `record.rs` draws them
//! ```
//! All integers big-endian. Nothing follows the last record. One bad record spoils itself alone; a bad header or index spoils the run.

use crate::config::defaults;
use crate::order::OrderNumber;
use crate::replica::record;

const FORMAT: u8 = 1;
const HEADER: usize = 16;
const ENTRY: usize = 6;
/// A run is closed when one more record would bring it above this.
pub(super) const RUN_BYTES: usize = 4096;
/// The most records in a run.
pub(super) const RECORDS_MAX: usize = 64;
/// The longest value ever given to the engine. With segments of 2 MiB, 8.3 KB never went to `blobs/`, which is not synced.
pub(super) const VALUE_BYTES_MAX: usize = 8192;
/// The longest record: alone in its run it stays within [`VALUE_BYTES_MAX`]. The store's cap on payloads, 7 KiB, is below.
pub(super) const RECORD_BYTES_MAX: usize = VALUE_BYTES_MAX - HEADER - ENTRY;

// The largest payload fits with the largest origin beside it, so that an order never has to choose between the two.
const _: () = assert!(record::OVERHEAD_MAX + defaults::VALUE_BYTES_MAX <= RECORD_BYTES_MAX);
// The ends in the index are 16 bits wide.
const _: () = assert!(VALUE_BYTES_MAX <= u16::MAX as usize && RUN_BYTES <= VALUE_BYTES_MAX);

/// Why bytes are no run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error("{found} bytes, too short for a run")]
    Length { found: usize },
    #[error("run format {found} is unknown")]
    Format { found: u8 },
    #[error("checksum {found:#010x} where {expected:#010x} belongs")]
    Checksum { expected: u32, found: u32 },
    #[error("the index makes no sense")]
    Index,
}

/// A run that was checked, but for the records' own checksums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    first: OrderNumber,
    previous: u64,
    index: &'a [u8],
    records: &'a [u8],
}

impl<'a> Run<'a> {
    /// Reads what [`RunBuilder`] wrote under the number `first`.
    pub(super) fn open(first: OrderNumber, bytes: &'a [u8]) -> Result<Run<'a>, RunError> {
        let too_short = RunError::Length { found: bytes.len() };
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Err(too_short) };
        if header[0] != FORMAT {
            return Err(RunError::Format { found: header[0] });
        }
        let Some((index, records)) = rest.split_at_checked(usize::from(header[1]) * ENTRY) else { return Err(too_short) };
        let expected = checksum(first, header, index);
        let found = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        if expected != found {
            return Err(RunError::Checksum { expected, found });
        }
        let previous =
            u64::from_be_bytes([header[8], header[9], header[10], header[11], header[12], header[13], header[14], header[15]]);
        let run = Run { first, previous, index, records };
        if run.is_sound() { Ok(run) } else { Err(RunError::Index) }
    }

    /// What the accessors rely on. A good checksum over nonsense would be our own mistake; it must not become a panic or a wrong answer.
    fn is_sound(&self) -> bool {
        let mut ascending = !self.index.is_empty() && self.index.len() <= RECORDS_MAX * ENTRY && self.delta(0) == 0;
        for i in 1..self.len() {
            ascending &= self.delta(i - 1) < self.delta(i) && self.end(i - 1) <= self.end(i);
        }
        ascending
            && self.end(self.len() - 1) == self.records.len()
            && self.first.sequence() + u64::from(self.delta(self.len() - 1)) <= OrderNumber::SEQUENCE_MAX
    }

    /// The first number of the run before, 0 in the first run of a day.
    pub(super) fn previous(&self) -> u64 {
        self.previous
    }

    /// How many records, at least 1.
    pub(super) fn len(&self) -> usize {
        self.index.len() / ENTRY
    }

    /// The sequence of the record at `i`.
    pub(super) fn sequence(&self, i: usize) -> u64 {
        self.first.sequence() + u64::from(self.delta(i))
    }

    /// The sequence of the last record.
    pub(super) fn last_sequence(&self) -> u64 {
        self.sequence(self.len() - 1)
    }

    /// The bytes of the record at `i`, unchecked.
    pub(super) fn record(&self, i: usize) -> &'a [u8] {
        let start = if i == 0 { 0 } else { self.end(i - 1) };
        &self.records[start..self.end(i)]
    }

    /// The place of the first record with a sequence not below `sequence`; [`Run::len`] if there is none.
    pub(super) fn lower_bound(&self, sequence: u64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.sequence(middle) < sequence { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn delta(&self, i: usize) -> u32 {
        let at = i * ENTRY;
        u32::from_be_bytes([self.index[at], self.index[at + 1], self.index[at + 2], self.index[at + 3]])
    }

    fn end(&self, i: usize) -> usize {
        let at = i * ENTRY + 4;
        usize::from(u16::from_be_bytes([self.index[at], self.index[at + 1]]))
    }
}

/// Gathers records, in ascending order, for one run.
#[derive(Debug)]
pub(super) struct RunBuilder {
    first: OrderNumber,
    last: OrderNumber,
    index: Vec<u8>,
    records: Vec<u8>,
}

impl RunBuilder {
    /// A run that begins with `record`, at most [`RECORD_BYTES_MAX`] long.
    pub(super) fn new(first: OrderNumber, record: &[u8]) -> RunBuilder {
        assert!(record.len() <= RECORD_BYTES_MAX, "a group with a longer record is refused before anything is written");
        let mut builder = RunBuilder {
            first,
            last: first,
            index: Vec::with_capacity(RECORDS_MAX * ENTRY),
            records: Vec::with_capacity(RUN_BYTES.max(record.len())),
        };
        builder.append(first, record);
        builder
    }

    /// Takes `record` in; `false` where it belongs into a run of its own.
    pub(super) fn push(&mut self, number: OrderNumber, record: &[u8]) -> bool {
        assert!(number > self.last, "records come in ascending order");
        let length = HEADER + self.index.len() + ENTRY + self.records.len() + record.len();
        let near = number.sequence() - self.first.sequence() <= u64::from(u32::MAX);
        if length > RUN_BYTES || self.index.len() == RECORDS_MAX * ENTRY || !near {
            return false;
        }
        self.append(number, record);
        true
    }

    fn append(&mut self, number: OrderNumber, record: &[u8]) {
        self.records.extend_from_slice(record);
        let delta = (number.sequence() - self.first.sequence()) as u32;
        self.index.extend_from_slice(&delta.to_be_bytes());
        self.index.extend_from_slice(&(self.records.len() as u16).to_be_bytes());
        self.last = number;
    }

    /// The number of the first record: the run's key.
    pub(super) fn first(&self) -> OrderNumber {
        self.first
    }

    /// The number of the last record.
    pub(super) fn last(&self) -> OrderNumber {
        self.last
    }

    /// The run's bytes.
    pub(super) fn finish(&self, previous: u64) -> Vec<u8> {
        let mut header = [0u8; HEADER];
        header[0] = FORMAT;
        header[1] = (self.index.len() / ENTRY) as u8;
        header[8..].copy_from_slice(&previous.to_be_bytes());
        let crc = checksum(self.first, &header, &self.index);
        header[4..8].copy_from_slice(&crc.to_be_bytes());
        [&header, &self.index[..], &self.records].concat()
    }
}

fn checksum(first: OrderNumber, header: &[u8; HEADER], index: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&first.to_be_bytes());
    crc.update(&header[..4]);
    crc.update(&header[8..]);
    crc.update(index);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Day, SetId};

    fn number(sequence: u64) -> OrderNumber {
        OrderNumber::new(Day::new(2026, 11, 22).unwrap(), sequence, SetId::new(7).unwrap()).unwrap()
    }

    fn build(records: &[(u64, &[u8])]) -> Vec<u8> {
        let mut builder = RunBuilder::new(number(records[0].0), records[0].1);
        for (sequence, record) in &records[1..] {
            assert!(builder.push(number(*sequence), record));
        }
        builder.finish(42)
    }

    #[test]
    fn every_record_is_found_again_and_nothing_else() {
        let bytes = build(&[(10, b"ten"), (11, b""), (4_000_000_000, b"far away")]);
        let run = Run::open(number(10), &bytes).unwrap();
        assert_eq!((run.len(), run.previous(), run.last_sequence()), (3, 42, 4_000_000_000));
        let all: Vec<_> = (0..3).map(|i| (run.sequence(i), run.record(i))).collect();
        assert_eq!(all, [(10, &b"ten"[..]), (11, b""), (4_000_000_000, b"far away")]);
        for (sequence, place) in [(0, 0), (10, 0), (11, 1), (12, 2), (4_000_000_000, 2), (4_000_000_001, 3)] {
            assert_eq!(run.lower_bound(sequence), place);
        }
    }

    #[test]
    fn the_layout_is_the_one_that_is_drawn() {
        let bytes = build(&[(10, b"ab"), (12, b"c")]);
        assert_eq!(bytes[..4], [1, 2, 0, 0]);
        assert_eq!(bytes[8..16], 42u64.to_be_bytes());
        assert_eq!(bytes[16..], *b"\0\0\0\0\0\x02\0\0\0\x02\0\x03abc");
    }

    #[test]
    fn any_flipped_bit_of_header_and_index_is_refused() {
        let bytes = build(&[(10, b"ab"), (12, b"c"), (13, b"de")]);
        for bit in 0..(HEADER + 3 * ENTRY) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Run::open(number(10), &flipped).is_err(), "bit {bit}");
        }
        assert!(Run::open(number(11), &bytes).is_err(), "a run under another key");
    }

    #[test]
    fn any_other_length_is_refused() {
        let bytes = build(&[(10, b"ab"), (12, b"c")]);
        for length in 0..bytes.len() {
            assert!(Run::open(number(10), &bytes[..length]).is_err(), "{length} bytes");
        }
        assert_eq!(Run::open(number(10), &[&bytes[..], b"x"].concat()).unwrap_err(), RunError::Index);
    }

    #[test]
    fn an_index_that_makes_no_sense_is_refused_even_with_a_good_checksum() {
        let reseal = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = build(&[(10, b"ab"), (12, b"c")]);
            change(&mut bytes);
            let index = usize::from(bytes[1]) * ENTRY;
            let crc = checksum(number(10), bytes.first_chunk().unwrap(), &bytes[HEADER..HEADER + index]);
            bytes[4..8].copy_from_slice(&crc.to_be_bytes());
            Run::open(number(10), &bytes).map(|run| run.len())
        };
        assert_eq!(reseal(&|_| ()), Ok(2));
        assert_eq!(reseal(&|bytes| bytes[1] = 0), Err(RunError::Index));
        assert_eq!(reseal(&|bytes| bytes[19] = 1), Err(RunError::Index), "first delta");
        assert_eq!(reseal(&|bytes| bytes[25] = 0), Err(RunError::Index), "not ascending");
        assert_eq!(reseal(&|bytes| bytes[22..26].fill(255)), Ok(2));
        assert_eq!(reseal(&|bytes| bytes[21] = 9), Err(RunError::Index), "ends fall");
        assert_eq!(reseal(&|bytes| bytes[27] = 4), Err(RunError::Index), "end beyond the bytes");
        let far = RunBuilder::new(number(OrderNumber::SEQUENCE_MAX), b"x").finish(0);
        assert!(Run::open(number(OrderNumber::SEQUENCE_MAX), &far).is_ok());
    }

    #[test]
    fn a_run_is_closed_by_bytes_by_count_and_by_distance() {
        let mut by_bytes = RunBuilder::new(number(0), &[7; 1000]);
        assert_eq!((1..10).take_while(|i| by_bytes.push(number(*i), &[7; 1000])).count(), 3);
        assert!(by_bytes.finish(0).len() <= RUN_BYTES);
        let mut by_count = RunBuilder::new(number(0), b"");
        assert_eq!((1..100).take_while(|i| by_count.push(number(*i), b"")).count(), RECORDS_MAX - 1);
        let mut by_distance = RunBuilder::new(number(1), b"");
        assert!(!by_distance.push(number(2 + u64::from(u32::MAX)), b""));
        assert!(by_distance.push(number(1 + u64::from(u32::MAX)), b""));
        assert_eq!((by_distance.first(), by_distance.last()), (number(1), number(1 + u64::from(u32::MAX))));
        let lone = RunBuilder::new(number(0), &[7; RECORD_BYTES_MAX]).finish(0);
        assert_eq!(lone.len(), VALUE_BYTES_MAX);
        assert_eq!(Run::open(number(0), &lone).unwrap().record(0).len(), RECORD_BYTES_MAX);
    }
}

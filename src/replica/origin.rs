//! Where an order came from, as far as somebody will have to know: the request key it was created with, the numbers it stands in for,
//! the SETs that could not be asked, or only in part; and whether its record is a copy of what an earlier write left in doubt. Part of its record, and so
//! as durable as the order itself; every index is derived from it. Pure.
//!
//! ```text
//! u8 1, request key    u8 length, 1 to 255 | the key | u32 length of the payload it was first used with | u32 CRC-32 of that payload
//! u8 2, supersedes     u8 how many, 1 to 16 | for each: u64 number, u32 epoch, u64 counter
//! u8 3, unverified     u8 length, 1 to 125 | bit map: bit 7 of the first byte is SET 000; the last byte is not 0
//! u8 4, copy of        u8 12 | u32 epoch, u64 counter
//! u8 5, partly asked   u8 how many, 1 to 40 | for each, SETs ascending: u16 SET, u32 epoch
//! u8 6, looked from    u8 4 | u32 day, as an order number begins with it
//! ```
//! All integers big-endian. Each part at most once, in this order, and at least one of them: one origin has one spelling.

use super::record::{RecordError, Version};
use crate::order::{Day, OrderNumber, SetId};
use bytes::Bytes;
use std::collections::BTreeMap;

const REQUEST_KEY: u8 = 1;
const SUPERSEDES: u8 = 2;
const UNVERIFIED: u8 = 3;
const COPY_OF: u8 = 4;
const PARTLY_ASKED: u8 = 5;
const LOOKED_FROM: u8 = 6;

/// The longest request key.
pub(crate) const REQUEST_KEY_BYTES_MAX: usize = 255;
/// The most numbers that one order supersedes. A create makes three attempts at most.
pub(crate) const SUPERSEDES_MAX: usize = 16;
/// A number and a version.
const SUPERSEDED_BYTES: usize = 8 + 4 + 8;
/// A version.
const COPY_OF_BYTES: usize = 4 + 8;
/// The most SETs of which an order says that they were asked in part.
pub(crate) const PARTLY_ASKED_MAX: usize = 40;
/// A SET and an epoch.
const PARTLY_ASKED_BYTES: usize = 2 + 4;
/// A day.
const LOOKED_FROM_BYTES: usize = 4;
/// One bit for each SET there can be.
const UNVERIFIED_BYTES_MAX: usize = (SetId::MAX.get() as usize + 1).div_ceil(8);
/// The longest origin.
pub(crate) const ORIGIN_BYTES_MAX: usize = (2 + REQUEST_KEY_BYTES_MAX + 8)
    + (2 + SUPERSEDES_MAX * SUPERSEDED_BYTES)
    + (2 + UNVERIFIED_BYTES_MAX)
    + (2 + COPY_OF_BYTES)
    + (2 + PARTLY_ASKED_MAX * PARTLY_ASKED_BYTES)
    + (2 + LOOKED_FROM_BYTES);

const _: () = assert!(UNVERIFIED_BYTES_MAX == 125 && ORIGIN_BYTES_MAX <= u16::MAX as usize);

/// What an order's record says of how it came to be. Most orders have none. All but `copy_of` stays with the order for life, whatever
/// its payload becomes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Origin {
    /// The key that the caller created it with.
    pub request_key: Option<RequestKey>,
    /// Numbers that were tried before and given up in doubt, with the version of that attempt: they must become void. At most 16.
    pub supersedes: Vec<(OrderNumber, Version)>,
    /// SETs that could not be asked whether they hold an earlier order with the same key. Reads back ascending, each once.
    pub unverified: Vec<SetId>,
    /// This record was written by nobody's wish: a write in doubt was found on too few replicas, and written anew with the version that
    /// it has now. This is the version that it had. Whoever gave up that one gave up this one.
    pub copy_of: Option<Version>,
    /// SETs that were asked for an earlier order with the same key, and not all of their replicas were heard; with the epoch in which they
    /// were asked. What comes to light there under the key and was written under an earlier epoch is older than this order was then, and
    /// had not been acknowledged. At most 40. Reads back ascending, each once.
    pub partly_asked: Vec<(SetId, u32)>,
    /// The first day of which earlier orders with the same key were looked for, where SETs could not be asked, or only in part: what
    /// is older had been forgotten.
    pub looked_from: Option<Day>,
}

/// The key of a request, and what tells its payload from another.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RequestKey {
    /// 1 to 255 bytes.
    pub key: Bytes,
    /// How long the payload was that the key was first used with.
    pub payload_bytes: u32,
    /// Its CRC-32.
    pub payload_crc: u32,
}

impl RequestKey {
    /// The key of a request to create `payload`; `None` when the key has not 1 to 255 bytes, or the payload 4 GiB or more.
    #[must_use]
    pub fn new(key: &[u8], payload: &[u8]) -> Option<RequestKey> {
        let payload_bytes = u32::try_from(payload.len()).ok()?;
        let is_sound = (1..=REQUEST_KEY_BYTES_MAX).contains(&key.len());
        is_sound.then(|| RequestKey { key: Bytes::copy_from_slice(key), payload_bytes, payload_crc: crc32fast::hash(payload) })
    }

    /// Whether the key was first used with `payload`; of others, one in 2^32 of the same length is taken for it.
    #[must_use]
    pub fn is_for(&self, payload: &[u8]) -> bool {
        payload.len() as u64 == u64::from(self.payload_bytes) && crc32fast::hash(payload) == self.payload_crc
    }
}

impl Origin {
    /// Whether it says nothing. A record with such an origin reads back as one without.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.request_key.is_none()
            && !self.is_noted()
            && self.copy_of.is_none()
            && self.partly_asked.is_empty()
            && self.looked_from.is_none()
    }

    /// Whether somebody has to look at the order again: it supersedes others, or SETs were not asked.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        !self.supersedes.is_empty() || !self.unverified.is_empty()
    }

    /// Of an order that stands at `version`: the version under which somebody asked for it, which is an older one if this is a copy.
    pub(crate) fn asked_for(&self, version: Version) -> Version {
        self.copy_of.unwrap_or(version)
    }

    /// Of an order that stands, while `other` is an order with its key that stands at `version`: that one was there, and had not been
    /// acknowledged, when this was placed or told.
    pub(crate) fn outlives(&self, set: SetId, other: &Origin, version: Version) -> bool {
        self.partly_asked.iter().any(|(partly, epoch)| *partly == set && other.asked_for(version).epoch < *epoch)
    }

    /// Which of `sets` this does not say yet.
    pub(crate) fn not_partly_asked(&self, sets: &[(SetId, u32)]) -> Vec<(SetId, u32)> {
        let is_said = |(set, epoch): &(SetId, u32)| self.partly_asked.iter().any(|(other, later)| other == set && later >= epoch);
        sets.iter().filter(|partly| !is_said(partly)).copied().take(PARTLY_ASKED_MAX).collect()
    }

    /// This, and what `more` says beyond it: SETs that were not asked, or in part, numbers that were given up; of these the last that
    /// there is room for. The request key stays.
    pub(crate) fn extended(&self, more: &Origin) -> Origin {
        let mut all = self.clone();
        all.unverified.extend(&more.unverified);
        all.unverified.sort_unstable();
        all.unverified.dedup();
        all.partly_asked.retain(|(set, _)| more.partly_asked.iter().all(|(other, _)| other != set));
        all.partly_asked.extend(&more.partly_asked);
        all.partly_asked.drain(..all.partly_asked.len().saturating_sub(PARTLY_ASKED_MAX));
        all.partly_asked.sort_unstable();
        // As its creator looked: whoever told it later may have looked further back.
        all.looked_from = all.looked_from.or(more.looked_from);
        all.supersedes.retain(|(number, _)| more.supersedes.iter().all(|(other, _)| other != number));
        all.supersedes.extend(&more.supersedes);
        all.supersedes.drain(..all.supersedes.len().saturating_sub(SUPERSEDES_MAX));
        all
    }

    /// What a void says that takes the place of records with these origins: the numbers that must end whatever becomes of this one,
    /// each up to the newest version that was named, and of these the last that there is room for. With them the request key, which
    /// tells whether somebody was told one of them since. But for `stands`, which does not end after all. `None` if that leaves none.
    pub(crate) fn of_void<'a>(origins: impl Iterator<Item = &'a Origin>, stands: Option<OrderNumber>) -> Option<Origin> {
        let mut void = Origin::default();
        for origin in origins {
            for (number, version) in origin.supersedes.iter().filter(|(number, _)| stands != Some(*number)) {
                match void.supersedes.iter_mut().find(|(other, _)| other == number) {
                    Some((_, newest)) => *newest = (*newest).max(*version),
                    None => void.supersedes.push((*number, *version)),
                }
            }
            void.request_key = void.request_key.or_else(|| origin.request_key.clone());
        }
        void.supersedes.drain(..void.supersedes.len().saturating_sub(SUPERSEDES_MAX));
        (!void.supersedes.is_empty()).then_some(void)
    }

    /// What it takes in memory, roughly.
    pub(crate) fn footprint(&self) -> usize {
        let key = self.request_key.as_ref().map_or(0, |key| key.key.len());
        size_of::<Origin>()
            + key
            + size_of_val(&*self.supersedes)
            + size_of_val(&*self.unverified)
            + size_of_val(&*self.partly_asked)
    }

    /// Appends its bytes; none for an empty one.
    ///
    /// # Panics
    /// When it breaks the bounds that its fields name. They are checked before, where an origin is made.
    pub(crate) fn encode_into(&self, bytes: &mut Vec<u8>) {
        if let Some(request) = &self.request_key {
            assert!((1..=REQUEST_KEY_BYTES_MAX).contains(&request.key.len()), "a request key has 1 to 255 bytes");
            bytes.extend_from_slice(&[REQUEST_KEY, request.key.len() as u8]);
            bytes.extend_from_slice(&request.key);
            bytes.extend_from_slice(&request.payload_bytes.to_be_bytes());
            bytes.extend_from_slice(&request.payload_crc.to_be_bytes());
        }
        if !self.supersedes.is_empty() {
            assert!(self.supersedes.len() <= SUPERSEDES_MAX, "an order supersedes at most 16 numbers");
            bytes.extend_from_slice(&[SUPERSEDES, self.supersedes.len() as u8]);
            for (number, version) in &self.supersedes {
                bytes.extend_from_slice(&number.to_be_bytes());
                bytes.extend_from_slice(&version.epoch.to_be_bytes());
                bytes.extend_from_slice(&version.counter.to_be_bytes());
            }
        }
        if let Some(last) = self.unverified.iter().max() {
            let mut map = [0; UNVERIFIED_BYTES_MAX];
            for set in &self.unverified {
                map[usize::from(set.get() / 8)] |= 0x80 >> (set.get() % 8);
            }
            let length = usize::from(last.get() / 8) + 1;
            bytes.extend_from_slice(&[UNVERIFIED, length as u8]);
            bytes.extend_from_slice(&map[..length]);
        }
        if let Some(version) = self.copy_of {
            bytes.extend_from_slice(&[COPY_OF, COPY_OF_BYTES as u8]);
            bytes.extend_from_slice(&version.epoch.to_be_bytes());
            bytes.extend_from_slice(&version.counter.to_be_bytes());
        }
        if !self.partly_asked.is_empty() {
            let sets: BTreeMap<SetId, u32> = self.partly_asked.iter().copied().collect();
            assert!(sets.len() <= PARTLY_ASKED_MAX, "an order names at most 40 SETs that were asked in part");
            bytes.extend_from_slice(&[PARTLY_ASKED, sets.len() as u8]);
            for (set, epoch) in sets {
                bytes.extend_from_slice(&set.get().to_be_bytes());
                bytes.extend_from_slice(&epoch.to_be_bytes());
            }
        }
        if let Some(day) = self.looked_from {
            bytes.extend_from_slice(&[LOOKED_FROM, LOOKED_FROM_BYTES as u8]);
            bytes.extend_from_slice(&day.to_bits().to_be_bytes());
        }
    }

    /// Reads what [`Origin::encode_into`] wrote, all of it. Nothing is allocated for what is not there.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Origin, RecordError> {
        let mut origin = Origin::default();
        let (mut rest, mut last_tag) = (bytes, 0);
        if rest.is_empty() {
            return Err(wrong("it says nothing"));
        }
        // Tags ascend, so this ends after six turns at most.
        while let Some((&tag, from)) = rest.split_first() {
            if tag <= last_tag {
                return Err(wrong("its parts are out of order"));
            }
            let (count, from) = from.split_first().ok_or_else(cut_short)?;
            let count = usize::from(*count);
            if count == 0 {
                return Err(wrong("a part is empty"));
            }
            rest = match tag {
                REQUEST_KEY => {
                    let (key, from) = from.split_at_checked(count).ok_or_else(cut_short)?;
                    let (payload_bytes, from) = from.split_first_chunk().ok_or_else(cut_short)?;
                    let (payload_crc, from) = from.split_first_chunk().ok_or_else(cut_short)?;
                    origin.request_key = Some(RequestKey {
                        key: Bytes::copy_from_slice(key),
                        payload_bytes: u32::from_be_bytes(*payload_bytes),
                        payload_crc: u32::from_be_bytes(*payload_crc),
                    });
                    from
                }
                SUPERSEDES if count > SUPERSEDES_MAX => return Err(wrong("it supersedes too many numbers")),
                SUPERSEDES => {
                    let (listed, from) = from.split_at_checked(count * SUPERSEDED_BYTES).ok_or_else(cut_short)?;
                    let superseded = listed.chunks_exact(SUPERSEDED_BYTES).map(superseded);
                    origin.supersedes =
                        superseded.collect::<Option<_>>().ok_or_else(|| wrong("it supersedes what is no number"))?;
                    from
                }
                UNVERIFIED if count > UNVERIFIED_BYTES_MAX => return Err(wrong("it names a SET above 999")),
                UNVERIFIED => {
                    let (map, from) = from.split_at_checked(count).ok_or_else(cut_short)?;
                    if map.ends_with(&[0]) {
                        return Err(wrong("its map of SETs is longer than it must be"));
                    }
                    let sets = (0..count as u16 * 8).filter(|id| map[usize::from(id / 8)] & (0x80 >> (id % 8)) != 0);
                    origin.unverified = sets.map(SetId::from_checked).collect();
                    from
                }
                COPY_OF if count != COPY_OF_BYTES => return Err(wrong("what it is a copy of is no version")),
                COPY_OF => {
                    let (epoch, from) = from.split_first_chunk().ok_or_else(cut_short)?;
                    let (counter, from) = from.split_first_chunk().ok_or_else(cut_short)?;
                    origin.copy_of = Some(Version { epoch: u32::from_be_bytes(*epoch), counter: u64::from_be_bytes(*counter) });
                    from
                }
                PARTLY_ASKED if count > PARTLY_ASKED_MAX => return Err(wrong("it names too many SETs that were asked in part")),
                PARTLY_ASKED => {
                    let (listed, from) = from.split_at_checked(count * PARTLY_ASKED_BYTES).ok_or_else(cut_short)?;
                    let partly = listed.chunks_exact(PARTLY_ASKED_BYTES).map(partly_asked);
                    origin.partly_asked = partly.collect::<Option<_>>().ok_or_else(|| wrong("it names a SET above 999"))?;
                    if !origin.partly_asked.is_sorted_by(|(one, _), (next, _)| one < next) {
                        return Err(wrong("its SETs are out of order"));
                    }
                    from
                }
                LOOKED_FROM if count != LOOKED_FROM_BYTES => return Err(wrong("where it looked from is no day")),
                LOOKED_FROM => {
                    let (bits, from) = from.split_first_chunk().ok_or_else(cut_short)?;
                    let day = Day::from_bits(u32::from_be_bytes(*bits)).ok_or_else(|| wrong("where it looked from is no day"))?;
                    origin.looked_from = Some(day);
                    from
                }
                _ => return Err(wrong("a part of it is unknown")),
            };
            last_tag = tag;
        }
        Ok(origin)
    }
}

fn superseded(bytes: &[u8]) -> Option<(OrderNumber, Version)> {
    let (number, rest) = bytes.split_first_chunk()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let counter = u64::from_be_bytes(*rest.first_chunk()?);
    let number = OrderNumber::try_from(u64::from_be_bytes(*number)).ok()?;
    Some((number, Version { epoch: u32::from_be_bytes(*epoch), counter }))
}

fn partly_asked(bytes: &[u8]) -> Option<(SetId, u32)> {
    let (set, epoch) = bytes.split_first_chunk()?;
    Some((SetId::new(u16::from_be_bytes(*set)).ok()?, u32::from_be_bytes(*epoch.first_chunk()?)))
}

fn wrong(reason: &'static str) -> RecordError {
    RecordError::Origin { reason }
}

fn cut_short() -> RecordError {
    wrong("it is cut short")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(id: u16) -> SetId {
        SetId::from_checked(id)
    }

    fn superseded(count: u64) -> Vec<(OrderNumber, Version)> {
        let number = |at| OrderNumber::new(Day::MIN, at, set(7)).expect("a number");
        (0..count).map(|at| (number(count - at), Version { epoch: at as u32, counter: u64::MAX - at })).collect()
    }

    fn bytes(origin: &Origin) -> Vec<u8> {
        let mut bytes = Vec::new();
        origin.encode_into(&mut bytes);
        bytes
    }

    fn origins() -> Vec<Origin> {
        let keys = [None, RequestKey::new(b"k", b""), RequestKey::new(&[0xff; REQUEST_KEY_BYTES_MAX], b"payload")];
        let lists = [0, 1, 3, SUPERSEDES_MAX as u64].map(superseded);
        let sets = [vec![], vec![set(0)], vec![set(7), set(8), set(500)], (0..1_000).map(set).collect(), vec![SetId::MAX]];
        let mut origins = Vec::new();
        for request_key in &keys {
            for supersedes in &lists {
                for unverified in &sets {
                    for copy_of in [None, Some(Version { epoch: 7, counter: u64::MAX })] {
                        let (request_key, supersedes, unverified) = (request_key.clone(), supersedes.clone(), unverified.clone());
                        let partly_asked = match unverified.len() {
                            0 => vec![],
                            1 => vec![(set(0), 0)],
                            count => {
                                (0..count.min(PARTLY_ASKED_MAX) as u16).map(|id| (set(999 - id), u32::MAX - 7)).rev().collect()
                            }
                        };
                        let looked_from = unverified.first().map(|set| if set.get() == 0 { Day::MAX } else { Day::MIN });
                        origins.push(Origin { request_key, supersedes, unverified, copy_of, partly_asked, looked_from });
                    }
                }
            }
        }
        origins
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same_and_the_longest_is_as_long_as_reserved() {
        let mut longest = 0;
        for origin in origins().into_iter().filter(|origin| !origin.is_empty()) {
            let bytes = bytes(&origin);
            longest = longest.max(bytes.len());
            assert_eq!(Origin::decode(&bytes), Ok(origin));
        }
        assert_eq!(longest, ORIGIN_BYTES_MAX);
        assert_eq!(bytes(&Origin::default()), []);
    }

    #[test]
    fn what_is_cut_short_or_followed_by_something_is_refused() {
        for origin in origins().into_iter().filter(|origin| !origin.is_empty()) {
            let whole = bytes(&origin);
            for length in 0..whole.len() {
                // A part that is missing as a whole is no part that is cut short.
                if let Ok(shorter) = Origin::decode(&whole[..length]) {
                    assert_eq!(bytes(&shorter), &whole[..length]);
                    assert_ne!(shorter, origin);
                }
            }
            for tag in 0..=u8::MAX {
                assert!(Origin::decode(&[&whole[..], &[tag]].concat()).is_err());
            }
        }
    }

    /// Whatever decodes is spelled as it would be written.
    #[test]
    fn one_origin_has_one_spelling() {
        let mut rng = fastrand::Rng::with_seed(9);
        let mut decoded = 0;
        for origin in origins() {
            let whole = bytes(&origin);
            for _ in 0..200 {
                let mut near = whole.clone();
                for _ in 0..rng.usize(1..4).min(near.len()) {
                    let at = rng.usize(..near.len());
                    near[at] = if rng.bool() { rng.u8(..7) } else { rng.u8(..) };
                }
                if let Ok(origin) = Origin::decode(&near) {
                    assert_eq!(bytes(&origin), near);
                    decoded += 1;
                }
            }
        }
        assert!(decoded > 1_000, "{decoded}");
    }

    #[test]
    fn each_way_to_be_wrong_has_its_words() {
        let number = superseded(1)[0].0.to_be_bytes();
        let list = |count: u8, number: [u8; 8]| [&[2, count][..], &number, &[0; 12]].concat();
        for (bytes, reason) in [
            (vec![], "it says nothing"),
            (vec![0, 1, 1], "its parts are out of order"),
            ([list(1, number), list(1, number)].concat(), "its parts are out of order"),
            ([vec![3, 1, 1], list(1, number)].concat(), "its parts are out of order"),
            (vec![1, 0], "a part is empty"),
            (vec![2, 0], "a part is empty"),
            (vec![3, 0], "a part is empty"),
            (vec![1], "it is cut short"),
            (vec![1, 2, b'k'], "it is cut short"),
            (list(2, number), "it is cut short"),
            (list(17, number), "it supersedes too many numbers"),
            (list(1, [0; 8]), "it supersedes what is no number"),
            (list(1, [0xff; 8]), "it supersedes what is no number"),
            (vec![3, 126], "it names a SET above 999"),
            (vec![3, 2, 1, 0], "its map of SETs is longer than it must be"),
            (vec![4, 1, 1], "what it is a copy of is no version"),
            (vec![4, 12, 0, 0, 0, 0], "it is cut short"),
            (vec![5, 1, 0, 7, 0, 0, 0], "it is cut short"),
            (vec![5, 1, 3, 232, 0, 0, 0, 0], "it names a SET above 999"),
            (vec![5, 2, 0, 7, 0, 0, 0, 1, 0, 7, 0, 0, 0, 2], "its SETs are out of order"),
            (vec![5, 41], "it names too many SETs that were asked in part"),
            (vec![6, 3, 0, 0, 0], "where it looked from is no day"),
            (vec![6, 4, 0, 0, 0, 0], "where it looked from is no day"),
            (vec![6, 4, 0, 0, 0], "it is cut short"),
            (vec![7, 1, 1], "a part of it is unknown"),
        ] {
            assert_eq!(Origin::decode(&bytes), Err(RecordError::Origin { reason }), "{bytes:?}");
        }
    }

    #[test]
    fn a_void_says_which_numbers_end_and_for_which_key_and_nothing_else() {
        let request_key = RequestKey::new(b"k", b"payload");
        let [first, second, third] = superseded(3).try_into().expect("three");
        let of = |supersedes: &[(OrderNumber, Version)]| Origin { supersedes: supersedes.to_vec(), ..Origin::default() };
        let full = Origin {
            request_key: request_key.clone(),
            unverified: vec![set(7)],
            copy_of: Some(Version { epoch: 1, counter: 1 }),
            ..of(&[first, second])
        };
        let void = |origins: &[&Origin], stands| Origin::of_void(origins.iter().copied(), stands);
        assert_eq!(void(&[&full], None), Some(Origin { request_key: request_key.clone(), ..of(&[first, second]) }));
        assert_eq!(void(&[&full], Some(first.0)), Some(Origin { request_key: request_key.clone(), ..of(&[second]) }));
        // Of one number the newest version counts, whoever names it.
        let newer = (first.0, Version { epoch: 9, counter: 1 });
        for origins in [[&full, &of(&[third, newer])], [&of(&[third, newer]), &full]] {
            let void = void(&origins, None).expect("three are named");
            assert_eq!(
                void.supersedes.iter().collect::<std::collections::BTreeSet<_>>(),
                [newer, second, third].iter().collect()
            );
            assert_eq!(void.request_key, request_key);
        }
        let silent = Origin { request_key: request_key.clone(), unverified: vec![set(7)], ..Origin::default() };
        assert_eq!((void(&[], None), void(&[&silent], None), void(&[&of(&[first])], Some(first.0))), (None, None, None));
        let many = superseded(SUPERSEDES_MAX as u64 + 4);
        let void = void(&[&of(&many[..SUPERSEDES_MAX]), &of(&many[4..])], None);
        assert_eq!(void, Some(of(&many[4..])));
    }

    #[test]
    fn sets_read_back_ascending_and_each_once() {
        let origin = Origin { unverified: [9, 0, 999, 9].map(set).to_vec(), ..Origin::default() };
        assert_eq!(Origin::decode(&bytes(&origin)).map(|origin| origin.unverified), Ok([0, 9, 999].map(set).to_vec()));
    }

    #[test]
    fn a_key_has_1_to_255_bytes_and_knows_its_payload() {
        assert_eq!((RequestKey::new(b"", b"x"), RequestKey::new(&[7; 256], b"x")), (None, None));
        let key = RequestKey::new(b"pay-8841", b"payload").expect("a key");
        assert!(key.is_for(b"payload"));
        assert!(!key.is_for(b"Payload") && !key.is_for(b"payload ") && !key.is_for(b""));
    }
}

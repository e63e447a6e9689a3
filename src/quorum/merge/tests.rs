//! Merged stretches beside the definition, number by number.

use super::*;
use crate::order::{Day, SetId};
use crate::replica::{Damage, Kind, Version};
use bytes::Bytes;

fn number(sequence: u64) -> OrderNumber {
    OrderNumber::new(Day::new(2026, 11, 22).unwrap(), sequence, SetId::new(7).unwrap()).unwrap()
}

fn record(counter: u64) -> Record {
    let value = Bytes::from(counter.to_string());
    Record { kind: Kind::Order, version: Version { epoch: 1, counter }, generation: 0, value, origin: None }
}

fn found(sequence: u64, counter: u64) -> Scanned {
    Scanned::Found(number(sequence), record(counter))
}

fn damaged(from: u64, to: u64) -> Scanned {
    Scanned::Damaged { from: number(from), to: number(to), damage: Damage::RunMissing }
}

fn chunk(items: Vec<Scanned>, upto: Option<u64>) -> Chunk {
    Chunk { items, upto: upto.map(number) }
}

fn merged(chunks: Vec<Chunk>) -> (Vec<Merged>, Option<OrderNumber>) {
    let chunks: Vec<(u8, Chunk)> = (0u8..).zip(chunks).collect();
    merge(Quorum::new(3, 2, 2).unwrap(), 2, (0..3).collect(), 0, &chunks)
}

#[test]
fn what_w_replicas_carry_is_agreed_and_the_rest_is_read() {
    let (items, upto) = merged(vec![
        chunk(vec![found(1, 1), found(2, 2), found(3, 5)], None),
        chunk(vec![found(1, 1), found(3, 4), found(4, 6)], None),
    ]);
    let agreed = Merged::Agreed(number(1), record(1));
    assert_eq!(items, vec![agreed, Merged::Read(number(2)), Merged::Read(number(3)), Merged::Read(number(4))]);
    assert_eq!(upto, None);
}

#[test]
fn nothing_is_said_beyond_the_shortest_chunk() {
    let (items, upto) =
        merged(vec![chunk(vec![found(1, 1), found(2, 2)], Some(2)), chunk(vec![found(1, 1), found(2, 2), found(3, 3)], None)]);
    assert_eq!(items, vec![Merged::Agreed(number(1), record(1)), Merged::Agreed(number(2), record(2))]);
    assert_eq!(upto, Some(number(2)));
}

#[test]
fn a_gap_in_one_of_three_hides_nothing_and_in_two_is_unknown() {
    let all = || vec![found(1, 1), found(2, 2), found(3, 3)];
    let (items, _) = merged(vec![chunk(all(), None), chunk(vec![damaged(1, 2), found(3, 3)], None), chunk(all(), None)]);
    assert_eq!(items.len(), 3);
    assert!(items.iter().all(|item| matches!(item, Merged::Agreed(..))), "{items:?}");
    let gap = || chunk(vec![damaged(1, 2), found(3, 3)], None);
    let (items, _) = merged(vec![chunk(all(), None), gap(), gap()]);
    assert!(items.contains(&Merged::Unknown(number(1), number(2))), "{items:?}");
    assert!(items.contains(&Merged::Read(number(1))) && items.contains(&Merged::Read(number(2))), "{items:?}");
}

/// All ways to lay one or two gaps over eight numbers on each of three replicas.
#[test]
fn unheard_stretches_cover_exactly_what_too_few_can_read() {
    let spans: Vec<(u64, u64)> = (0..8).flat_map(|from| (from..8).map(move |to| (from, to))).collect();
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..20_000 {
        let readers = 1 + random(3);
        let r = 1 + random(readers);
        let gaps: Vec<(u64, u64)> = (0..readers.saturating_sub(random(2))).map(|_| spans[random(spans.len())]).collect();
        let as_numbers: Vec<_> = gaps.iter().map(|(from, to)| (number(*from), number(*to))).collect();
        let stretches = unheard(&as_numbers, readers, r);
        for sequence in 0..8 {
            let blind = gaps.iter().filter(|(from, to)| (*from..=*to).contains(&sequence)).count();
            let expected = readers - blind < r;
            let said = stretches.iter().any(|(from, to)| (*from..=*to).contains(&number(sequence)));
            assert_eq!(said, expected, "{gaps:?} readers {readers} r {r} sequence {sequence}: {stretches:?}");
        }
    }
}

use super::*;
use crate::order::Day;

const DAYS: u32 = 2;

fn set(id: u16) -> SetId {
    SetId::from_checked(id)
}

fn number(id: u16, day: i64, sequence: u64) -> OrderNumber {
    let day = Day::from_unix_days(20_000 + day).expect("a day");
    OrderNumber::new(day, sequence, set(id)).expect("a number")
}

fn version(counter: u64) -> Version {
    Version { epoch: 1, counter }
}

fn request() -> RequestKey {
    RequestKey::new(b"k", b"payload").expect("a key")
}

/// A find at version 5, read strongly.
fn find(number: OrderNumber, unverified: &[u16], supersedes: &[(OrderNumber, u64)]) -> Find {
    let unverified = unverified.iter().map(|id| set(*id)).collect();
    let supersedes = supersedes.iter().map(|(number, counter)| (*number, version(*counter))).collect();
    let origin = Arc::new(Origin { request_key: Some(request()), supersedes, unverified, copy_of: None });
    Find { number, version: version(5), origin, is_sure: true, is_told: false }
}

fn decided(finds: &[Find], unasked: &[u16]) -> Verdict {
    let unasked: Vec<SetId> = unasked.iter().map(|id| set(*id)).collect();
    // It does not depend on who answered first.
    let verdict = sorted(decide(finds, &unasked, Some(&request()), false, DAYS));
    let mut reversed = finds.to_vec();
    reversed.reverse();
    assert_eq!(sorted(decide(&reversed, &unasked, Some(&request()), false, DAYS)), verdict);
    verdict
}

fn sorted(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Stands { number, version, unverified, missing, mut voids } => {
            voids.sort_unstable();
            Verdict::Stands { number, version, unverified, missing, voids }
        }
        Verdict::Look(mut numbers) => {
            numbers.sort_unstable();
            Verdict::Look(numbers)
        }
        verdict => verdict,
    }
}

/// This one stands, and these become void.
fn stands(find: &Find, missing: &[u16], voids: &[&Find]) -> Verdict {
    let missing = missing.iter().map(|id| set(*id)).collect();
    let voids = voids.iter().map(|void| (void.number, void.version)).collect();
    let unverified = find.origin.unverified.clone();
    sorted(Verdict::Stands { number: find.number, version: find.version, unverified, missing, voids })
}

#[test]
fn of_a_new_key_an_order_is_placed_unless_certainty_is_wanted_and_cannot_be_had() {
    assert_eq!(decided(&[], &[]), Verdict::Place);
    assert_eq!(decided(&[], &[7]), Verdict::Place);
    assert_eq!(decide(&[], &[set(7)], Some(&request()), true, DAYS), Verdict::Unverified(vec![set(7)]));
    assert_eq!(decide(&[], &[], Some(&request()), true, DAYS), Verdict::Place);
}

#[test]
fn one_order_is_the_answer() {
    let one = find(number(7, 0, 1), &[8], &[]);
    assert_eq!(decided(std::slice::from_ref(&one), &[]), stands(&one, &[], &[]));
    assert_eq!(decided(std::slice::from_ref(&one), &[8]), stands(&one, &[], &[]), "its record says so already");
    assert_eq!(decided(std::slice::from_ref(&one), &[8, 9]), stands(&one, &[9], &[]));
    let strict = |unasked: &[SetId]| decide(std::slice::from_ref(&one), unasked, Some(&request()), true, DAYS);
    assert_eq!(strict(&[set(8)]), stands(&one, &[], &[]));
    assert_eq!(strict(&[set(8), set(9)]), Verdict::Unverified(vec![set(9)]));
}

#[test]
fn nothing_is_told_that_was_not_read_strongly() {
    let unsure = Find { is_sure: false, ..find(number(7, 0, 1), &[], &[]) };
    assert_eq!(decided(std::slice::from_ref(&unsure), &[]), Verdict::Look(vec![unsure.number]));
    // But for what gives way to others: looking might bring it to life.
    let other = find(number(8, 0, 1), &[], &[(unsure.number, 5)]);
    assert_eq!(decided(&[unsure.clone(), other.clone()], &[]), stands(&other, &[], &[&unsure]));
    let both_unsure = [unsure.clone(), Find { is_sure: false, ..other.clone() }];
    assert_eq!(decided(&both_unsure, &[]), Verdict::Look(vec![other.number]));
}

#[test]
fn another_payload_is_told_whoever_could_not_be_asked() {
    let one = find(number(7, 0, 1), &[], &[]);
    for (payload, strict) in [("payloaD", false), ("payload, longer", false), ("payloaD", true)] {
        let request = RequestKey::new(b"k", payload.as_bytes()).expect("a key");
        let verdict = decide(std::slice::from_ref(&one), &[set(8)], Some(&request), strict, DAYS);
        assert_eq!(verdict, Verdict::Reused(one.number));
    }
}

#[test]
fn a_superseded_number_gives_way_as_long_as_nobody_was_told_of_a_newer_version() {
    let first = find(number(7, 0, 1), &[], &[]);
    for (counter, gives_way) in [(4, false), (5, true), (6, true)] {
        let second = find(number(8, 0, 1), &[], &[(first.number, counter)]);
        let expected = match gives_way {
            true => stands(&second, &[], &[&first]),
            false => Verdict::Conflict(vec![first.number, second.number]),
        };
        assert_eq!(decided(&[first.clone(), second], &[]), expected, "at {counter}");
    }
    // A whole row of them.
    let second = find(number(8, 0, 1), &[], &[(first.number, 5)]);
    let third = find(number(9, 0, 1), &[], &[(first.number, 5), (second.number, 5)]);
    assert_eq!(decided(&[first.clone(), second.clone(), third.clone()], &[]), stands(&third, &[], &[&first, &second]));
    let short = find(number(9, 0, 1), &[], &[(second.number, 5)]);
    assert_eq!(decided(&[first.clone(), second.clone(), short.clone()], &[]), stands(&short, &[], &[&first, &second]));
}

#[test]
fn the_order_whose_set_another_could_not_ask_is_the_earlier_one() {
    let first = find(number(7, 0, 1), &[], &[]);
    let second = find(number(8, 0, 1), &[7], &[]);
    assert_eq!(decided(&[first.clone(), second.clone()], &[]), stands(&second, &[], &[&first]));
    // Not so where each could not ask the other's.
    let also = find(number(7, 0, 1), &[8], &[]);
    assert_eq!(decided(&[also.clone(), second.clone()], &[]), Verdict::Conflict(vec![also.number, second.number]));
    // An order that was confirmed while the other's SET could not be asked stands, though the other took its place before.
    let confirmed = Find { version: version(6), ..also };
    let rival = find(number(8, 0, 1), &[], &[(confirmed.number, 5)]);
    assert_eq!(decided(&[confirmed.clone(), rival.clone()], &[]), stands(&confirmed, &[], &[&rival]));
    // What is given up is dead, whatever its record says of others.
    let dead = find(number(7, 0, 1), &[8], &[]);
    let over = find(number(8, 0, 1), &[], &[(dead.number, 5)]);
    assert_eq!(decided(&[dead.clone(), over.clone()], &[]), stands(&over, &[], &[&dead]));
}

#[test]
fn of_two_on_one_set_the_newer_stands() {
    let (older, newer) = (find(number(7, 0, 1), &[], &[]), find(number(7, 0, 2), &[], &[]));
    assert_eq!(decided(&[older.clone(), newer.clone()], &[]), stands(&newer, &[], &[&older]));
    let next_day = find(number(7, 1, 0), &[], &[]);
    assert_eq!(decided(&[older.clone(), next_day.clone(), newer.clone()], &[]), stands(&next_day, &[], &[&older, &newer]));
}

#[test]
fn two_that_know_nothing_of_each_other_are_a_matter_for_the_operator() {
    let (one, other) = (find(number(7, 0, 1), &[], &[]), find(number(8, 1, 1), &[], &[]));
    assert_eq!(decided(&[one.clone(), other.clone()], &[]), Verdict::Conflict(vec![one.number, other.number]));
    // Three in a circle: each could not ask the next one's SET.
    let circle = [(7, 8), (8, 9), (9, 7)].map(|(id, next)| find(number(id, 0, 1), &[next], &[]));
    let numbers = circle.iter().map(|find| find.number).collect();
    assert_eq!(decided(&circle, &[]), Verdict::Conflict(numbers));
    // First they are all looked at.
    let unsure = [Find { is_sure: false, ..one.clone() }, other];
    assert_eq!(decided(&unsure, &[]), Verdict::Look(vec![one.number]));
}

#[test]
fn an_order_under_a_key_that_was_forgotten_meanwhile_is_left_alone() {
    for id in [7, 8] {
        let (old, new) = (find(number(7, 0, 1), &[], &[]), find(number(id, 2, 5), &[], &[]));
        assert_eq!(decided(&[old, new.clone()], &[]), stands(&new, &[], &[]), "SET {id}");
    }
    // A SET that could not be asked is held to have an earlier attempt for as long as keys are looked for.
    let (old, new) = (find(number(7, 0, 1), &[], &[]), find(number(8, 2, 5), &[7], &[]));
    let verdict = |days| decide(&[old.clone(), new.clone()], &[], Some(&request()), false, days);
    assert_eq!(verdict(3), stands(&new, &[], &[&old]));
    assert_eq!(verdict(2), Verdict::Conflict(vec![old.number, new.number]));
}

#[test]
fn the_order_told_last_stands_over_what_surfaces_and_needs_nobody_else() {
    let told = Find { is_told: true, ..find(number(7, 0, 5), &[], &[]) };
    let surfaced = [
        find(number(8, 0, 1), &[], &[]),
        find(number(8, 0, 1), &[7], &[]),
        find(number(8, 0, 1), &[], &[(told.number, 5)]),
        find(number(7, 0, 6), &[], &[]),
    ];
    for other in &surfaced {
        assert_eq!(decided(&[told.clone(), other.clone()], &[]), stands(&told, &[], &[other]));
    }
    assert_eq!(decided(std::slice::from_ref(&told), &[7, 8]), stands(&told, &[], &[]));
    assert_eq!(decide(std::slice::from_ref(&told), &[set(8)], Some(&request()), true, DAYS), stands(&told, &[], &[]));
    // Of this one its record says that it may have been told.
    let doubts = Find { is_told: true, ..find(number(7, 0, 5), &[8], &[]) };
    assert_eq!(decided(&[doubts.clone(), surfaced[0].clone()], &[]), stands(&doubts, &[], &[&surfaced[0]]));
    assert_eq!(decided(&[doubts, surfaced[1].clone()], &[]), Verdict::Conflict(vec![surfaced[1].number, told.number]));
}

/// Every constellation of three orders on three SETs in which each could or could not ask the others', and did or did not take the
/// place of the others.
#[test]
fn whoever_stands_is_beaten_by_nobody_and_nobody_is_void_without_a_reason() {
    let ids = [7, 8, 9];
    for bits in 0_u32..1 << 12 {
        let finds: Vec<Find> = (0..3)
            .map(|at| {
                let others: Vec<usize> = (0..3).filter(|other| *other != at).collect();
                let has = |place: usize, kind: usize| bits & 1 << (at * 4 + kind * 2 + place) != 0;
                let unverified: Vec<u16> =
                    others.iter().enumerate().filter(|(place, _)| has(*place, 0)).map(|(_, other)| ids[*other]).collect();
                let supersedes: Vec<_> = others
                    .iter()
                    .enumerate()
                    .filter(|(place, _)| has(*place, 1))
                    .map(|(_, other)| (number(ids[*other], 0, 1), 5))
                    .collect();
                find(number(ids[at], 0, 1), &unverified, &supersedes)
            })
            .collect();
        match decided(&finds, &[]) {
            Verdict::Stands { number, voids, .. } => {
                assert_eq!(voids.len(), 2, "{bits:b}: the others are beaten, by it or by one that it beats");
                assert!(voids.iter().all(|(void, _)| *void != number));
                let winner = finds.iter().find(|find| find.number == number).expect("it was found");
                assert!(!finds.iter().any(|other| other.names(winner).is_some() && winner.names(other).is_none()), "{bits:b}");
            }
            Verdict::Conflict(numbers) => assert!(numbers.len() >= 2, "{bits:b}"),
            other => panic!("{bits:b}: {other:?}"),
        }
    }
}

use super::*;
use crate::order::Day;

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
    let origin = Arc::new(Origin { request_key: Some(request()), supersedes, unverified, ..Origin::default() });
    Find { number, version: version(5), origin, is_sure: true, is_told: false, is_changed: false }
}

fn decided(finds: &[Find], unasked: &[u16]) -> Verdict {
    let unasked: Vec<SetId> = unasked.iter().map(|id| set(*id)).collect();
    // It does not depend on who answered first.
    let verdict = sorted(decide(finds, &unasked, Some(&request()), false));
    let mut reversed = finds.to_vec();
    reversed.reverse();
    assert_eq!(sorted(decide(&reversed, &unasked, Some(&request()), false)), verdict);
    verdict
}

fn sorted(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Stands { number, version, unverified, missing, mut voids, changed } => {
            voids.sort_unstable();
            Verdict::Stands { number, version, unverified, missing, voids, changed }
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
    sorted(Verdict::Stands { number: find.number, version: find.version, unverified, missing, voids, changed: vec![] })
}

#[test]
fn of_a_new_key_an_order_is_placed_unless_certainty_is_wanted_and_cannot_be_had() {
    assert_eq!(decided(&[], &[]), Verdict::Place);
    assert_eq!(decided(&[], &[7]), Verdict::Place);
    assert_eq!(decide(&[], &[set(7)], Some(&request()), true), Verdict::Unverified(vec![set(7)]));
    assert_eq!(decide(&[], &[], Some(&request()), true), Verdict::Place);
}

#[test]
fn one_order_is_the_answer() {
    let one = find(number(7, 0, 1), &[8], &[]);
    assert_eq!(decided(std::slice::from_ref(&one), &[]), stands(&one, &[], &[]));
    assert_eq!(decided(std::slice::from_ref(&one), &[8]), stands(&one, &[], &[]), "its record says so already");
    assert_eq!(decided(std::slice::from_ref(&one), &[8, 9]), stands(&one, &[9], &[]));
    let strict = |unasked: &[SetId]| decide(std::slice::from_ref(&one), unasked, Some(&request()), true);
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
        let verdict = decide(std::slice::from_ref(&one), &[set(8)], Some(&request), strict);
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

/// It heard of that SET what was left of it in this epoch.
fn partly(find: Find, asked: &[(u16, u32)]) -> Find {
    let partly_asked = asked.iter().map(|(id, epoch)| (set(*id), *epoch)).collect();
    Find { origin: Arc::new(Origin { partly_asked, ..(*find.origin).clone() }), ..find }
}

#[test]
fn what_was_on_a_replica_that_was_away_gives_way_to_what_was_placed_or_told_meanwhile() {
    let told = |asked| partly(find(number(7, 0, 1), &[], &[]), asked);
    // Version 5 of epoch 1; also if it was found since, and written anew.
    let away = find(number(8, 0, 1), &[], &[]);
    let copied = Origin { copy_of: Some(version(5)), ..(*away.origin).clone() };
    let copied = Find { version: Version { epoch: 3, counter: 1 }, origin: Arc::new(copied), ..away.clone() };
    let changed = Find { version: Version { epoch: 2, counter: 1 }, ..away.clone() };
    let stands_over = |told: Find, other: &Find| {
        let expected = stands(&told, &[], &[other]);
        assert_eq!(decided(&[told, other.clone()], &[]), expected);
    };
    for gives_way in [&away, &copied] {
        stands_over(told(&[(8, 2)]), gives_way);
    }
    for (stays, asked) in [(&away, &[(8, 1)][..]), (&away, &[(9, 2)]), (&changed, &[(8, 2)])] {
        let told = told(asked);
        assert_eq!(decided(&[told.clone(), stays.clone()], &[]), Verdict::Conflict(vec![told.number, stays.number]));
    }
    // Whatever that one says of it: it was not there to hear that this was told.
    let confirmed = Find { version: version(6), ..told(&[(8, 2)]) };
    stands_over(confirmed.clone(), &find(number(8, 0, 1), &[], &[(confirmed.number, 5)]));
    stands_over(told(&[(8, 2)]), &find(number(8, 0, 1), &[7], &[]));
    // Also on its own SET, where the newer one would stand.
    stands_over(told(&[(7, 2)]), &find(number(7, 0, 2), &[], &[]));
    stands_over(told(&[(7, 2)]), &find(number(7, 0, 0), &[], &[]));
    // Each says so of the other.
    let other = partly(away.clone(), &[(7, 2)]);
    assert_eq!(decided(&[told(&[(8, 2)]), other.clone()], &[]), Verdict::Conflict(vec![number(7, 0, 1), other.number]));
    // The key was forgotten in between.
    let much_later = partly(find(number(7, 3, 1), &[], &[]), &[(8, 2)]);
    assert_eq!(decided(&[much_later.clone(), away], &[]), stands(&much_later, &[], &[]));
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
    // A SET that could not be asked is held to have an earlier attempt for as far back as keys were looked for.
    let (old, new) = (find(number(7, 0, 1), &[], &[]), find(number(8, 2, 5), &[7], &[]));
    assert_eq!(decided(&[old.clone(), looking_from(0, new.clone())], &[]), stands(&looking_from(0, new.clone()), &[], &[&old]));
    assert_eq!(decided(&[old.clone(), looking_from(1, new.clone())], &[]), stands(&looking_from(1, new.clone()), &[], &[]));
    assert_eq!(decided(&[old.clone(), new.clone()], &[]), Verdict::Conflict(vec![old.number, new.number]));
    // And one that could not ask says nothing of an order that used the key again after it was forgotten.
    let (old, new) = (looking_from(0, find(number(8, 0, 1), &[7], &[])), find(number(7, 2, 5), &[], &[]));
    assert_eq!(decided(&[old.clone(), new.clone()], &[]), stands(&new, &[], &[]));
    // Nor has one that heard only a part of a SET anything to do with what had been forgotten.
    let (old, new) = (find(number(7, 0, 1), &[], &[]), partly(find(number(7, 2, 5), &[], &[]), &[(7, 2)]));
    assert_eq!(decided(&[old.clone(), looking_from(1, new.clone())], &[]), stands(&looking_from(1, new), &[], &[]));
}

fn looking_from(days_after: i64, find: Find) -> Find {
    let looked_from = Some(number(7, days_after, 0).day());
    Find { origin: Arc::new(Origin { looked_from, ..(*find.origin).clone() }), ..find }
}

/// It was found and changed before anything could end it.
#[test]
fn what_somebody_changed_is_left_alone_unless_a_record_says_that_it_ends() {
    let changed = Find { is_changed: true, ..find(number(7, 0, 1), &[], &[]) };
    let told = Find { is_told: true, ..find(number(8, 0, 1), &[], &[]) };
    for winner in [find(number(7, 0, 2), &[], &[]), told, partly(find(number(8, 0, 1), &[], &[]), &[(7, 2)])] {
        let verdict = decided(&[changed.clone(), winner.clone()], &[]);
        let Verdict::Stands { number, voids, changed: left, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!((number, voids, left), (winner.number, vec![], vec![changed.number]));
    }
    for winner in [find(number(8, 0, 1), &[7], &[]), find(number(8, 0, 1), &[], &[(changed.number, 5)])] {
        assert_eq!(decided(&[changed.clone(), winner.clone()], &[]), stands(&winner, &[], &[&changed]));
    }
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
    assert_eq!(decide(std::slice::from_ref(&told), &[set(8)], Some(&request()), true), stands(&told, &[], &[]));
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

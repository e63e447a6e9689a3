//! The conformance suite holds of the replica in memory, and does not hold of replicas with a bug planted in them.

use bytes::Bytes;
use ordermint::testing::conformance::{self, Place};
use ordermint::testing::{FaultControl, Faulty};
use ordermint::{
    Applied, Chunk, Day, Group, Identity, KeyUse, Kind, Lookup, Marks, MemoryReplica, Noted, OrderNumber, RangeDigest, Replica,
    ReplicaError, ScanLimit, Scanned, Standing,
};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

#[test]
fn the_replica_in_memory_keeps_the_contract() {
    conformance::run_all(&|| {
        let memory = MemoryReplica::new();
        Box::new(move || Ok(Arc::new(memory.clone()) as Arc<_>))
    });
}

#[test]
fn a_faulty_replica_without_faults_keeps_the_contract_and_can_rot() {
    conformance::run_all(&|| Box::new(Workshop::with(Bug::None)));
}

#[test]
fn one_more_random_world_agrees_with_the_model() {
    conformance::run_seed(&|| Box::new(Workshop::with(Bug::None)), 20_261_122);
}

/// Planted one at a time. Beside each the clauses that must notice it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// The last group is not there after a drop without close.
    SyncsAtCloseOnly,
    /// The first order of every group is never stored.
    LosesTheFirst,
    LosesEmptyPayloads,
    LosesTheLastNumberOfADay,
    /// A fresh order below the highest is taken for one that is there already.
    LosesStragglers,
    FindsTheNextBelow,
    MakesADayByAsking,
    CountsDaysToTen,
    LastWriterWins,
    NamesNobodyRefused,
    NamesPlacesFromOne,
    RefusesWhatIsHeld,
    IgnoresGenerations,
    VoidsAreAbsent,
    AppliesHalfOfLargeGroups,
    StopsAtTheFirstOfTwo,
    NeverFences,
    FencesAfterWriting,
    TakesAnyNumber,
    ShowsWhatFailed,
    SkipsAtTheEndOfAPage,
    IncludesTheNumberItBeginsAbove,
    EndsAtTheFirstPage,
    IgnoresTheLimits,
    ScansBackwards,
    DigestsCountOnly,
    DigestsIgnoreTheEpoch,
    DigestsIgnoreTheRange,
    DigestsIgnoreDamage,
    DamageIsAbsence,
    DamagePanics,
    GarbledBytesAreAbsent,
    StaysOpen,
    ForgetsTheEpoch,
    ForgetsTheBanishment,
    IgnoresTheReadmission,
    ReadmitsBelowWhatWasSeen,
    ReadmitsAnybody,
    AlwaysFormed,
    NeverFresh,
    PrefixesAreTooShort,
    MetaIsLateByOne,
    MetaIsNotDurable,
    MarksAreLowByOne,
    MarksForgetThePeers,
    ReadsFromAStaleCache,
    DropsOrigins,
    TakesKeysForTheirBeginnings,
    LooksKeysUpOnAllDays,
    TellsKeysOfAllDays,
    TellsKeysInTheOrderOfTheirBytes,
    TellsEachKeyOnce,
    KnowsNoKeyOfWhatIsRefused,
    TellsNoNotesOfKeyedOrders,
    TellsNotesOfTheFirstDayOnly,
}

const BUGS: &[(Bug, &[&str])] = &[
    (Bug::SyncsAtCloseOnly, &["what_was_applied_outlasts_a_drop_without_close"]),
    (Bug::LosesTheFirst, &["fresh_orders_of_many_groups_and_days_are_found", "random_groups_agree_with_a_model"]),
    (Bug::LosesEmptyPayloads, &["payloads_may_be_empty_and_as_large_as_the_cap"]),
    (Bug::LosesTheLastNumberOfADay, &["the_first_and_the_last_number_of_all_days_can_be_held"]),
    (Bug::LosesStragglers, &["a_straggler_is_found_beside_the_numbers_above_it", "random_groups_agree_with_a_model"]),
    (Bug::FindsTheNextBelow, &["numbers_below_between_and_above_others_are_absent"]),
    (Bug::MakesADayByAsking, &["nothing_is_found_where_nothing_was_written"]),
    (Bug::CountsDaysToTen, &["many_days_are_held_side_by_side"]),
    (Bug::LastWriterWins, &["an_older_version_is_refused_and_named", "random_groups_agree_with_a_model"]),
    (Bug::NamesNobodyRefused, &["an_older_version_is_refused_and_named", "random_groups_agree_with_a_model"]),
    (Bug::NamesPlacesFromOne, &["the_refused_are_named_by_their_place_in_the_group"]),
    (Bug::RefusesWhatIsHeld, &["what_is_held_already_counts_as_applied"]),
    (Bug::IgnoresGenerations, &["at_equal_versions_the_higher_generation_counts"]),
    (Bug::VoidsAreAbsent, &["a_void_replaces_an_order_and_refuses_a_late_one"]),
    (Bug::AppliesHalfOfLargeGroups, &["a_group_at_the_cap_is_applied_whole"]),
    (Bug::StopsAtTheFirstOfTwo, &["several_versions_of_one_number_in_one_group_end_at_the_newest"]),
    (Bug::NeverFences, &["a_group_below_the_claimed_epoch_is_fenced_before_anything_is_written"]),
    (Bug::FencesAfterWriting, &["a_group_below_the_claimed_epoch_is_fenced_before_anything_is_written"]),
    (Bug::TakesAnyNumber, &["a_number_of_another_set_is_refused"]),
    (Bug::ShowsWhatFailed, &["nothing_of_a_failed_group_is_shown"]),
    (Bug::SkipsAtTheEndOfAPage, &["a_scan_is_the_same_at_every_page_size"]),
    (Bug::IncludesTheNumberItBeginsAbove, &["a_scan_begins_above_the_given_number", "a_scan_is_the_same_at_every_page_size"]),
    (Bug::EndsAtTheFirstPage, &["a_scan_is_the_same_at_every_page_size", "a_scan_keeps_to_its_limits"]),
    (Bug::IgnoresTheLimits, &["a_scan_keeps_to_its_limits"]),
    (Bug::ScansBackwards, &["fresh_orders_of_many_groups_and_days_are_found"]),
    (Bug::DigestsCountOnly, &["every_difference_shows_in_the_digest", "a_digest_is_that_of_the_records_held"]),
    (Bug::DigestsIgnoreTheEpoch, &["a_digest_below_an_epoch_leaves_newer_versions_out"]),
    (Bug::DigestsIgnoreTheRange, &["a_digest_keeps_to_its_range"]),
    (Bug::DigestsIgnoreDamage, &["rotten_bytes_are_damaged_and_neither_a_value_nor_absent"]),
    (Bug::DamageIsAbsence, &["rotten_bytes_are_damaged_and_neither_a_value_nor_absent"]),
    (Bug::DamagePanics, &["rotten_bytes_are_damaged_and_neither_a_value_nor_absent"]),
    (Bug::GarbledBytesAreAbsent, &["bytes_garbled_on_their_way_never_become_a_value"]),
    (Bug::StaysOpen, &["after_a_close_every_call_says_closed"]),
    (Bug::ForgetsTheEpoch, &["an_epoch_only_rises_and_outlasts_reopening"]),
    (Bug::ForgetsTheBanishment, &["a_banished_replica_stays_in_limbo_and_gives_values"]),
    (Bug::IgnoresTheReadmission, &["a_readmitted_replica_votes_and_counts_on_above_what_was_seen"]),
    (Bug::ReadmitsBelowWhatWasSeen, &["a_readmitted_replica_votes_and_counts_on_above_what_was_seen"]),
    (Bug::ReadmitsAnybody, &["a_replica_that_nobody_named_is_not_readmitted"]),
    (Bug::AlwaysFormed, &["an_identity_outlasts_reopening"]),
    (Bug::NeverFresh, &["a_fresh_replica_knows_nothing"]),
    (Bug::PrefixesAreTooShort, &["meta_values_are_replaced_and_listed_by_prefix"]),
    (Bug::MetaIsLateByOne, &["meta_values_are_replaced_and_listed_by_prefix"]),
    (Bug::MetaIsNotDurable, &["meta_values_outlast_reopening"]),
    (Bug::MarksAreLowByOne, &["marks_count_the_groups_and_remember_the_peers"]),
    (Bug::MarksForgetThePeers, &["marks_count_the_groups_and_remember_the_peers"]),
    (Bug::DropsOrigins, &["an_origin_is_held_with_its_record"]),
    (Bug::TakesKeysForTheirBeginnings, &["a_request_key_leads_to_all_its_numbers_and_to_no_others"]),
    (Bug::LooksKeysUpOnAllDays, &["a_request_key_is_looked_up_from_a_day_on"]),
    (Bug::TellsKeysOfAllDays, &["request_keys_are_told_page_by_page_over_all_days"]),
    (Bug::TellsKeysInTheOrderOfTheirBytes, &["request_keys_are_told_page_by_page_over_all_days"]),
    (Bug::TellsEachKeyOnce, &["request_keys_are_told_page_by_page_over_all_days"]),
    (Bug::KnowsNoKeyOfWhatIsRefused, &["a_key_of_a_write_that_is_refused_or_held_already_is_known"]),
    (Bug::TellsNoNotesOfKeyedOrders, &["notes_are_told_as_their_records_stand"]),
    (Bug::TellsNotesOfTheFirstDayOnly, &["notes_are_told_page_by_page_over_all_days"]),
    (
        Bug::ReadsFromAStaleCache,
        &["a_newer_version_replaces_an_older_one", "readers_beside_a_writer_see_whole_versions_that_never_go_back"],
    ),
];

/// Why a clause does not hold of a replica with `bug`.
fn broken(clause: &conformance::Clause, bug: Bug) -> bool {
    catch_unwind(AssertUnwindSafe(|| clause.check(&|| Box::new(Workshop::with(bug))))).is_err()
}

#[test]
fn every_planted_bug_is_found_by_the_clauses_that_speak_of_it() {
    for (bug, names) in BUGS {
        for name in *names {
            let clause = conformance::clauses().iter().find(|clause| clause.name() == *name).expect("a clause of that name");
            assert!(broken(clause, *bug), "{bug:?} was planted, and {name} holds");
        }
    }
}

/// A clause that no bug can break proves nothing.
#[test]
fn every_clause_can_fail() {
    for clause in conformance::clauses() {
        assert!(BUGS.iter().any(|(bug, _)| broken(clause, *bug)), "no planted bug breaks {}", clause.name());
    }
}

#[test]
fn a_run_of_all_clauses_panics_with_those_that_do_not_hold() {
    let panic = catch_unwind(|| conformance::run_all(&|| Box::new(Workshop::with(Bug::NeverFences)))).expect_err("a planted bug");
    let said = panic.downcast_ref::<String>().expect("a panic with words");
    assert!(said.contains("\na_group_below_the_claimed_epoch_is_fenced_before_anything_is_written: "), "{said}");
    assert!(said.starts_with("1 of "), "{said}");
}

/// A place for a replica in memory with a bug, which can rot.
struct Workshop {
    bug: Bug,
    memory: MemoryReplica,
    faults: FaultControl,
    /// What the buggy replica remembers over reopening, where a bug needs it.
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    closed: bool,
    last_group: Vec<OrderNumber>,
    overlay: BTreeMap<OrderNumber, Lookup>,
    meta_before: BTreeMap<String, Option<Bytes>>,
    asked: Vec<Day>,
}

impl Workshop {
    fn with(bug: Bug) -> Workshop {
        Workshop { bug, memory: MemoryReplica::new(), faults: FaultControl::new(), kept: Arc::default() }
    }
}

impl Place for Workshop {
    fn open(&self) -> Result<Arc<dyn Replica>, ReplicaError> {
        let mut kept = self.kept.lock().unwrap();
        if self.bug == Bug::SyncsAtCloseOnly && !kept.closed {
            kept.last_group.iter().for_each(|number| self.faults.forget(*number));
        }
        kept.closed = false;
        let life = Mutex::new(Life { epoch: 0, banished: false, meta_written: false, cache: BTreeMap::new() });
        let inner = Faulty::new(Arc::new(self.memory.clone()), self.faults.clone());
        Ok(Arc::new(Buggy { bug: self.bug, inner, kept: Arc::clone(&self.kept), life }))
    }

    fn rot(&self, number: OrderNumber) -> bool {
        self.faults.damage_reads_of(number);
        true
    }
}

struct Buggy {
    bug: Bug,
    inner: Arc<dyn Replica>,
    kept: Arc<Mutex<Kept>>,
    life: Mutex<Life>,
}

/// What the buggy replica remembers until it is opened again.
struct Life {
    epoch: u32,
    banished: bool,
    meta_written: bool,
    cache: BTreeMap<OrderNumber, Lookup>,
}

impl Buggy {
    /// The group without some of its writes, or under another epoch.
    fn altered(&self, group: &Group, epoch: u32, keep: impl Fn(usize, OrderNumber) -> bool) -> Group {
        let mut altered = Group::new(epoch);
        for (place, write) in group.writes().iter().enumerate() {
            if keep(place, write.number()) {
                altered.push(write.clone()).unwrap();
            }
        }
        for (key, value) in group.meta() {
            altered.push_meta(key.clone(), value.clone()).unwrap();
        }
        altered.set_peer_marks(group.peer_marks().to_vec());
        altered
    }

    fn apply_with_bug(&self, group: &Group) -> Result<Applied, ReplicaError> {
        let (writes, epoch) = (group.writes(), group.epoch());
        let only = |keep: &dyn Fn(usize, OrderNumber) -> bool| self.inner.apply(&self.altered(group, epoch, keep));
        match self.bug {
            Bug::LosesTheFirst => only(&|place, _| place > 0 || writes.len() < 20),
            Bug::LosesEmptyPayloads => only(&|place, _| writes[place].bytes().len() > 24),
            Bug::LosesTheLastNumberOfADay => only(&|_, number| number.sequence() < OrderNumber::SEQUENCE_MAX),
            Bug::LosesStragglers => only(&|place, number| {
                let above = Some(number);
                let above = self.inner.scan(number.day(), above, ScanLimit { records: 1, bytes: 0 });
                !writes[place].is_fresh() || above.is_ok_and(|above| above.items.is_empty())
            }),
            Bug::IgnoresGenerations => only(&|place, _| writes[place].bytes()[2..4] == [0, 0]),
            Bug::AppliesHalfOfLargeGroups => {
                only(&|place, _| group.bytes() < Group::BYTES_MAX * 3 / 4 || place < writes.len() / 2)
            }
            Bug::StopsAtTheFirstOfTwo => only(&|place, number| writes[..place].iter().all(|earlier| earlier.number() != number)),
            Bug::MarksForgetThePeers => {
                let mut altered = self.altered(group, epoch, |_, _| true);
                altered.set_peer_marks(Vec::new());
                self.inner.apply(&altered)
            }
            Bug::NeverFences => self.inner.apply(&self.altered(group, epoch.max(self.inner.epoch()), |_, _| true)),
            Bug::FencesAfterWriting if epoch < self.inner.epoch() => {
                self.inner.apply(&self.altered(group, self.inner.epoch(), |_, _| true))?;
                self.inner.apply(group)
            }
            Bug::TakesAnyNumber | Bug::ShowsWhatFailed => match self.inner.apply(group) {
                Err(ReplicaError::WrongSet { .. }) if self.bug == Bug::TakesAnyNumber => Ok(Applied::default()),
                Err(ReplicaError::WrongSet { number, set }) => {
                    self.inner.apply(&self.altered(group, epoch, |_, other| other != number))?;
                    Err(ReplicaError::WrongSet { number, set })
                }
                other => other,
            },
            Bug::GarbledBytesAreAbsent => match self.inner.apply(group) {
                Err(ReplicaError::Damaged { .. }) => Ok(Applied::default()),
                other => other,
            },
            _ => self.inner.apply(group),
        }
    }
}

impl Replica for Buggy {
    fn apply(&self, group: &Group) -> Result<Applied, ReplicaError> {
        let held: Vec<Result<Lookup, ReplicaError>> = group.writes().iter().map(|write| self.inner.get(write.number())).collect();
        let meta_before: Vec<_> = group.meta().iter().map(|(key, _)| (key.clone(), self.inner.meta(key))).collect();
        let mut applied = self.apply_with_bug(group)?;

        let mut kept = self.kept.lock().unwrap();
        kept.last_group = group.writes().iter().map(|write| write.number()).collect();
        kept.meta_before.extend(meta_before.into_iter().filter_map(|(key, value)| Some((key, value.ok()?))));
        self.life.lock().unwrap().meta_written |= !group.meta().is_empty();
        match self.bug {
            Bug::NamesNobodyRefused => applied.refused.clear(),
            Bug::NamesPlacesFromOne => applied.refused.iter_mut().for_each(|(place, _)| *place += 1),
            Bug::RefusesWhatIsHeld => {
                for (place, held) in held.into_iter().enumerate() {
                    if let Ok(Lookup::Found(record)) = held
                        && record.version == group.writes()[place].version()
                    {
                        applied.refused.push((place, record.version));
                    }
                }
            }
            Bug::LastWriterWins => {
                for (place, _) in &applied.refused {
                    let write = &group.writes()[*place];
                    let record = ordermint::Record::decode(write.number(), write.bytes()).unwrap();
                    kept.overlay.insert(write.number(), Lookup::Found(record));
                }
            }
            _ => {}
        }
        Ok(applied)
    }

    fn get(&self, number: OrderNumber) -> Result<Lookup, ReplicaError> {
        let answer = self.inner.get(number)?;
        let mut kept = self.kept.lock().unwrap();
        kept.asked.push(number.day());
        Ok(match (self.bug, answer) {
            (Bug::FindsTheNextBelow, Lookup::Absent) => {
                let below = number.sequence().checked_sub(1).map(|below| OrderNumber::new(number.day(), below, number.set_id()));
                below.map_or(Ok(Lookup::Absent), |below| self.inner.get(below.unwrap()))?
            }
            (Bug::DropsOrigins, Lookup::Found(record)) => Lookup::Found(ordermint::Record { origin: None, ..record }),
            (Bug::VoidsAreAbsent, Lookup::Found(record)) if record.kind == Kind::Void => Lookup::Absent,
            (Bug::LastWriterWins, answer) => kept.overlay.get(&number).cloned().unwrap_or(answer),
            (Bug::DamageIsAbsence, Lookup::Damaged(_)) => Lookup::Absent,
            (Bug::DamagePanics, Lookup::Damaged(damage)) => panic!("{damage}"),
            (Bug::ReadsFromAStaleCache, answer @ Lookup::Found(_)) => {
                self.life.lock().unwrap().cache.entry(number).or_insert(answer).clone()
            }
            (_, answer) => answer,
        })
    }

    fn scan(&self, day: Day, after: Option<OrderNumber>, limit: ScanLimit) -> Result<Chunk, ReplicaError> {
        let limit = if self.bug == Bug::IgnoresTheLimits { ScanLimit { records: 9, bytes: usize::MAX } } else { limit };
        let mut chunk = self.inner.scan(day, after, limit)?;
        match self.bug {
            Bug::SkipsAtTheEndOfAPage => {
                let next = |upto: OrderNumber| OrderNumber::new(day, upto.sequence() + 1, upto.set_id()).ok();
                chunk.upto = chunk.upto.and_then(next);
            }
            Bug::IncludesTheNumberItBeginsAbove => {
                if let Some(after) = after
                    && let Ok(Lookup::Found(record)) = self.inner.get(after)
                    && after.day() == day
                {
                    chunk.items.insert(0, Scanned::Found(after, record));
                }
            }
            Bug::EndsAtTheFirstPage => chunk.upto = None,
            Bug::ScansBackwards => chunk.items.reverse(),
            Bug::DamageIsAbsence => chunk.items.retain(|item| matches!(item, Scanned::Found(..))),
            _ => {}
        }
        Ok(chunk)
    }

    fn digest(&self, day: Day, range: u32, below_epoch: u32) -> Result<RangeDigest, ReplicaError> {
        let below_epoch = if self.bug == Bug::DigestsIgnoreTheEpoch { u32::MAX } else { below_epoch };
        let mut digest = self.inner.digest(day, range, below_epoch)?;
        match self.bug {
            Bug::DigestsCountOnly => digest.sum = 0,
            Bug::DigestsIgnoreTheRange if range == 1 => digest = self.inner.digest(day, 0, below_epoch)?,
            Bug::DigestsIgnoreDamage => digest.damaged = 0,
            _ => {}
        }
        Ok(digest)
    }

    fn keyed(&self, key: &[u8], since: Day) -> Result<Vec<OrderNumber>, ReplicaError> {
        let since = if self.bug == Bug::LooksKeysUpOnAllDays { Day::MIN } else { since };
        let mut numbers = self.inner.keyed(key, since)?;
        match self.bug {
            Bug::TakesKeysForTheirBeginnings => {
                for more in [0, b'b'] {
                    numbers.extend(self.inner.keyed(&[key, &[more]].concat(), since)?);
                }
            }
            Bug::KnowsNoKeyOfWhatIsRefused => numbers
                .retain(|number| matches!(self.inner.get(*number), Ok(Lookup::Found(record)) if record.kind == Kind::Order)),
            _ => {}
        }
        Ok(numbers)
    }

    fn keys(&self, since: Day, after: Option<&KeyUse>, limit: usize) -> Result<Vec<KeyUse>, ReplicaError> {
        let since = if self.bug == Bug::TellsKeysOfAllDays { Day::MIN } else { since };
        let mut uses = self.inner.keys(since, after, limit)?;
        match self.bug {
            Bug::TellsKeysInTheOrderOfTheirBytes => {
                uses.sort_by(|one, other| (&one.key, one.number).cmp(&(&other.key, other.number)));
            }
            Bug::TellsEachKeyOnce => uses.dedup_by(|one, other| one.key == other.key),
            _ => {}
        }
        Ok(uses)
    }

    fn noted(&self, after: Option<OrderNumber>, limit: usize) -> Result<Vec<Noted>, ReplicaError> {
        let mut noted = self.inner.noted(after, limit)?;
        match self.bug {
            Bug::TellsNoNotesOfKeyedOrders => noted.retain(|noted| noted.request_key.is_none()),
            Bug::TellsNotesOfTheFirstDayOnly => {
                let first = noted.first().map(|noted| noted.number.day());
                noted.retain(|noted| Some(noted.number.day()) == first);
            }
            _ => {}
        }
        Ok(noted)
    }

    fn days(&self) -> Result<Vec<Day>, ReplicaError> {
        let mut days = self.inner.days()?;
        match self.bug {
            Bug::MakesADayByAsking => {
                days.extend(&self.kept.lock().unwrap().asked);
                days.sort_unstable();
                days.dedup();
            }
            Bug::CountsDaysToTen => days.truncate(10),
            _ => {}
        }
        Ok(days)
    }

    fn meta(&self, key: &str) -> Result<Option<Bytes>, ReplicaError> {
        let value = self.inner.meta(key)?;
        let before = self.kept.lock().unwrap().meta_before.get(key).cloned().flatten();
        Ok(match self.bug {
            Bug::MetaIsLateByOne if before.is_some() => before,
            Bug::MetaIsNotDurable if !self.life.lock().unwrap().meta_written => before,
            _ => value,
        })
    }

    fn meta_with_prefix(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, ReplicaError> {
        let shorter = &prefix[..prefix.len() - prefix.chars().last().map_or(0, char::len_utf8)];
        self.inner.meta_with_prefix(if self.bug == Bug::PrefixesAreTooShort { shorter } else { prefix })
    }

    fn standing(&self) -> Standing {
        match (self.bug, self.inner.standing()) {
            (Bug::ForgetsTheBanishment, Standing::Limbo { identity: Some(identity), .. })
                if !self.life.lock().unwrap().banished =>
            {
                Standing::Voting(identity)
            }
            (Bug::AlwaysFormed, Standing::Voting(identity)) => Standing::Voting(Identity { formed: true, ..identity }),
            (Bug::NeverFresh, Standing::Fresh) => Standing::Limbo { identity: None, reason: "not formed".to_owned() },
            (_, standing) => standing,
        }
    }

    fn marks(&self) -> Marks {
        let mut marks = self.inner.marks();
        if self.bug == Bug::MarksAreLowByOne && self.life.lock().unwrap().epoch == 0 {
            marks.own = marks.own.saturating_sub(marks.own % 2);
        }
        marks
    }

    fn claim(&self, epoch: u32) -> Result<(), ReplicaError> {
        self.inner.claim(epoch)?;
        self.life.lock().unwrap().epoch = epoch;
        Ok(())
    }

    fn epoch(&self) -> u32 {
        if self.bug == Bug::ForgetsTheEpoch { self.life.lock().unwrap().epoch } else { self.inner.epoch() }
    }

    fn banish(&self, reason: &str) -> Result<(), ReplicaError> {
        self.life.lock().unwrap().banished = true;
        self.inner.banish(reason)
    }

    fn readmit(&self, group: u64) -> Result<(), ReplicaError> {
        match self.bug {
            Bug::IgnoresTheReadmission => Ok(()),
            Bug::ReadmitsBelowWhatWasSeen => self.inner.readmit(0),
            Bug::ReadmitsAnybody => self.inner.readmit(group).or(Ok(())),
            _ => self.inner.readmit(group),
        }
    }

    fn form(&self, identity: &Identity) -> Result<(), ReplicaError> {
        self.inner.form(identity)
    }

    fn close(&self) -> Result<(), ReplicaError> {
        self.kept.lock().unwrap().closed = true;
        if self.bug == Bug::StaysOpen { Ok(()) } else { self.inner.close() }
    }
}

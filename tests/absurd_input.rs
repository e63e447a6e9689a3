//! Absurd input to every public entry gives the typed error that its docs name: no panic, nothing lost, nothing huge allocated.

mod common;

use bytes::Bytes;
use common::say;
use common::tmpfs::Tmpfs;
use ordermint::{
    ConfigError, Day, Error, Group, Kind, NotAttempted, OrderNumber, OrderStore, ParseOrderNumberError, Quorum, Record,
    RecordError, ReplicaState, SetConfig, SetId, Version, Write, WriteToken,
};
use std::time::Duration;

fn set(id: u16) -> SetId {
    SetId::new(id).expect("below 1,000")
}

fn three(id: u16) -> SetConfig {
    SetConfig::new(set(id)).replicas((0..3).map(|index| format!("{id:03}/{index}")))
}

fn memory_store() -> OrderStore {
    OrderStore::builder().add_set(SetConfig::new(set(7)).in_memory(3)).open().expect("a store in memory opens")
}

#[test]
fn texts_that_are_no_number_say_what_and_where() {
    use ParseOrderNumberError as E;
    let good = "2026112200000000420076";
    assert!(OrderNumber::parse(good.as_bytes()).is_ok());
    let huge = vec![b'7'; 50 << 20];
    for (text, error) in [
        (&b""[..], E::Length { found: 0 }),
        (&huge[..], E::Length { found: 50 << 20 }),
        (&good.as_bytes()[..21], E::Length { found: 21 }),
        (b"20261122000000004200\xc3\xa9", E::Digit { position: 20, found: 0xc3 }),
        (
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            E::Digit { position: 0, found: 0xff },
        ),
        (b"+026112200000000420076", E::Digit { position: 0, found: b'+' }),
        (b"20261122000000004200 6", E::Digit { position: 20, found: b' ' }),
        (b"1999112200000000420076", E::Day { year: 1999, month: 11, day: 22 }),
        (b"2026023000000000420076", E::Day { year: 2026, month: 2, day: 30 }),
        (b"0000000000000000000000", E::Day { year: 0, month: 0, day: 0 }),
        (b"2026112200000000420077", E::CheckDigit { expected: 6, found: 7 }),
    ] {
        assert_eq!(OrderNumber::parse(text), Err(error));
    }
    // Digits of other scripts are none of ours: 22 characters, not 22 bytes.
    assert_eq!("٢٠٢٦١١٢٢٠٠٠٠٠٠٠٠٤٢٠٠٧٦".parse::<OrderNumber>(), Err(E::Length { found: 44 }));
    for given in [0, u64::MAX, 1, 1 << 63, u64::from(u32::MAX)] {
        assert_eq!(OrderNumber::try_from(given), Err(E::Integer { given }));
    }
    assert_eq!(OrderNumber::new(Day::MIN, u64::MAX, set(0)), Err(E::Sequence { given: u64::MAX }));
    let given = OrderNumber::SEQUENCE_MAX + 1;
    assert_eq!(OrderNumber::new(Day::MAX, given, set(999)), Err(E::Sequence { given }));
    assert!(matches!(Error::from(E::Length { found: 0 }), Error::ParseOrderNumber(_)));
}

#[test]
fn days_sets_quorums_and_tokens_refuse_what_they_are_not() {
    for text in
        ["", "2026-13-01", "2026-02-29", "1999-12-31", "3024-01-01", "2026-1-1", "2026-11-22 ", "2026‐11‐22", "२०२६-११-२२"]
    {
        assert!(text.parse::<Day>().is_err(), "{text:?}");
    }
    assert!("9".repeat(1 << 20).parse::<Day>().is_err_and(|error| error.given.len() <= 32), "the error keeps little of it");
    assert!(Day::new(0, 0, 0).is_err() && Day::new(u16::MAX, u8::MAX, u8::MAX).is_err());
    assert_eq!((Day::from_unix_days(i64::MIN), Day::from_unix_days(i64::MAX)), (None, None));
    assert_eq!((Day::MAX.next(), Day::MIN.previous()), (None, None));

    for text in ["", "1000", "-1", "+1", " 1", "0001", "७", "18446744073709551616"] {
        assert!(text.parse::<SetId>().is_err(), "{text:?}");
    }
    assert!(SetId::new(1_000).is_err() && SetId::new(u16::MAX).is_err());

    for (n, r, w) in [(0, 0, 0), (3, 0, 2), (3, 2, 0), (3, 4, 2), (3, 2, 4), (10, 5, 5), (u8::MAX, 1, 1)] {
        let given = ConfigError::Quorum { n: n.into(), r: r.into(), w: w.into() };
        assert_eq!(Quorum::new(n, r, w), Err(given.clone()));
        assert_eq!(format!("{n},{r},{w}").parse::<Quorum>(), Err(given));
    }
    assert!(Quorum::majority(0).is_err() && Quorum::majority(10).is_err());
    for text in ["", "3", "3,2", "3,2,2,", "3,2,2,2", "a,b,c", "3, 2, 2", "-3,2,2", "+3,2,2", "３,2,2", ",,"] {
        assert!(matches!(text.parse::<Quorum>(), Err(ConfigError::QuorumText { .. })), "{text:?}");
    }
    assert!(matches!("99999999999999999999,1,1".parse::<Quorum>(), Err(ConfigError::QuorumText { .. })));
    assert!(matches!("300,1,1".parse::<Quorum>(), Err(ConfigError::Quorum { n: 300, .. })));

    for text in [
        "",
        "@",
        "2026112200000000420076",
        "2026112200000000420076@1",
        "2026112200000000420076@1.",
        "2026112200000000420076@+1.1",
        "2026112200000000420076@01.1",
        "2026112200000000420077@1.1",
        "2026112200000000420076@4294967296.1",
        "é@1.1",
    ] {
        assert!(text.parse::<WriteToken>().is_err(), "{text:?}");
    }
    let token = "2026112200000000420076@4294967295.18446744073709551615";
    assert_eq!(token.parse::<WriteToken>().map(|token| token.to_string()).as_deref(), Ok(token));
}

#[test]
fn serde_takes_nothing_that_parsing_would_refuse() {
    for json in ["2026112200000000420076", "\"\"", "\"2026112200000000420077\"", "null", "[]", "\"é\"", "-1", "1e400"] {
        assert!(serde_json::from_str::<OrderNumber>(json).is_err(), "{json}");
    }
    assert!(serde_json::from_str::<OrderNumber>("\"2026112200000000420076\"").is_ok());
    for json in ["\"2026-02-30\"", "\"\"", "20261122", "null"] {
        assert!(serde_json::from_str::<Day>(json).is_err(), "{json}");
    }
}

#[test]
fn a_builder_that_makes_no_sense_is_refused_before_anything_is_made() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let home = scratch.path().join("store");
    let builder = || OrderStore::builder().home(&home);
    let refused = |builder: ordermint::Builder| match builder.open() {
        Err(Error::Config(error)) => error,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it opened"),
    };
    assert_eq!(refused(OrderStore::builder()), ConfigError::NoSets);
    assert_eq!(refused(builder().add_set(three(7)).add_set(three(7))), ConfigError::DuplicateSet { set: set(7) });
    let quorum = Quorum::new(3, 2, 2).expect("a quorum");
    assert_eq!(
        refused(builder().quorum(quorum).add_set(SetConfig::new(set(7)).replicas(["a", "b"]))),
        ConfigError::ReplicaCount { set: set(7), given: 2, n: 3 }
    );
    assert!(matches!(refused(builder().add_set(SetConfig::new(set(7)))), ConfigError::OutOfRange { given: 0, .. }));
    for twice in [["a", "b", "a"], ["a", "b", "./b"], ["a", "b", "b/"], ["a", "b", "c/../b"], ["a", "b", "b/inside"]] {
        let one = builder().quorum(quorum).add_set(SetConfig::new(set(7)).replicas(twice));
        assert!(matches!(refused(one), ConfigError::DuplicateDirectory { .. }), "{twice:?}");
    }
    let shared = builder().add_set(three(7)).add_set(SetConfig::new(set(8)).replicas(["008/0", "007/1", "008/2"]));
    assert!(matches!(refused(shared), ConfigError::DuplicateDirectory { .. }));
    for weight in [0, 1_001, u32::MAX] {
        assert!(matches!(refused(builder().add_set(three(7).weight(weight))), ConfigError::OutOfRange { .. }), "{weight}");
    }
    for (what, absurd) in [
        ("no payload at all", builder().value_bytes_max(0)),
        ("payloads above what sled takes", builder().value_bytes_max(7 * 1024 + 1)),
        ("any payload", builder().value_bytes_max(usize::MAX)),
        ("nothing in flight", builder().max_in_flight(0, 1 << 20)),
        ("no byte in flight", builder().max_in_flight(1, 0)),
        ("a deadline that has passed", builder().deadline(Duration::ZERO)),
        ("no deadline", builder().deadline(Duration::MAX)),
        ("midnight a day away", builder().utc_offset_minutes(1_440)),
        ("midnight nowhere", builder().utc_offset_minutes(i32::MIN)),
    ] {
        let error = refused(absurd.add_set(three(7)));
        assert!(matches!(error, ConfigError::OutOfRange { .. }), "{what}: {error}");
    }
    assert!(!home.exists(), "something was made");
}

#[test]
fn homes_that_are_no_store_are_refused() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let absent = scratch.path().join("absent");
    assert_eq!(OrderStore::builder().home(&absent).open().err(), Some(Error::NoStore { home: absent.clone() }));
    assert!(matches!(OrderStore::builder().home(&absent).verify(|_| {}), Err(Error::NoStore { .. })));
    assert!(!absent.exists(), "looking for a store makes none");
    assert!(matches!(OrderStore::builder().home(scratch.path()).open(), Err(Error::NoStore { .. })));
    let file = scratch.path().join("file");
    std::fs::write(&file, b"no directory").expect("a file can be written");
    assert!(matches!(OrderStore::builder().home(&file).open(), Err(Error::NoStore { .. } | Error::System { .. })));
    assert!(OrderStore::builder().home(&file).add_set(three(7)).open().is_err());
    for name in ["\0", &"x".repeat(5_000)] {
        let error =
            OrderStore::builder().home(scratch.path().join("h")).add_set(SetConfig::new(set(7)).replicas([name])).open().err();
        assert!(error.is_some(), "{name:?} is no directory for a replica");
    }
}

#[test]
fn a_store_opened_otherwise_than_it_remembers_is_refused_and_unharmed() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let builder = || OrderStore::builder().home(scratch.path());
    let store = builder().quorum(Quorum::new(3, 2, 2).expect("a quorum")).add_set(three(7)).open().expect("it is made");
    let placed = store.create("kept").wait().expect("placed");
    assert!(matches!(builder().open(), Err(Error::InUse { .. })), "open twice");
    store.close().wait().expect("closed");
    assert_eq!(store.get(placed.number).wait(), Err(Error::Closed));
    assert_eq!(store.create("late").wait().err(), Some(Error::Closed));
    drop(store);

    let other_quorum = builder().quorum(Quorum::new(3, 1, 3).expect("a quorum")).add_set(three(7));
    assert!(matches!(other_quorum.open(), Err(Error::MapMismatch { .. })));
    assert!(matches!(builder().add_set(three(7)).add_set(three(8)).open(), Err(Error::MapMismatch { .. })));
    let turned = builder().add_set(SetConfig::new(set(7)).replicas(["007/1", "007/0", "007/2"])).open();
    assert!(matches!(turned, Err(Error::ForeignReplica { .. } | Error::MapMismatch { .. })), "{turned:?}");

    let store = builder().open().expect("it opens as it is");
    assert_eq!(store.get(placed.number).wait().map(|order| order.map(|order| order.value)), Ok(Some(Bytes::from("kept"))));
    store.close().wait().expect("closed");
}

#[test]
fn payloads_from_nothing_to_far_too_much() {
    let store = memory_store();
    for bytes in [0, 1, 7 * 1024] {
        let payload = vec![0xff; bytes];
        let placed = store.create(&payload).wait().expect("within the cap");
        assert_eq!(store.get(placed.number).wait().map(|order| order.map(|order| order.value)), Ok(Some(Bytes::from(payload))));
    }
    for bytes in [7 * 1024 + 1, 100 << 20] {
        assert_eq!(store.create(vec![0; bytes]).wait().err(), Some(Error::ValueTooLarge { bytes, max: 7 * 1024 }));
    }
    let answers: Vec<_> = store.create_all([vec![], vec![0; 8_000], vec![1]]).collect();
    assert!(matches!(&answers[..], [Ok(_), Err(Error::ValueTooLarge { bytes: 8_000, max: 7_168 }), Ok(_)]), "{answers:?}");
    assert_eq!(store.create_all(Vec::<Vec<u8>>::new()).count(), 0);
}

#[test]
fn sets_days_and_numbers_that_the_store_does_not_have() {
    let store = memory_store();
    let placed = store.create("one").wait().expect("placed");
    let (day, unknown) = (placed.number.day(), Error::UnknownSet { set: set(8) });
    let elsewhere = OrderNumber::new(day, 0, set(8)).expect("a number");
    assert_eq!(store.get(elsewhere).wait().err(), Some(unknown.clone()));
    assert_eq!(store.days(set(8)).wait().err(), Some(unknown.clone()));
    assert_eq!(store.scan_page(set(8), day, None, 1).wait().err(), Some(unknown.clone()));
    assert_eq!(store.scan(set(8), day).collect::<Vec<_>>(), [Err(unknown)]);

    for (day, sequence) in [(Day::MIN, 0), (Day::MAX, OrderNumber::SEQUENCE_MAX), (day, OrderNumber::SEQUENCE_MAX)] {
        let number = OrderNumber::new(day, sequence, set(7)).expect("a number");
        assert_eq!(store.get(number).wait(), Ok(None), "{number}");
    }
    assert_eq!(store.scan(set(7), Day::MIN).count(), 0);
    assert_eq!(store.scan(set(7), Day::MAX).count(), 0);
    assert_eq!(store.days(set(7)).wait(), Ok(vec![day]), "asking for a day does not make it");

    for limit in [0, 1, usize::MAX] {
        let page = store.scan_page(set(7), day, None, limit).wait().expect("a page");
        assert!(page.orders.len() <= limit.max(1), "limit {limit}");
    }
    let end = OrderNumber::new(day, OrderNumber::SEQUENCE_MAX, set(7)).expect("a number");
    let page = store.scan_page(set(7), day, Some(end), 10).wait().expect("a page");
    assert_eq!((page.orders.len(), page.next), (0, None));
}

#[test]
fn deadlines_of_nothing_and_of_for_ever() {
    use ordermint::{CreateOptions, ReadOptions};
    let store = memory_store();
    let placed = store.create_with("x", CreateOptions::new().deadline(Duration::MAX)).wait().expect("placed");
    assert!(
        store.get_with(placed.number, ReadOptions::strong().deadline(Duration::MAX)).wait().is_ok_and(|found| found.is_some())
    );
    match store.create_with("y", CreateOptions::new().deadline(Duration::ZERO)).wait() {
        Ok(_) | Err(Error::Ambiguous { .. } | Error::NotAttempted { .. }) => {}
        other => panic!("{other:?}"),
    }
    match store.get_with(placed.number, ReadOptions::strong().deadline(Duration::ZERO)).wait() {
        Ok(Some(_)) | Err(Error::DeadlineExceeded { .. } | Error::QuorumLost { .. }) => {}
        other => panic!("{other:?}"),
    }
    let pending = store.create("z").wait_timeout(Duration::MAX);
    assert!(matches!(pending, Ok(Ok(_))));
}

#[test]
fn groups_and_records_have_bounds() {
    let number = OrderNumber::new(Day::MIN, 1, set(7)).expect("a number");
    let version = Version { epoch: 1, counter: 1 };
    let record =
        |bytes: usize| Record { kind: Kind::Order, version, generation: 0, value: Bytes::from(vec![0; bytes]), origin: None };
    let mut group = Group::new(1);
    assert!(group.push(Write::new(number, &record(Group::BYTES_MAX), false)).is_err());
    assert!(group.is_empty(), "what does not fit leaves no trace");
    assert!(group.push_meta("k".repeat(Group::BYTES_MAX), Bytes::new()).is_err());

    assert!(matches!(Record::decode(number, b""), Err(RecordError::Length { found: 0, .. })));
    assert!(Record::decode(number, &[0; 24]).is_err());
    // A length that is a lie allocates nothing.
    let mut bytes = record(10).encode(number);
    bytes[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(Record::decode(number, &bytes), Err(RecordError::Length { found: 34, .. })));
    let good = record(10).encode(number);
    let other = OrderNumber::new(Day::MIN, 2, set(7)).expect("a number");
    assert!(matches!(Record::decode(other, &good), Err(RecordError::Checksum { .. })), "bytes of another number");
}

#[test]
fn a_read_only_directory_is_a_clean_error_for_a_new_store_and_a_replica_out_for_an_old_one() {
    let Some(disk) = Tmpfs::mount("64m") else { return };
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let new = disk.dir.join("new");
    disk.remount("ro");
    let error = OrderStore::builder().home(&new).add_set(three(7)).open().err();
    assert!(matches!(error, Some(Error::CannotForm { .. } | Error::System { .. })), "{error:?}");

    // One replica of three on that disk: written, then found read-only.
    disk.remount("rw");
    let dirs = [scratch.path().join("0"), scratch.path().join("1"), disk.dir.join("2")];
    let builder = || OrderStore::builder().add_set(SetConfig::new(set(7)).replicas(dirs.clone()));
    let store = builder().open().expect("it is made");
    let before = store.create("before").wait().expect("placed");
    store.close().wait().expect("closed");
    drop(store);
    disk.remount("ro");
    let store = builder().open().expect("two of three will do");
    let replica = store.status().sets[0].replicas[2].clone();
    assert_ne!(replica.state, ReplicaState::Voting, "{replica:?}");
    assert!(replica.reason.is_some(), "{replica:?}");
    let after = store.create("after").wait().expect("two of three will do");
    for (placed, value) in [(before, "before"), (after, "after")] {
        assert_eq!(store.get(placed.number).wait().map(|found| found.map(|order| order.value)), Ok(Some(Bytes::from(value))));
    }
    store.close().wait().expect("closed");
}

#[test]
fn a_full_disk_fails_with_a_typed_error_and_loses_nothing() {
    let Some(disk) = Tmpfs::mount("48m") else { return };
    let builder = || OrderStore::builder().home(disk.dir.join("store")).add_set(three(7));
    let store = builder().open().expect("there is room for an empty store");
    let mut kept = Vec::new();
    let error = loop {
        assert!(kept.len() < 50_000, "48 MiB never filled up");
        let value = vec![kept.len() as u8; 7_000];
        match store.create(&value).wait() {
            Ok(placed) => kept.push((placed.number, value)),
            Err(error) => break error,
        }
    };
    let typed = matches!(&error, Error::Ambiguous { .. } | Error::NotAttempted { reason: NotAttempted::NoQuorum { .. } });
    assert!(typed, "{error:?}");
    let status = store.status();
    let out: Vec<_> = status.sets[0].replicas.iter().filter(|replica| replica.state == ReplicaState::Out).collect();
    assert!(!out.is_empty() && out.iter().all(|replica| replica.reason.is_some()), "{status:?}");
    let again = store.create("more").wait();
    assert!(matches!(again, Err(Error::Ambiguous { .. } | Error::NotAttempted { .. })), "{again:?}");
    // The clean end cannot be recorded on a full disk; that may be told.
    let _ = store.close().wait();
    drop(store);

    disk.remount("size=256m");
    let store = builder().open().expect("with room again it opens");
    for (number, value) in &kept {
        let found = store.get(*number).wait().expect("readable");
        assert!(found.is_some_and(|order| order.value == value[..]), "{number} was acknowledged");
    }
    store.create("after").wait().expect("with room again it takes orders");
    store.close().wait().expect("closed");
    say(&format!("full disk: {error}; {} orders acknowledged before, all there", kept.len()));
}

/// Every replica keeps the map of all SETs, and one that is given what it cannot keep is out: so it is never given that.
#[test]
fn more_sets_with_long_names_of_zones_than_replicas_can_keep_are_refused() {
    let named = |sets: u16| {
        let set = |id: u16| SetConfig::new(SetId::new(id).expect("an id")).zone("shenzhen-north-west/campus-0002").in_memory(1);
        (0..sets).fold(OrderStore::builder(), |builder, id| builder.add_set(set(id)))
    };
    let refused = named(300).open().map(drop);
    assert!(matches!(refused, Err(Error::Config(ConfigError::MapTooLong { max: 8_128, .. }))), "{refused:?}");
    assert!(named(5).open().is_ok());
}

//! Days and SETs, alone and in order numbers: every day of the calendar, and every date that is none.

use jiff::civil::{Date, date};
use ordermint::{Day, InvalidDay, InvalidSetId, OrderNumber, ParseOrderNumberError, SetId};

/// 2000-01-01 to 3023-12-31, by a calendar that is not ours.
fn calendar() -> impl Iterator<Item = Date> {
    date(2000, 1, 1).series(jiff::Span::new().days(1)).take_while(|day| day.year() <= 3023)
}

fn ours(day: Date) -> Day {
    Day::new(day.year() as u16, day.month() as u8, day.day() as u8).expect("a day of the calendar")
}

#[test]
fn every_day_from_2000_to_3023_is_a_day_and_follows_the_one_before() {
    let epoch = date(1970, 1, 1);
    let mut before: Option<Day> = None;
    let mut seen = 0;
    for theirs in calendar() {
        let day = ours(theirs);
        assert_eq!((day.year(), day.month(), day.day()), (theirs.year() as u16, theirs.month() as u8, theirs.day() as u8));
        assert_eq!((day.to_string(), day.to_string().parse()), (theirs.to_string(), Ok(day)));
        let unix_days = i64::from(theirs.since(epoch).expect("no overflow").get_days());
        assert_eq!((day.to_unix_days(), Day::from_unix_days(unix_days)), (unix_days, Some(day)));
        assert_eq!(day.previous(), before);
        if let Some(before) = before {
            assert!(before < day);
            assert_eq!(before.next(), Some(day));
        }
        before = Some(day);
        seen += 1;
    }
    assert_eq!((seen, before), (374_008, Some(Day::MAX)));
    assert_eq!((Day::MAX.next(), Day::MIN.previous()), (None, None));
}

#[test]
fn every_day_is_in_a_number_that_prints_and_parses() {
    let set = SetId::new(7).expect("a SET");
    for (sequence, theirs) in calendar().enumerate() {
        let number = OrderNumber::new(ours(theirs), sequence as u64, set).expect("a sequence");
        let text = number.encode();
        assert_eq!(text[..8], *theirs.strftime("%Y%m%d").to_string().as_bytes());
        assert_eq!(OrderNumber::parse(&text), Ok(number));
        assert_eq!(number.day(), ours(theirs));
    }
}

/// All of 0000 to 9999 for month and day in the years that we have, and all months and days in the years that we have not.
#[test]
fn every_date_that_is_no_day_is_refused() {
    let mut days = 0;
    let mut refused = 0;
    let mut text = *b"0000000000000000000000";
    for year in 0..=9_999u16 {
        let ours = (2000..=3023).contains(&year);
        write_four(&mut text[..4], year);
        let leap = date(year as i16, 1, 1).in_leap_year();
        for month_and_day in if ours { 0..=9_999 } else { 101..=1_231 } {
            let (month, day) = ((month_and_day / 100) as u8, (month_and_day % 100) as u8);
            write_four(&mut text[4..8], month_and_day);
            // The day is judged before the check digit, so that a wrong check digit tells a right day.
            match OrderNumber::parse(&text) {
                Err(ParseOrderNumberError::Day { year: y, month: m, day: d }) => {
                    assert_eq!((y, m, d), (year, month, day));
                    assert!(!ours || !exists(leap, month, day), "{year}-{month}-{day}");
                    refused += 1;
                }
                Ok(_) | Err(ParseOrderNumberError::CheckDigit { .. }) => {
                    assert!(ours && exists(leap, month, day), "{year}-{month}-{day}");
                    days += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert_eq!((days, refused), (374_008, 1_024 * 10_000 - 374_008 + (10_000 - 1_024) * 1_131));
}

fn write_four(text: &mut [u8], value: u16) {
    for (at, power) in [1_000, 100, 10, 1].into_iter().enumerate() {
        text[at] = b'0' + (value / power % 10) as u8;
    }
}

/// "Thirty days hath September": the rhyme, in place of our table. Held against the calendar of `jiff` by the tests above.
fn exists(leap_year: bool, month: u8, day: u8) -> bool {
    let last = [0, 31, 28 + u8::from(leap_year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    day >= 1 && last.get(usize::from(month)).is_some_and(|last| day <= *last)
}

#[test]
fn a_day_is_new_exactly_if_the_calendar_has_it() {
    for year in (1990..=3033).chain([0, 1, 1999, 9_999, u16::MAX]) {
        for month in (0..=13).chain([99, u8::MAX]) {
            for day in (0..=32).chain([99, u8::MAX]) {
                let known = (2000..=3023).contains(&year) && Date::new(year as i16, month as i8, day as i8).is_ok();
                let made = Day::new(year, month, day);
                assert_eq!(made.is_ok(), known, "{year}-{month}-{day}");
                if let Err(InvalidDay { given }) = made {
                    assert_eq!(given, format!("{year:04}-{month:02}-{day:02}"));
                }
            }
        }
    }
}

#[test]
fn days_beyond_the_range_are_no_days_however_far() {
    for days in [i64::MIN, -1, 0, 10_956, 384_965, i64::MAX] {
        assert_eq!(Day::from_unix_days(days), None);
    }
    assert_eq!(Day::from_unix_days(10_957), Some(Day::MIN));
    assert_eq!(Day::from_unix_days(384_964), Some(Day::MAX));
}

#[test]
fn a_day_has_one_spelling() {
    for text in
        ["", "2026-11-2", "2026-11-222", "2026/11/22", "20261122", "2026-1-022", " 2026-11-22", "+026-11-22", "2026-11-31"]
    {
        assert_eq!(text.parse::<Day>(), Err(InvalidDay { given: text.to_owned() }), "{text:?}");
    }
    for text in ["1999-12-31", "3024-01-01", "0000-00-00", "9999-99-99", "２０２６", "2026-11-2٢"] {
        assert!(text.parse::<Day>().is_err(), "{text:?}");
    }
    // What is kept of a huge text is not huge.
    let error = "9".repeat(50 << 20).parse::<Day>().expect_err("no day");
    assert_eq!(error.given.len(), 32);
    // Quoted, so that a text with line breaks stays one line of a log.
    assert_eq!("20\n26".parse::<Day>().expect_err("no day").to_string(), r#"no day between 2000-01-01 and 3023-12-31: "20\n26""#);
}

#[test]
fn a_set_id_is_0_to_999_as_an_integer_and_as_text() {
    for id in 0..=u16::MAX {
        match SetId::new(id) {
            Ok(set) => {
                assert!(id <= 999);
                assert_eq!((set.get(), set.to_string()), (id, format!("{id:03}")));
                assert_eq!((set.to_string().parse(), id.to_string().parse()), (Ok(set), Ok(set)));
            }
            Err(error) => assert_eq!((id > 999, error.given), (true, u64::from(id))),
        }
    }
    for (text, given) in [
        ("1000", 1_000),
        ("0007", u64::MAX),
        ("18446744073709551614", u64::MAX - 1),
        ("99999999999999999999999999", u64::MAX),
        ("", u64::MAX),
        ("-1", u64::MAX),
        ("+7", u64::MAX),
        (" 7", u64::MAX),
        ("7a", u64::MAX),
        ("７", u64::MAX),
        ("1e2", u64::MAX),
    ] {
        assert_eq!(text.parse::<SetId>(), Err(InvalidSetId { given }), "{text:?}");
    }
    assert_eq!("1000".parse::<SetId>().expect_err("no SET").to_string(), "a SET id is a number from 0 to 999, got 1000");
    assert_eq!("+7".parse::<SetId>().expect_err("no SET").to_string(), "a SET id has one to three digits, 000 to 999");
}

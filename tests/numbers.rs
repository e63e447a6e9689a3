//! Order numbers from outside: against the definition, a second implementation and a second calendar, and exhaustively where the
//! cases can be listed.

use ordermint::{Day, NumberWriter, OrderNumber, ParseOrderNumberError, SetId};
use verhoeff::Verhoeff;

type Parsed = Result<OrderNumber, ParseOrderNumberError>;

fn number(day: &str, sequence: u64, set: u16) -> OrderNumber {
    let (day, set) = (day.parse().expect("a day"), SetId::new(set).expect("a SET"));
    OrderNumber::new(day, sequence, set).expect("a sequence")
}

fn parse(text: &[u8]) -> Parsed {
    OrderNumber::parse(text)
}

fn text(number: OrderNumber) -> String {
    String::from_utf8(number.encode().to_vec()).expect("digits")
}

/// Numbers all over the range, among them those at its edges; the same in every run.
fn sample(count: usize) -> Vec<OrderNumber> {
    let mut random = fastrand::Rng::with_seed(20_261_122);
    let mut numbers = Vec::with_capacity(count);
    for day in ["2000-01-01", "2024-02-29", "2099-12-31", "3023-12-31"] {
        for sequence in [0, 9_999, 10_000, u64::from(u32::MAX), OrderNumber::SEQUENCE_MAX] {
            numbers.extend([0, 9, 512, 999].map(|set| number(day, sequence, set)));
        }
    }
    while numbers.len() < count {
        let day = Day::from_unix_days(random.i64(Day::MIN.to_unix_days()..=Day::MAX.to_unix_days())).expect("a day");
        // As many short sequences as long ones.
        let below = 10u64.pow(random.u32(1..=10));
        let set = SetId::new(random.u16(0..=999)).expect("a SET");
        numbers.push(OrderNumber::new(day, random.u64(0..below), set).expect("a sequence"));
    }
    numbers
}

/// The check digit digit by digit, as Verhoeff has it: the slow twin.
fn check_digit_by_definition(digits: &[u8]) -> u8 {
    // The dihedral group: 0 to 4 are turns of the pentagon, 5 to 9 turns of its mirror image.
    let multiply = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let permute = |digit: u8| [1, 5, 7, 6, 2, 8, 3, 0, 9, 4][digit as usize];
    let mut product = 0;
    for (at, digit) in digits.iter().rev().enumerate() {
        let permuted = (0..=at).fold(*digit, |digit, _| permute(digit));
        product = multiply(product, permuted);
    }
    (0..10).find(|check| multiply(*check, product) == 0).expect("every element has an inverse")
}

/// The whole of parse as one would first write it: the slow twin.
fn parse_by_definition(text: &[u8]) -> Result<(i16, u8, u8, u64, u16), ParseOrderNumberError> {
    if text.len() != 22 {
        return Err(ParseOrderNumberError::Length { found: text.len() });
    }
    if let Some(position) = text.iter().position(|byte| !byte.is_ascii_digit()) {
        return Err(ParseOrderNumberError::Digit { position, found: text[position] });
    }
    let value = |range: std::ops::Range<usize>| std::str::from_utf8(&text[range]).expect("digits").parse::<u64>().expect("short");
    let (year, month, day) = (value(0..4) as u16, value(4..6) as u8, value(6..8) as u8);
    let known = jiff::civil::Date::new(year as i16, month as i8, day as i8).is_ok();
    if !known || !(2000..=3023).contains(&year) {
        return Err(ParseOrderNumberError::Day { year, month, day });
    }
    let digits: Vec<u8> = text.iter().map(|byte| byte - b'0').collect();
    let (expected, found) = (check_digit_by_definition(&digits[..21]), digits[21]);
    if expected != found {
        return Err(ParseOrderNumberError::CheckDigit { expected, found });
    }
    Ok((year as i16, month, day, value(8..18), value(18..21) as u16))
}

fn parts(number: OrderNumber) -> (i16, u8, u8, u64, u16) {
    let day = number.day();
    (day.year() as i16, day.month(), day.day(), number.sequence(), number.set_id().get())
}

#[test]
fn the_golden_numbers_stay_what_they_are() {
    let golden = include_str!("fixtures/order_numbers.tsv");
    let mut seen = 0;
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let [text, integer, day, sequence, set, check] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("six columns: {line}");
        };
        let integer = u64::from_str_radix(integer, 16).expect("hexadecimal");
        let number: OrderNumber = text.parse().expect(line);
        assert_eq!((number.to_u64(), OrderNumber::try_from(integer)), (integer, Ok(number)), "{line}");
        assert_eq!((number.to_string().as_str(), number.day().to_string().as_str()), (text, day), "{line}");
        assert_eq!((number.sequence().to_string().as_str(), number.set_id().to_string().as_str()), (sequence, set), "{line}");
        assert_eq!(number.check_digit().to_string(), check, "{line}");
        seen += 1;
    }
    assert_eq!(seen, 100);
}

#[test]
fn print_and_parse_are_inverses_and_the_integer_too() {
    let mut writer = NumberWriter::new();
    for number in sample(100_000) {
        let text = number.encode();
        assert_eq!(parse(&text), Ok(number));
        assert_eq!(number.to_string().as_bytes(), text);
        assert_eq!(format!("{number:?}").as_bytes(), text);
        assert_eq!(number.encode_str(&mut [0; 22]).as_bytes(), text);
        assert_eq!(*writer.write(number), text);
        assert_eq!(OrderNumber::new(number.day(), number.sequence(), number.set_id()), Ok(number));
        assert_eq!(OrderNumber::try_from(u64::from(number)), Ok(number));
        assert_eq!(OrderNumber::from_be_bytes(number.to_be_bytes()), Ok(number));
        assert_eq!(text[21] - b'0', number.check_digit());
    }
}

#[test]
fn check_digits_agree_with_the_definition_and_with_the_crate_verhoeff() {
    for number in sample(100_000) {
        let digits = number.encode().map(|byte| byte - b'0');
        assert_eq!(number.check_digit(), digits[..21].calculate_verhoeff_check_digit(), "{number}");
        assert_eq!(number.check_digit(), check_digit_by_definition(&digits[..21]), "{number}");
        assert!(digits.validate_verhoeff_check_digit());
    }
}

#[test]
fn every_single_wrong_digit_is_refused() {
    let mut refused = 0;
    for number in sample(2_000) {
        let right = number.encode();
        for position in 0..22 {
            for wrong in (b'0'..=b'9').filter(|digit| *digit != right[position]) {
                let mut text = right;
                text[position] = wrong;
                assert_told(&text, position < 8);
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 2_000 * 22 * 9);
}

#[test]
fn every_swap_of_unlike_neighbours_is_refused() {
    let mut refused = 0;
    for number in sample(20_000) {
        let mut text = number.encode();
        for position in 0..21 {
            if text[position] != text[position + 1] {
                text.swap(position, position + 1);
                assert_told(&text, position < 8);
                text.swap(position, position + 1);
                refused += 1;
            }
        }
    }
    assert!(refused > 300_000, "most neighbours differ: {refused}");
}

/// Refused for its check digit; where the date was touched perhaps for its day.
fn assert_told(text: &[u8], date_was_touched: bool) {
    match parse(text) {
        Err(ParseOrderNumberError::CheckDigit { expected, found }) => assert_ne!(expected, found),
        Err(ParseOrderNumberError::Day { .. }) if date_was_touched => {}
        other => panic!("{}: {other:?}", String::from_utf8_lossy(text)),
    }
}

#[test]
fn of_ten_check_digits_one_is_right_and_the_error_names_it() {
    for number in sample(5_000) {
        let mut text = number.encode();
        let expected = text[21] - b'0';
        for found in 0..10 {
            text[21] = b'0' + found;
            let error = ParseOrderNumberError::CheckDigit { expected, found };
            assert_eq!(parse(&text), if found == expected { Ok(number) } else { Err(error) });
        }
    }
}

#[test]
fn every_byte_that_is_no_digit_is_named_with_its_place() {
    let right = number("2026-11-22", 42, 7).encode();
    for position in 0..22 {
        for found in (0..=255u8).filter(|byte| !byte.is_ascii_digit()) {
            let mut text = right;
            text[position] = found;
            assert_eq!(parse(&text), Err(ParseOrderNumberError::Digit { position, found }));
        }
    }
}

/// Eight characters are looked at in one integer, where a wrong one can disturb its neighbour: so all pairs, at all places.
#[test]
fn of_two_bytes_that_are_no_digits_the_first_is_named() {
    let right = number("2026-11-22", 42, 7).encode();
    for position in 0..21 {
        for found in (0..=255u8).filter(|byte| !byte.is_ascii_digit()) {
            let mut text = right;
            text[position] = found;
            for behind in 0..=255u8 {
                text[position + 1] = behind;
                assert_eq!(parse(&text), Err(ParseOrderNumberError::Digit { position, found }));
            }
        }
    }
}

#[test]
fn parse_agrees_with_its_definition_on_spoilt_texts() {
    let mut random = fastrand::Rng::with_seed(8);
    let mut kinds = [0; 5];
    for number in sample(30_000) {
        let mut text = number.encode().to_vec();
        for _ in 0..random.usize(0..=2) {
            let at = random.usize(..22);
            // Mostly digits, and mostly bytes that look almost like one.
            text[at] = if random.u8(..4) > 0 { random.u8(b'0'..=b'9') } else { random.u8(..) };
        }
        if random.u8(..16) == 0 {
            text.truncate(random.usize(..22));
        }
        let expected = parse_by_definition(&text);
        let kind = match &expected {
            Ok(_) => 0,
            Err(ParseOrderNumberError::Length { .. }) => 1,
            Err(ParseOrderNumberError::Digit { .. }) => 2,
            Err(ParseOrderNumberError::Day { .. }) => 3,
            Err(_) => 4,
        };
        kinds[kind] += 1;
        assert_eq!(parse(&text).map(parts), expected, "{text:?}");
    }
    assert!(kinds.iter().all(|count| *count > 500), "every outcome was met: {kinds:?}");
}

#[test]
fn the_order_of_numbers_is_the_order_of_texts_of_integers_and_of_bytes() {
    let mut numbers = sample(20_000);
    // Neighbours by one in each part, over every border.
    for [before, after] in [
        [number("2026-11-22", 42, 7), number("2026-11-22", 42, 8)],
        [number("2026-11-22", 42, 999), number("2026-11-22", 43, 0)],
        [number("2026-11-22", OrderNumber::SEQUENCE_MAX, 999), number("2026-11-23", 0, 0)],
        [number("2026-11-30", OrderNumber::SEQUENCE_MAX, 999), number("2026-12-01", 0, 0)],
        [number("2026-12-31", OrderNumber::SEQUENCE_MAX, 999), number("2027-01-01", 0, 0)],
    ] {
        assert!(before < after);
        numbers.extend([before, after]);
    }
    numbers.sort_unstable();
    numbers.dedup();
    for pair in numbers.windows(2) {
        assert!(pair[0].encode() < pair[1].encode());
        assert!(pair[0].to_string() < pair[1].to_string());
        assert!(pair[0].to_u64() < pair[1].to_u64());
        assert!(pair[0].to_be_bytes() < pair[1].to_be_bytes());
    }
}

#[test]
fn a_writer_agrees_with_encode_whatever_follows_whatever() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut writer = NumberWriter::new();
    let mut previous = number("2026-11-22", 0, 7);
    for _ in 0..300_000 {
        let (day, sequence, set) = (previous.day(), previous.sequence(), previous.set_id());
        // Mostly up by one; by some, down, or by exactly a hundred; another SET; another day; back and forth over each border.
        let (day, sequence, set) = match random.u8(..20) {
            0 => (day, sequence + random.u64(..300), set),
            1 => (day, sequence.saturating_sub(random.u64(..300)), set),
            2 => (day, sequence + 100, set),
            3 => (day, sequence, SetId::new((set.get() + 1) % 1_000).expect("a SET")),
            4 => (day, sequence, SetId::new(random.u16(..1_000)).expect("a SET")),
            5 => (day.next().unwrap_or(Day::MIN), sequence, set),
            6 => (day, random.u64(..=OrderNumber::SEQUENCE_MAX), set),
            _ => (day, sequence + 1, set),
        };
        let next = OrderNumber::new(day, sequence % (OrderNumber::SEQUENCE_MAX + 1), set).expect("in range");
        assert_eq!(*writer.write(next), next.encode(), "{next} after {previous}");
        assert_eq!(writer.write_str(next), text(next));
        previous = next;
    }
}

#[test]
fn a_sequence_beyond_ten_digits_is_no_number() {
    let (day, set) = (Day::MAX, SetId::MAX);
    for given in [OrderNumber::SEQUENCE_MAX + 1, 1 << 34, u64::MAX] {
        assert_eq!(OrderNumber::new(day, given, set), Err(ParseOrderNumberError::Sequence { given }));
    }
}

#[test]
fn an_integer_is_a_number_exactly_if_its_parts_are() {
    let day_bits = |year: u64, month: u64, day: u64| year << 9 | month << 5 | day;
    let integer = |day: u64, sequence: u64, set: u64| day << 44 | sequence << 10 | set;
    let good = day_bits(26, 11, 22);
    for given in [
        0,
        1,
        u64::MAX,
        1 << 63 | integer(good, 42, 7),
        integer(good, 42, 1_000),
        integer(good, 42, 1_023),
        integer(good, OrderNumber::SEQUENCE_MAX + 1, 7),
        integer(good, (1 << 34) - 1, 7),
        integer(day_bits(26, 2, 29), 42, 7),
        integer(day_bits(26, 13, 1), 42, 7),
        integer(day_bits(26, 0, 1), 42, 7),
        integer(day_bits(26, 1, 0), 42, 7),
    ] {
        assert_eq!(OrderNumber::try_from(given), Err(ParseOrderNumberError::Integer { given }));
        assert_eq!(OrderNumber::from_be_bytes(given.to_be_bytes()), Err(ParseOrderNumberError::Integer { given }));
    }
    // Every pattern of the 19 bits, against a calendar that is not ours.
    for bits in 0..1u64 << 19 {
        let (year, month, day) = (bits >> 9, bits >> 5 & 15, bits & 31);
        let known = jiff::civil::Date::new(year as i16 + 2000, month as i8, day as i8).is_ok();
        assert_eq!(OrderNumber::try_from(integer(bits, 0, 0)).is_ok(), known, "{year} {month} {day}");
    }
}

#[test]
fn absurd_texts_are_refused_for_what_they_are() {
    let length = |found| Err(ParseOrderNumberError::Length { found });
    assert_eq!(parse(b""), length(0));
    assert_eq!(parse(&vec![b'0'; 100 << 20]), length(100 << 20));
    for found in (0..100).filter(|found| *found != 22) {
        assert_eq!(parse(&vec![b'1'; found]), length(found));
    }
    let right = "2026112200000000420076";
    assert_eq!(right.parse(), Ok(number("2026-11-22", 42, 7)));
    for spelling in
        [" 2026112200000000420076", "2026112200000000420076\n", "+2026112200000000420076", "20261122-0000000042-007-6"]
    {
        assert_eq!(spelling.parse::<OrderNumber>(), length(spelling.len()));
    }
    // Digits of other scripts are no digits: seven full-width ones are 21 bytes.
    assert_eq!("２０２６１１２6".parse::<OrderNumber>(), Err(ParseOrderNumberError::Digit { position: 0, found: 0xEF }));
    assert_eq!("٢٠٢٦١١٢٢٠٠٠".parse::<OrderNumber>(), Err(ParseOrderNumberError::Digit { position: 0, found: 0xD9 }));
    assert_eq!("202611220000000042007x".parse::<OrderNumber>(), Err(ParseOrderNumberError::Digit { position: 21, found: b'x' }));
    assert_eq!(parse(&[0; 22]), Err(ParseOrderNumberError::Digit { position: 0, found: 0 }));
    assert_eq!(parse(b"0000000000000000000000"), Err(ParseOrderNumberError::Day { year: 0, month: 0, day: 0 }));
    assert_eq!(parse(b"9999999999999999999999"), Err(ParseOrderNumberError::Day { year: 9_999, month: 99, day: 99 }));
}

#[test]
fn of_several_faults_length_comes_first_then_digit_then_day_then_check_digit() {
    assert_eq!(parse(b"x"), Err(ParseOrderNumberError::Length { found: 1 }));
    assert_eq!(parse(b"202613990000000042007x"), Err(ParseOrderNumberError::Digit { position: 21, found: b'x' }));
    // No check digit makes a number of this date.
    for check in b'0'..=b'9' {
        let mut text = *b"2026139900000000420070";
        text[21] = check;
        assert_eq!(parse(&text), Err(ParseOrderNumberError::Day { year: 2026, month: 13, day: 99 }));
    }
}

#[test]
fn errors_say_what_and_where() {
    let told = |text: &[u8]| parse(text).expect_err("no number").to_string();
    assert_eq!(told(b"2026"), "an order number has 22 digits, got 4 bytes");
    assert_eq!(told(b"20261122 0000000042007"), "byte 8 of an order number is 0x20, not a digit");
    assert_eq!(told(b"2026023000000000420076"), "no day between 2000-01-01 and 3023-12-31: 2026-02-30");
    assert_eq!(told(b"2026112200000000420075"), "wrong check digit: expected 6, got 5");
}

#[test]
fn a_number_is_padded_as_a_whole_and_takes_eight_bytes() {
    let number = number("2026-11-22", 42, 7);
    assert_eq!(format!("[{number:>24}]"), "[  2026112200000000420076]");
    assert_eq!(format!("[{:<12}] [{:>5}]", number.day(), number.set_id()), "[2026-11-22  ] [  007]");
    assert_eq!(size_of::<Option<OrderNumber>>(), 8);
}

//! What holds for any bytes given as an order number. Driven by the fuzzer and, over its corpus, by an ordinary test.

use ordermint::{NumberWriter, OrderNumber, ParseOrderNumberError};

/// # Panics
/// When it does not hold.
pub(crate) fn holds(data: &[u8]) {
    match OrderNumber::parse(data) {
        // One spelling: what parses is what is printed, by every way of printing.
        Ok(number) => {
            assert_eq!(number.encode(), data);
            assert_eq!(number.to_string().as_bytes(), data);
            assert_eq!(*NumberWriter::new().write(number), data);
            assert_eq!(b'0' + number.check_digit(), data[21]);
            same_by_its_parts(number);
        }
        // The reasons come in their order, and each of them is true.
        Err(ParseOrderNumberError::Length { found }) => assert!(found == data.len() && found != 22),
        Err(ParseOrderNumberError::Digit { position, found }) => {
            assert!(data[..position].iter().all(u8::is_ascii_digit));
            assert!(data[position] == found && !found.is_ascii_digit());
        }
        Err(ParseOrderNumberError::Day { year, month, day }) => {
            assert_eq!(format!("{year:04}{month:02}{day:02}").as_bytes(), &data[..8]);
            assert!(ordermint::Day::new(year, month, day).is_err());
        }
        // The digit that the error asks for makes it right.
        Err(ParseOrderNumberError::CheckDigit { expected, found }) => {
            assert!(found != expected && data[21] == b'0' + found);
            let mut mended = data.to_vec();
            mended[21] = b'0' + expected;
            let number = OrderNumber::parse(&mended).expect("the expected check digit is the right one");
            same_by_its_parts(number);
        }
        Err(other) => panic!("no reason that parse gives: {other}"),
    }
    // The same bytes as an integer, which is refused or comes back.
    if let Some(bytes) = data.first_chunk::<8>() {
        match OrderNumber::from_be_bytes(*bytes) {
            Ok(number) => {
                assert_eq!(number.to_be_bytes(), *bytes);
                assert_eq!(OrderNumber::parse(&number.encode()), Ok(number));
                same_by_its_parts(number);
            }
            Err(error) => assert_eq!(error, ParseOrderNumberError::Integer { given: u64::from_be_bytes(*bytes) }),
        }
    }
}

fn same_by_its_parts(number: OrderNumber) {
    assert_eq!(OrderNumber::try_from(number.to_u64()), Ok(number));
    assert_eq!(OrderNumber::new(number.day(), number.sequence(), number.set_id()), Ok(number));
}

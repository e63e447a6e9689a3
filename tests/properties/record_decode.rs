//! What must hold of records for any bytes whatever.

use ordermint::{Day, Kind, OrderNumber, Origin, Record, RequestKey, SetId, Version};
use std::sync::Arc;

/// The first eight bytes are a number; the rest is taken for a record first, and then for the fields of one.
///
/// # Panics
/// When a record is not what it should be.
pub(crate) fn check(data: &[u8]) {
    let Some((number, bytes)) = data.split_first_chunk::<8>() else { return };
    let number = number_from(u64::from_be_bytes(*number));
    if let Ok(record) = Record::decode(number, bytes) {
        assert_eq!(record.encode(number), bytes, "one record has one spelling");
    }

    // What stands behind a header, had somebody sealed it: no checksum keeps strange origins away.
    for format in [1, 2] {
        let sealed = seal(number, format, bytes);
        if let Ok(record) = Record::decode(number, &sealed) {
            assert_eq!(record.encode(number), sealed, "one record has one spelling");
        }
    }

    let Some((fields, value)) = bytes.split_first_chunk::<19>() else { return };
    check_record(number, fields, &record_from(fields, value));
    // The same with an origin: the fields say of what, the value of which.
    let (about, value) = value.split_at_checked(usize::from(fields[17])).unwrap_or((value, &[]));
    let record = Record { origin: origin_from(fields[18], about), ..record_from(fields, value) };
    check_record(number, fields, &record);
}

fn check_record(number: OrderNumber, fields: &[u8; 19], record: &Record) {
    let encoded = record.encode(number);
    assert_eq!(Record::decode(number, &encoded).as_ref(), Ok(record), "what was encoded decodes to the same");
    let bits = encoded.len() * 8;
    // Which bits and which length is for the input to say, so that a fuzzer can reach all of them.
    let chosen = usize::from(u16::from_be_bytes([fields[15], fields[16]]));
    for bit in [chosen % bits, (chosen + 1) % bits, chosen / 8 % 24 * 8, 8 * 20 + chosen % 32] {
        let mut flipped = encoded.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::decode(number, &flipped).is_err(), "bit {bit} was flipped in {record:?}");
    }
    assert!(Record::decode(number, &encoded[..chosen % encoded.len()]).is_err(), "cut short");
    let longer = [&encoded[..], &fields[17..]].concat();
    assert!(Record::decode(number, &longer).is_err(), "followed by something");
    let other = number_from(number.to_u64() ^ 1 << (chosen % 34 + 10));
    assert!(other == number || Record::decode(other, &encoded).is_err(), "read under {other} and written under {number}");
}

fn record_from(fields: &[u8; 19], value: &[u8]) -> Record {
    let kind = if fields[0].is_multiple_of(2) { Kind::Order } else { Kind::Void };
    let epoch = u32::from_be_bytes([fields[1], fields[2], fields[3], fields[4]]);
    let counter = fields[5..13].iter().fold(0, |counter, byte| counter << 8 | u64::from(*byte));
    let generation = u16::from_be_bytes([fields[13], fields[14]]);
    Record { kind, version: Version { epoch, counter }, generation, value: value.to_vec().into(), origin: None }
}

/// A record of an order with `body` behind its header.
fn seal(number: OrderNumber, format: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("an input is short");
    let mut bytes = [&[format, 1][..], &[0; 18], &length.to_be_bytes(), body].concat();
    let mut crc = crc32fast::Hasher::new();
    for part in [body, &number.to_be_bytes(), &bytes[..4], &bytes[8..24]] {
        crc.update(part);
    }
    bytes[4..8].copy_from_slice(&crc.finalize().to_be_bytes());
    bytes
}

fn origin_from(parts: u8, about: &[u8]) -> Option<Arc<Origin>> {
    let mut origin = Origin::default();
    if parts & 1 != 0 {
        origin.request_key = RequestKey::new(about, &about[about.len() / 2..]);
    }
    if parts & 2 != 0 {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let superseded = |bytes: &[u8]| (number_from(number(bytes)), Version { epoch: bytes[0].into(), counter: number(bytes) });
        origin.supersedes = about.chunks(8).take(16).map(superseded).collect();
    }
    if parts & 4 != 0 {
        let sets = about.iter().enumerate().map(|(at, byte)| SetId::new((at * 4 % 744) as u16 + u16::from(*byte)));
        origin.unverified = sets.map(|set| set.expect("below 1000")).collect();
        origin.unverified.sort_unstable();
        origin.unverified.dedup();
    }
    (origin != Origin::default()).then(|| Arc::new(origin))
}

/// The number with these bits; where there is none, one that is near.
fn number_from(bits: u64) -> OrderNumber {
    OrderNumber::try_from(bits).unwrap_or_else(|_| {
        let set = SetId::new((bits % 1_000) as u16).expect("below 1000");
        let sequence = (bits >> 10) % (OrderNumber::SEQUENCE_MAX + 1);
        OrderNumber::new(Day::MIN, sequence, set).expect("a sequence within a day")
    })
}

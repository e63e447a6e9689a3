//! What must hold of records for any bytes whatever.

use ordermint::{Day, Kind, OrderNumber, Record, SetId, Version};

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

    let Some((fields, value)) = bytes.split_first_chunk::<19>() else { return };
    let record = record_from(fields, value);
    let encoded = record.encode(number);
    assert_eq!(Record::decode(number, &encoded).as_ref(), Ok(&record), "what was encoded decodes to the same");
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

/// The number with these bits; where there is none, one that is near.
fn number_from(bits: u64) -> OrderNumber {
    OrderNumber::try_from(bits).unwrap_or_else(|_| {
        let set = SetId::new((bits % 1_000) as u16).expect("below 1000");
        let sequence = (bits >> 10) % (OrderNumber::SEQUENCE_MAX + 1);
        OrderNumber::new(Day::MIN, sequence, set).expect("a sequence within a day")
    })
}

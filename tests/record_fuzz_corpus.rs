//! The corpus of the fuzz target `record_decode`, and what is near it, on stable Rust.

#[path = "properties/record_decode.rs"]
mod record_decode;

use ordermint::{Day, Kind, OrderNumber, Origin, Record, RequestKey, SetId, Version};
use std::path::Path;
use std::sync::Arc;

fn corpus() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/record_decode");
    let Ok(entries) = std::fs::read_dir(&dir) else {
        println!("skipped: the packed crate comes without {}", dir.display());
        return Vec::new();
    };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a readable file")).collect()
}

#[test]
fn every_input_of_the_corpus_keeps_what_must_hold() {
    let corpus = corpus();
    corpus.iter().for_each(|input| record_decode::check(input));
    println!("{} inputs", corpus.len());
}

#[test]
fn so_does_everything_near_the_corpus() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut checked = 0;
    for input in corpus() {
        for length in 0..input.len().min(200) {
            record_decode::check(&input[..length]);
        }
        for bit in 0..input.len().min(100) * 8 {
            let mut near = input.clone();
            near[bit / 8] ^= 1 << (bit % 8);
            record_decode::check(&near);
        }
        for _ in 0..200 {
            let mut far = input.clone();
            far.iter_mut().for_each(|byte| *byte = if rng.u8(..) < 40 { rng.u8(..) } else { *byte });
            record_decode::check(&far);
            checked += 1;
        }
    }
    println!("{checked} random inputs, and all that differ in one bit or are shorter");
}

#[test]
fn so_do_random_bytes() {
    let mut rng = fastrand::Rng::with_seed(8);
    for _ in 0..20_000 {
        let length = rng.usize(0..120);
        let input: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
        record_decode::check(&input);
    }
}

/// Writes the inputs that the corpus began with: `cargo test --test record_fuzz_corpus -- --ignored`.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_first_corpus() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/record_decode");
    std::fs::create_dir_all(&dir).expect("a directory");
    let number = |day, sequence, set| OrderNumber::new(day, sequence, SetId::new(set).expect("a SET")).expect("a number");
    let day = Day::new(2026, 11, 22).expect("a day");
    let inputs = [
        ("order", number(day, 42, 7), Kind::Order, (1, 1), 0, &b"one order, please"[..]),
        ("void", number(day, 43, 7), Kind::Void, (3, 99), 0, b""),
        ("empty", number(Day::MIN, 0, 0), Kind::Order, (0, 0), 0, b""),
        ("largest", number(Day::MAX, OrderNumber::SEQUENCE_MAX, 999), Kind::Order, (u32::MAX, u64::MAX), u16::MAX, &[0xff; 300]),
        ("repaired", number(day, 1 << 33, 8), Kind::Order, (2, 1 << 40), 2, b"\0\0\0\0"),
    ];
    let superseded = |count| (0..count).map(|at| (number(day, at, 8), Version { epoch: 1, counter: at })).collect();
    let set = |id| SetId::new(id).expect("a SET");
    let keyed = Origin { request_key: RequestKey::new(b"pay-8841", b"one order, please"), ..Origin::default() };
    let noted = Origin { supersedes: superseded(1), unverified: vec![set(8), set(9)], ..Origin::default() };
    let full = Origin {
        request_key: RequestKey::new(&[0xff; 255], b""),
        supersedes: superseded(16),
        unverified: (0..1_000).map(set).collect(),
        copy_of: Some(Version { epoch: 1, counter: 4 }),
        partly_asked: (0..40).map(|id| (set(id), 7)).collect(),
        looked_from: Some(day),
    };
    let plain = inputs.into_iter().map(|input| (input, None));
    let with_origin = [
        (("keyed", number(day, 44, 7), Kind::Order, (1, 3), 0, &b"one order, please"[..]), Some(Arc::new(keyed))),
        (("noted", number(day, 45, 7), Kind::Order, (1, 4), 0, b"order"), Some(Arc::new(noted))),
        (("full", number(day, 46, 7), Kind::Void, (1, 5), 1, b""), Some(Arc::new(full))),
    ];
    for ((name, number, kind, (epoch, counter), generation, value), origin) in plain.chain(with_origin) {
        let record = Record { kind, version: Version { epoch, counter }, generation, value: value.to_vec().into(), origin };
        let whole = [&number.to_be_bytes()[..], &record.encode(number)].concat();
        std::fs::write(dir.join(name), &whole).expect("a written file");
        if record.origin.is_some() {
            // Behind a number, what stands behind a header.
            std::fs::write(dir.join(format!("{name}-body")), [&whole[..8], &whole[32..]].concat()).expect("a written file");
        }
        let mut lying = whole.clone();
        lying[28..32].copy_from_slice(&u32::MAX.to_be_bytes());
        std::fs::write(dir.join(format!("{name}-length")), lying).expect("a written file");
        std::fs::write(dir.join(format!("{name}-cut")), &whole[..whole.len() - 1]).expect("a written file");
    }
}

//! Order numbers in time: `cargo bench --bench numbers`. One iteration is over 1,024 numbers, so that `Gelem/s` is numbers per
//! nanosecond. Times are noisy and compare only within one run; `--bench instructions` counts what repeats.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ordermint::{Day, NumberWriter, OrderNumber, SetId};
use std::hint::black_box;
use verhoeff::Verhoeff;

const COUNT: u64 = 1_024;

fn each<T, O>(all: &[T], mut operation: impl FnMut(&T) -> O) {
    for one in all {
        black_box(&operation(black_box(one)));
    }
}

fn benches(criterion: &mut Criterion) {
    let mut random = fastrand::Rng::with_seed(2026);
    let number = |day, sequence, set| OrderNumber::new(day, sequence, set).expect("a sequence in range");
    let numbers: Vec<OrderNumber> = (0..COUNT)
        .map(|_| {
            let day = Day::from_unix_days(random.i64(Day::MIN.to_unix_days()..=Day::MAX.to_unix_days())).expect("a day in range");
            number(day, random.u64(0..=OrderNumber::SEQUENCE_MAX), SetId::new(random.u16(0..=999)).expect("a SET in range"))
        })
        .collect();
    let texts: Vec<[u8; 22]> = numbers.iter().map(|number| number.encode()).collect();
    let digits: Vec<[u8; 22]> = texts.iter().map(|text| text.map(|byte| byte - b'0')).collect();
    let (day, set) = (numbers[0].day(), numbers[0].set_id());
    let sequence: Vec<OrderNumber> = (0..COUNT).map(|sequence| number(day, sequence, set)).collect();

    let mut print = criterion.benchmark_group("print");
    print.throughput(Throughput::Elements(COUNT));
    print.bench_function("any number", |b| b.iter(|| each(&numbers, |number| number.encode())));
    print.bench_function("any number, as a str", |b| {
        let mut buffer = [0; 22];
        b.iter(|| each(&numbers, |number| number.encode_str(&mut buffer).len()));
    });
    print.bench_function("in sequence", |b| {
        let mut writer = NumberWriter::new();
        b.iter(|| {
            each(&sequence, |number| {
                black_box(writer.write(*number));
            })
        });
    });
    print.bench_function("format! of the parts", |b| {
        b.iter(|| {
            each(&numbers, |number| {
                let (day, sequence, set) = (number.day(), number.sequence(), number.set_id().get());
                let (year, month, day) = (day.year(), day.month(), day.day());
                format!("{year:04}{month:02}{day:02}{sequence:010}{set:03}{}", number.check_digit())
            });
        });
    });
    print.finish();

    let mut parse = criterion.benchmark_group("parse");
    parse.throughput(Throughput::Elements(COUNT));
    parse.bench_function("with calendar and check", |b| b.iter(|| each(&texts, |text| OrderNumber::parse(text))));
    parse.bench_function("u128, nothing checked", |b| {
        let texts: Vec<&str> = texts.iter().map(|text| std::str::from_utf8(text).expect("digits")).collect();
        b.iter(|| each(&texts, |text| text.parse::<u128>()));
    });
    parse.finish();

    let mut check = criterion.benchmark_group("check digit");
    check.throughput(Throughput::Elements(COUNT));
    check.bench_function("of a number", |b| b.iter(|| each(&numbers, |number| number.check_digit())));
    check.bench_function("crate verhoeff, 21 digits", |b| {
        b.iter(|| each(&digits, |digits| digits[..21].calculate_verhoeff_check_digit()));
    });
    check.finish();
}

criterion_group!(numbers, benches);
criterion_main!(numbers);

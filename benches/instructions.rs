//! Instructions per call, which repeat where times do not: `cargo bench --bench instructions`.
//!
//! Each operation runs in a process of its own under `valgrind --tool=callgrind`, once and three times over the same 1,000 numbers;
//! the difference of the two counts is what 2,000 calls cost, the loop around them included. Where valgrind is missing this says so.

use ordermint::{Day, NumberWriter, OrderNumber, SetId};
use std::hint::black_box;
use std::process::Command;

/// What the operations work on.
struct Work {
    /// All over the range, the same in every run.
    numbers: Vec<OrderNumber>,
    texts: Vec<[u8; 22]>,
    /// One day and SET, one after the other.
    sequence: Vec<OrderNumber>,
}

struct Operation {
    name: &'static str,
    /// From the table of goals, where there is one.
    goal: Option<u32>,
    run: fn(&Work),
}

/// Mint and write are to take 55 instructions, of which 12 are for the mint.
const OPERATIONS: &[Operation] = &[
    Operation { name: "the loop alone", goal: None, run: |work| each(&work.numbers, |number| number.to_u64()) },
    Operation { name: "write any number", goal: Some(185), run: |work| each(&work.numbers, |number| number.encode()) },
    Operation {
        name: "write any number, as a str",
        goal: None,
        run: |work| {
            let mut buffer = [0; 22];
            each(&work.numbers, |number| number.encode_str(&mut buffer).len());
        },
    },
    Operation { name: "write any number, to_string", goal: None, run: |work| each(&work.numbers, |number| number.to_string()) },
    Operation {
        name: "write any number, format!",
        goal: None,
        run: |work| {
            each(&work.numbers, |number| {
                let (day, sequence, set) = (number.day(), number.sequence(), number.set_id().get());
                let (year, month, day) = (day.year(), day.month(), day.day());
                format!("{year:04}{month:02}{day:02}{sequence:010}{set:03}{}", number.check_digit())
            });
        },
    },
    Operation {
        name: "write in sequence",
        goal: Some(55 - 12),
        run: |work| {
            let mut writer = NumberWriter::new();
            each(&work.sequence, |number| {
                black_box(writer.write(*number));
            });
        },
    },
    Operation { name: "parse", goal: Some(180), run: |work| each(&work.texts, |text| OrderNumber::parse(text)) },
    Operation {
        name: "parse as a u128, unchecked",
        goal: None,
        run: |work| each(&work.texts, |text| std::str::from_utf8(text).expect("ASCII").parse::<u128>()),
    },
    Operation { name: "check digit of a number", goal: None, run: |work| each(&work.numbers, |number| number.check_digit()) },
    Operation {
        name: "from a u64",
        goal: None,
        run: |work| each(&work.numbers, |number| OrderNumber::try_from(number.to_u64())),
    },
];

fn each<T, O>(all: &[T], mut operation: impl FnMut(&T) -> O) {
    for one in all {
        black_box(&operation(black_box(one)));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // As the child: an operation and how often. Cargo itself passes one argument, `--bench`.
    if let [name, times] = arguments.as_slice() {
        let operation = OPERATIONS.iter().find(|operation| operation.name == name).expect("an operation of the table");
        let work = work(1_000);
        (0..times.parse().expect("how often")).for_each(|_| (operation.run)(black_box(&work)));
        return;
    }
    println!("{:<28} {:>7} {:>6}", "instructions per call", "counted", "goal");
    for Operation { name, goal, .. } in OPERATIONS {
        let (Some(once), Some(thrice)) = (counted(name, "1"), counted(name, "3")) else {
            println!("skipped: valgrind is not installed, or did not count");
            return;
        };
        let goal = goal.map_or(String::from("-"), |goal| goal.to_string());
        println!("{name:<28} {:>7.1} {goal:>6}", (thrice - once) as f64 / 2_000.0);
    }
}

/// All instructions of a process, by callgrind's own sum.
fn counted(name: &str, times: &str) -> Option<u64> {
    let this = std::env::current_exe().ok()?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(this).args([name, times]);
    let report = valgrind.output().ok()?.stderr;
    String::from_utf8_lossy(&report).lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

fn work(count: u64) -> Work {
    let mut random = fastrand::Rng::with_seed(2026);
    let number = |day, sequence, set| OrderNumber::new(day, sequence, set).expect("a sequence in range");
    let numbers: Vec<OrderNumber> = (0..count)
        .map(|_| {
            let day = Day::from_unix_days(random.i64(Day::MIN.to_unix_days()..=Day::MAX.to_unix_days())).expect("a day in range");
            let set = SetId::new(random.u16(0..=999)).expect("a SET in range");
            number(day, random.u64(0..=OrderNumber::SEQUENCE_MAX), set)
        })
        .collect();
    let texts = numbers.iter().map(|number| number.encode()).collect();
    let (day, set) = (numbers[0].day(), numbers[0].set_id());
    Work { sequence: (0..count).map(|sequence| number(day, sequence, set)).collect(), numbers, texts }
}

//! Replays the corpus of each fuzz target, so that what was once found stays found without a fuzzer.

use std::path::Path;

#[path = "properties/order_parse.rs"]
mod order_parse;

#[test]
fn order_parse_holds_for_its_corpus() {
    replay("order_parse", order_parse::holds);
}

/// Every file of `fuzz/corpus/<target>`, and each of them cut short at every length up to 64.
fn replay(target: &str, holds: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    if !corpus.exists() {
        // The published package leaves the corpus out.
        println!("skipped: no corpus for {target}");
        return;
    }
    let mut replayed = 0;
    for entry in std::fs::read_dir(corpus).expect("the corpus can be listed") {
        let path = entry.expect("the corpus can be listed").path();
        let data = std::fs::read(&path).expect("a file of the corpus can be read");
        println!("{}", path.display());
        holds(&data);
        (0..data.len().min(64)).for_each(|end| holds(&data[..end]));
        replayed += 1;
    }
    assert!(replayed > 0, "the corpus of {target} is empty");
}

//! Orders on three replicas, one of which is lost half-way; at the end the books are balanced.
//!
//! `cargo run --release --example quickstart [-- DIR]` works in a new directory below DIR, or below the system's directory for
//! temporary files, and removes it again. Where that lies in memory a sync costs nothing: give a DIR on a disk for true rates.

use ordermint::{OrderNumber, OrderStore, Quorum, SetConfig, SetId};
use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Orders placed before the loss, and as many after it.
const ORDERS: usize = 50_000;

/// Every acknowledged order: its number and what it said.
type Book = Vec<(OrderNumber, String)>;

fn main() -> Result<(), Box<dyn Error>> {
    let below = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let home = below.join(format!("ordermint-quickstart-{}", std::process::id()));
    let outcome = run(&home);
    // Whatever became of it, nothing is left behind.
    let removed = std::fs::remove_dir_all(&home);
    outcome?;
    Ok(removed?)
}

fn run(home: &Path) -> Result<(), Box<dyn Error>> {
    println!("1. A new store in {}: SET 007, three replicas, two of which must have synced an order.", home.display());
    let set = SetConfig::new(SetId::new(7)?).replicas(["007/0", "007/1", "007/2"]);
    let store = OrderStore::builder().home(home).quorum(Quorum::new(3, 2, 2)?).add_set(set).open()?;
    let mut book = Book::new();
    place(&store, &mut book);
    store.close().wait()?;

    println!("2. Replica 1 is deleted, and the store opened again. It remembers its SETs and its quorum.");
    std::fs::remove_dir_all(home.join("007/1"))?;
    let store = OrderStore::builder().home(home).open()?;
    for replica in &store.status().sets[0].replicas {
        println!("   replica {} is {}", replica.index, replica.state);
    }
    place(&store, &mut book);

    println!("3. The books: every acknowledged order is read back.");
    let found = read_back(&store, &book)?;
    let numbers: HashSet<OrderNumber> = book.iter().map(|(number, _)| *number).collect();
    store.close().wait()?;
    println!("   sent {}, acknowledged {}, read back {found}, numbers given out {}", 2 * ORDERS, book.len(), numbers.len());
    if (found, numbers.len()) != (book.len(), book.len()) {
        return Err("the books do not balance".into());
    }
    println!("   balanced: none is lost, no number was given out twice");
    Ok(())
}

/// Places orders, many under way at once, and enters those that were acknowledged.
fn place(store: &OrderStore, book: &mut Book) {
    let started = Instant::now();
    let first = book.len();
    let payloads: Vec<String> = (first..first + ORDERS).map(|n| format!("order {n}: two tickets to Shenzhen")).collect();
    for (done, (placed, payload)) in store.create_all(&payloads).zip(&payloads).enumerate() {
        match placed {
            Ok(placed) => book.push((placed.number, payload.clone())),
            Err(error) => println!("   {payload:?} was not acknowledged: {error}"),
        }
        progress("placed", done + 1, started);
    }
}

/// Reads all of `book` and counts the orders that are there and say what they said.
fn read_back(store: &OrderStore, book: &Book) -> Result<usize, ordermint::Error> {
    let started = Instant::now();
    let (mut found, mut done) = (0, 0);
    for some in book.chunks(10_000) {
        let reads: Vec<_> = some.iter().map(|(number, _)| store.get(*number)).collect();
        for (read, (number, payload)) in reads.into_iter().zip(some) {
            match read.wait()? {
                Some(order) if order.value == *payload => found += 1,
                Some(_) => println!("   {number} says something else"),
                None => println!("   {number} is lost"),
            }
            done += 1;
            progress("read", done, started);
        }
    }
    Ok(found)
}

fn progress(what: &str, done: usize, started: Instant) {
    if done.is_multiple_of(ORDERS / 5) {
        println!("   {done:>6} {what}, {:>7.0}/s", done as f64 / started.elapsed().as_secs_f64());
    }
}

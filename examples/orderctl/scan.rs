//! `scan`: all orders in order of number, over all SETs.

use crate::exit::Exit;
use crate::interrupt::Interrupts;
use crate::merge::Merge;
use crate::output::{Gone, Output};
use crate::progress::Progress;
use ordermint::{Day, Error, OrderStore, SetId};
use std::collections::BTreeMap;

/// Prints the orders of one SET or all, of one day or all. What cannot be read is told on standard error; the rest is printed.
pub(crate) fn run(store: &OrderStore, set: Option<SetId>, date: Option<Day>, interrupts: &Interrupts) -> Result<Exit, Gone> {
    let progress = Progress::of("orders");
    let mut output = Output::new();
    let mut exit = Exit::Done;
    let mut tell = |error: &Error| {
        progress.complain(&error.to_string());
        exit = exit.max(Exit::of(error));
    };
    // A number begins with its day, so day after day, each merged over the SETs, is the order of numbers.
    for (day, sets) in days(store, set, date, &mut tell) {
        let mut text = [0; 22];
        for found in Merge::new(sets.into_iter().map(|set| store.scan(set, day)).collect()) {
            if let Some(interrupted) = interrupts.caught() {
                output.flush()?;
                return Ok(interrupted);
            }
            match found {
                Ok(order) => {
                    output.line(&[order.number.encode_str(&mut text).as_bytes(), &order.value])?;
                    progress.add(1);
                }
                Err(error) => tell(&error),
            }
        }
    }
    output.flush()?;
    Ok(exit)
}

/// Which SETs hold anything on which day. A SET that cannot say is told and left out.
fn days(store: &OrderStore, set: Option<SetId>, date: Option<Day>, tell: &mut impl FnMut(&Error)) -> BTreeMap<Day, Vec<SetId>> {
    let sets = match set {
        Some(set) => vec![set],
        None => store.status().sets.iter().map(|set| set.id).collect(),
    };
    let mut days: BTreeMap<Day, Vec<SetId>> = BTreeMap::new();
    for set in sets {
        match store.days(set).wait() {
            Ok(held) => {
                for day in held.into_iter().filter(|day| date.is_none_or(|wanted| wanted == *day)) {
                    days.entry(day).or_default().push(set);
                }
            }
            Err(error) => tell(&error),
        }
    }
    days
}

//! `add-set`, `drain`, `retire`, `weights`: other SETs for a store that exists. The store itself remembers them.

use crate::args::Change;
use crate::exit::Exit;
use crate::interrupt::Interrupts;
use crate::open::dirs;
use crate::output::{Gone, Output};
use ordermint::{Error, OrderStore, SetConfig, SetId};

/// Makes the change. A change is durable before this answers, and nothing of it is when the store says no.
pub(crate) fn run(store: &OrderStore, change: &Change, interrupts: &Interrupts) -> Result<Exit, Gone> {
    // A change that is begun is finished.
    interrupts.on_first(|| {});
    let changed = match change {
        Change::Add { set, .. } if store.status().sets.iter().any(|known| known.id == *set) => {
            crate::complain(&format!("SET {set} is there already"));
            return Ok(Exit::AnsweredNo);
        }
        Change::Add { set, weight, zone } => {
            let config = SetConfig::new(*set).replicas(dirs(*set, store.status().quorum));
            let config = weight.iter().fold(config, |config, weight| config.weight(*weight));
            store.add_set(zone.iter().fold(config, |config, zone| config.zone(zone.as_str())))
        }
        Change::Drain { set } => store.drain_set(*set),
        Change::Retire { set, how } => store.retire_set(*set, *how),
        Change::Weights { given } if given.is_empty() => return print_weights(store),
        Change::Weights { given } => give_weights(store, given),
    };
    let exit = match changed {
        Ok(()) => Exit::Done,
        Err(error) => {
            crate::complain(&error.to_string());
            match error {
                // The command line made sense; this store has it otherwise.
                Error::Config(_) => Exit::AnsweredNo,
                error => Exit::of(&error),
            }
        }
    };
    Ok(exit.max(interrupts.caught().unwrap_or(Exit::Done)))
}

fn give_weights(store: &OrderStore, given: &[(SetId, u32)]) -> Result<(), Error> {
    // All or none, as far as that can be known before.
    let sets = store.status().sets;
    let unknown = given.iter().find(|(set, _)| sets.iter().all(|known| known.id != *set));
    // The store knows best why: it may have been retired.
    unknown.into_iter().chain(given).try_for_each(|(set, weight)| store.set_weight(*set, *weight))
}

fn print_weights(store: &OrderStore) -> Result<Exit, Gone> {
    let mut output = Output::new();
    for set in store.status().sets {
        output.line(&[set.id.to_string().as_bytes(), set.weight.to_string().as_bytes()])?;
    }
    output.flush()?;
    Ok(Exit::Done)
}

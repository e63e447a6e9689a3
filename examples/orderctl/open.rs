//! Opening a store, and making one where `create` finds none.

use ordermint::{Builder, Error, OrderStore, Quorum, SetConfig, SetId};
use std::path::{Path, PathBuf};

/// The largest line that becomes an order. Said to the store as well, so that both always mean the same.
pub(crate) const VALUE_BYTES_MAX: usize = 7 * 1024;

fn builder(data: &Path) -> Builder {
    OrderStore::builder().home(data).value_bytes_max(VALUE_BYTES_MAX)
}

/// Opens the store in `data`; its SETs and its quorum are those it remembers.
pub(crate) fn existing(data: &Path) -> Result<OrderStore, Error> {
    builder(data).open()
}

/// Opens the store in `data`, or makes one. Where there is one, `sets` and `quorum` must be its own if they are given.
pub(crate) fn existing_or_new(data: &Path, sets: Option<&[SetId]>, quorum: Option<Quorum>) -> Result<OrderStore, Error> {
    match existing(data) {
        Ok(store) => match mismatch(&store, sets, quorum) {
            None => Ok(store),
            Some(error) => {
                // Only what is wrong matters now; that closing goes well does not.
                let _ = store.close().wait();
                Err(error)
            }
        },
        Err(Error::NoStore { .. }) => {
            let quorum = quorum.map_or_else(|| Quorum::new(3, 2, 2), Ok)?;
            let one = [SetId::new(1)?];
            let sets = sets.unwrap_or(&one);
            let with_sets = |builder: Builder, set: &SetId| builder.add_set(SetConfig::new(*set).replicas(dirs(*set, quorum)));
            sets.iter().fold(builder(data).quorum(quorum), with_sets).open()
        }
        Err(error) => Err(error),
    }
}

/// Where the replicas of a SET are: `<set, 3 digits>/<index>`.
pub(crate) fn dirs(set: SetId, quorum: Quorum) -> impl Iterator<Item = PathBuf> {
    (0..quorum.n()).map(move |index| PathBuf::from(format!("{set}/{index}")))
}

fn mismatch(store: &OrderStore, sets: Option<&[SetId]>, quorum: Option<Quorum>) -> Option<Error> {
    let status = store.status();
    if let Some(given) = quorum.filter(|given| *given != status.quorum) {
        return Some(Error::MapMismatch { stored: format!("quorum {}", status.quorum), given: format!("quorum {given}") });
    }
    let stored: Vec<SetId> = status.sets.iter().map(|set| set.id).collect();
    let mut given = sets?.to_vec();
    given.sort_unstable();
    (given != stored).then(|| Error::MapMismatch { stored: list(&stored), given: list(&given) })
}

fn list(sets: &[SetId]) -> String {
    let ids: Vec<String> = sets.iter().map(|set| set.get().to_string()).collect();
    format!("sets {}", ids.join(","))
}

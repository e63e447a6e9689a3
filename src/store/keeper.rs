//! The keeper of a store: one thread that does what is to be done some times a second, whether anybody calls or not. It holds the store
//! only while it looks after it, so it keeps no store open.

use super::Inner;
use crate::error::Error;
use crate::pending::mark_as_ours;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(50);

/// Starts it. It ends with the store.
///
/// # Errors
/// [`Error::System`] when the system gives no thread.
pub(super) fn start(store: &Arc<Inner>) -> Result<(), Error> {
    let store = Arc::downgrade(store);
    let thread = std::thread::Builder::new().name("om-keeper".to_owned()).spawn(move || {
        mark_as_ours();
        keep(&store);
    });
    let failed =
        |error: std::io::Error| Error::System { action: "start thread om-keeper".to_owned(), message: error.to_string() };
    thread.map(drop).map_err(failed)
}

fn keep(store: &Weak<Inner>) {
    while let Some(store) = store.upgrade() {
        if store.is_closed() {
            return;
        }
        store.look_after();
        drop(store);
        std::thread::sleep(EVERY);
    }
}

//! Changing one order.

use super::Inner;
use crate::error::Error;
use crate::health::Side;
use crate::order::OrderNumber;
use crate::pending::{Pending, Promise};
use crate::replica::Version;
use crate::set::{Change, Edit, Modified, Order};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// How to update or modify.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    pub(super) deadline: Option<Duration>,
}

impl WriteOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> WriteOptions {
        WriteOptions::default()
    }

    /// How long the operation may take, from the call on; at most an hour. Default: the store's.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> WriteOptions {
        self.deadline = Some(deadline);
        self
    }
}

/// Sends a closure to the SET where the order lives.
pub(super) fn modify<T, F>(inner: &Inner, number: OrderNumber, options: WriteOptions, change: F) -> Pending<Modified<T>>
where
    T: Send + 'static,
    F: FnOnce(&Order) -> Change<T> + Send + 'static,
{
    let shard = match inner.shard(number.set_id()) {
        Ok(shard) => shard,
        Err(error) => return Pending::ready(Err(error)),
    };
    let (promise, pending) = Pending::new();
    let promise = match inner.watched(number.set_id(), Side::Writes, promise) {
        Ok(promise) => promise,
        Err(error) => return Pending::ready(Err(error)),
    };
    let closure = Closure { change: Mutex::new(Some(change)), output: Mutex::new(None), promise: Mutex::new(Some(promise)) };
    shard.modify(number, Arc::new(closure), inner.deadline(options.deadline));
    pending
}

/// A closure of a caller, what it gave, and where its answer goes. Each is taken out before the caller's code runs, so that no
/// lock is held while it does.
struct Closure<T, F> {
    change: Mutex<Option<F>>,
    output: Mutex<Option<T>>,
    promise: Mutex<Option<Promise<Modified<T>>>>,
}

impl<T, F> Edit for Closure<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Order) -> Change<T> + Send + 'static,
{
    fn run(&self, order: &Order) -> Option<Bytes> {
        let change = self.change.lock().take()?;
        let Change { value, output } = change(order);
        *self.output.lock() = Some(output);
        value
    }

    fn finish(&self, result: Result<(Version, bool), Error>) {
        let Some(promise) = self.promise.lock().take() else { return };
        let (change, output) = (self.change.lock().take(), self.output.lock().take());
        match (result, output) {
            (Ok((version, written)), Some(output)) => promise.complete(Ok(Modified::new(version, written, output))),
            // A closure that was never run has no success to tell. Dropping the promise answers too.
            (Ok(_), None) => drop(promise),
            (Err(error), _) => promise.complete(Err(error)),
        }
        drop(change);
    }

    fn discard(&self) {
        let (change, output) = (self.change.lock().take(), self.output.lock().take());
        drop((change, output));
    }
}

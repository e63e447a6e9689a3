//! Changing one order.

use super::Inner;
use crate::error::Error;
use crate::order::OrderNumber;
use crate::pending::{Pending, Promise};
use crate::replica::Version;
use crate::set::{Change, Edit, Modified, Order};
use bytes::Bytes;
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
    let closure = Closure { change: Some(change), output: None, promise };
    shard.modify(number, Box::new(closure), inner.deadline(options.deadline));
    pending
}

/// A closure of a caller, what it gave, and where its answer goes.
struct Closure<T, F> {
    change: Option<F>,
    output: Option<T>,
    promise: Promise<Modified<T>>,
}

impl<T, F> Edit for Closure<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Order) -> Change<T> + Send + 'static,
{
    fn run(&mut self, order: &Order) -> Option<Bytes> {
        let change = self.change.take()?(order);
        self.output = Some(change.output);
        change.value
    }

    fn finish(self: Box<Self>, result: Result<(Version, bool), Error>) {
        let Closure { output, promise, .. } = *self;
        match (result, output) {
            (Ok((version, written)), Some(output)) => promise.complete(Ok(Modified::new(version, written, output))),
            // Dropping the promise answers too; a closure that was never run has no success to tell.
            (Ok(_), None) => drop(promise),
            (Err(error), _) => promise.complete(Err(error)),
        }
    }
}

//! What a SET is asked: plain values, and the closures that change orders.

use super::Order;
use crate::error::Error;
use crate::replica::Version;
use bytes::Bytes;

/// How strongly to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Strength {
    /// Sees every write acknowledged before it.
    Strong,
    /// The newest of what R voters hold; writes nothing back.
    Weak,
    /// Whatever a live copy holds, also one that may not vote.
    Degraded,
}

/// How to read one order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reading {
    pub(crate) strength: Strength,
    /// An answer with an older version is none.
    pub(crate) at_least: Option<Version>,
}

/// What a closure given to [`modify`](crate::OrderStore::modify) decides.
///
/// ```
/// use ordermint::Change;
/// let sold = 3_u32;
/// let paid = Change::write(format!("sold {}", sold + 1), sold + 1); // the new payload, and what the caller gets
/// let full = Change::<u32>::keep(sold); // nothing is written
/// # let _ = (paid, full);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "the closure returns it"]
pub struct Change<T> {
    pub(crate) value: Option<Bytes>,
    pub(crate) output: T,
}

impl<T> Change<T> {
    /// Writes `value` as the order's new payload, and gives `output` to the caller once that is synced on W replicas.
    pub fn write(value: impl AsRef<[u8]>, output: T) -> Change<T> {
        Change { value: Some(Bytes::copy_from_slice(value.as_ref())), output }
    }

    /// Leaves the order as it is, and gives `output` to the caller.
    pub fn keep(output: T) -> Change<T> {
        Change { value: None, output }
    }
}

/// A closure on its way to its turn, with its caller's promise behind it. All of it is the caller's code or holds some: it is
/// run on a modify thread, and answered and dropped there or on the notifier's.
pub(crate) trait Edit: Send + Sync {
    /// Runs the closure, which may panic; at most once. `Some` is the payload to write.
    fn run(&self, order: &Order) -> Option<Bytes>;

    /// Answers the caller, once: the version that stands, and whether it holds a payload of this closure.
    fn finish(&self, result: Result<(Version, bool), Error>);

    /// Drops what the closure gave, as its caller was answered while it ran.
    fn discard(&self);
}

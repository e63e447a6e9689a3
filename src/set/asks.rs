//! What a SET is asked: plain values, and the closures that change orders.

use super::{Order, Placed};
use crate::error::Error;
use crate::order::{Day, OrderNumber, SetId};
use crate::pending::Promise;
use crate::replica::{Draft, Origin, RequestKey, Version};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

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

/// Who asks what became of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asker {
    /// A caller, to whom the answer is final.
    Caller,
    /// The store, which goes on from there.
    Store,
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

/// An order to be created in a SET: one attempt of perhaps several.
pub(crate) struct Creation {
    pub(crate) draft: Draft,
    /// When the store may be asked whether to try elsewhere. At most the caller's.
    pub(crate) deadline: Instant,
    pub(crate) caller: Caller,
}

/// Whoever waits for a new order, over all attempts to place it.
pub(crate) struct Caller {
    pub(crate) promise: Promise<Placed>,
    /// When it must have an answer.
    pub(crate) until: Instant,
    /// When this attempt began.
    pub(crate) began: Instant,
    /// What admitted this attempt to the SET; of the store's making, and given back with the outcome.
    pub(crate) permit: u64,
    /// What there is to remember of earlier attempts and of a request key; of no concern to the SET.
    pub(crate) trail: Option<Box<Trail>>,
}

/// What became of a create so far, where there is more to say than where the order went.
#[derive(Default)]
pub(crate) struct Trail {
    /// The SETs asked, and what they said.
    pub(crate) tried: Vec<(SetId, Error)>,
    /// Attempts that may have been stored.
    pub(crate) doubtful: Vec<(OrderNumber, Version)>,
    /// How many of them, from the first on, were given up.
    pub(crate) given_up: usize,
    /// Where it is written down which numbers were given up, for whoever has to know it when this trail is gone.
    pub(crate) given_up_log: Option<Arc<Mutex<Vec<(OrderNumber, Version)>>>>,
    /// What the last of those ended with.
    pub(crate) ambiguous: Option<Error>,
    pub(crate) request_key: Option<RequestKey>,
    /// Numbers of earlier calls with that key that ended in doubt: given up, and this order stands in for them too.
    pub(crate) earlier: Vec<(OrderNumber, Version)>,
    /// SETs that could not be asked for an earlier order under that key.
    pub(crate) unverified: Vec<SetId>,
    /// See [`Origin::partly_asked`] and [`Origin::looked_from`].
    pub(crate) partly_asked: Vec<(SetId, u32)>,
    pub(crate) looked_from: Option<Day>,
}

/// An attempt that came to nothing, or may have. The error says which: [`Error::NotAttempted`] when nothing was sent,
/// [`Error::Ambiguous`] when it may be stored, all others when it is no fault of the SET.
pub(crate) struct FailedCreate {
    pub(crate) caller: Caller,
    pub(crate) payload: Bytes,
    pub(crate) error: Error,
}

/// What a SET tells the store that it belongs to. Called on the SET's own threads: it does not block.
pub(crate) trait Listener: Send + Sync {
    /// So many creates of one permit are stored, `slow` of them late.
    fn stored(&self, permit: u64, good: u32, slow: u32);

    /// A create of which there is more to say is stored. On the notifier's thread.
    fn placed(&self, caller: Caller, number: OrderNumber, version: Version);

    /// A create is not stored, or may not be. On the notifier's thread.
    fn failed(&self, create: FailedCreate);

    /// How many creates that are late here could be tried elsewhere now.
    fn alternatives(&self) -> u64;
}

/// Some of what the indexes of a SET tell.
pub(crate) struct IndexPage<E, P> {
    /// In ascending order.
    pub(crate) entries: Vec<E>,
    /// Where the next page goes on; `None` at the end.
    pub(crate) next: Option<P>,
}

/// What a SET says of a request key.
#[derive(Debug)]
pub(crate) struct KeyFound {
    pub(crate) orders: Vec<Keyed>,
    /// Numbers that voids with this key say must end, and up to which version.
    pub(crate) ended: Vec<(OrderNumber, Version)>,
    /// Not all replicas were heard: in this epoch the others were asked. What is found later, from an earlier epoch, was not acknowledged.
    pub(crate) partly_in: Option<u32>,
}

/// An order that a request key names, in one SET.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Keyed {
    pub(crate) number: OrderNumber,
    pub(crate) version: Version,
    pub(crate) origin: Arc<Origin>,
    /// Its payload is not the one that the key was first used with: somebody was told of it.
    pub(crate) is_changed: bool,
}

/// What became of a number that was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// It is void on W replicas, and on `everywhere` where all N hold that.
    Void { everywhere: bool },
    /// Somebody was told that number: it stands at this version, and was left alone.
    Alive(Version),
}

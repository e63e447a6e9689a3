//! Placing a new order: which SET, and many at once.

use super::{Inner, OrderStore};
use crate::error::{Error, NotAttempted};
use crate::pending::Pending;
use crate::set::Placed;
use crate::topology::SetMask;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How to create.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    pub(crate) deadline: Option<Duration>,
}

impl CreateOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> CreateOptions {
        CreateOptions::default()
    }

    /// How long the operation may take, from the call on; at most an hour. Default: the store's.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> CreateOptions {
        self.deadline = Some(deadline);
        self
    }
}

/// Chooses a SET by weight and creates there.
pub(super) fn create(inner: &Inner, payload: &[u8], options: CreateOptions) -> Pending<Placed> {
    // A golden-ratio sequence: every stretch of orders is spread by weight, not only the whole.
    let random = inner.ticks.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let topology = inner.topology.load();
    match topology.choice.pick(random, &SetMask::default(), None, |_| 0, |_| true) {
        Some(place) => topology.shards[place].create(payload, inner.deadline(options.deadline)),
        None => Pending::ready(Err(Error::NotAttempted { reason: NotAttempted::NoSetTakesOrders })),
    }
}

/// The answers to [`create_all`](crate::OrderStore::create_all), in input order. Dropping it leaves what was sent under way.
#[must_use = "orders are sent as the answers are taken"]
pub struct CreateAll<I: Iterator> {
    store: OrderStore,
    payloads: I,
    under_way: VecDeque<Sent>,
    /// The bytes of those.
    bytes: usize,
    /// A payload for which there was no room yet.
    waiting: Option<I::Item>,
}

struct Sent {
    pending: Pending<Placed>,
    bytes: usize,
}

/// The most orders of one `create_all` under way.
const WINDOW: usize = 16_384;
/// The most bytes of one `create_all` under way.
const WINDOW_BYTES: usize = 16 << 20;

impl<I: Iterator> CreateAll<I> {
    pub(super) fn new(store: OrderStore, payloads: I) -> CreateAll<I> {
        CreateAll { store, payloads, under_way: VecDeque::new(), bytes: 0, waiting: None }
    }
}

impl<I> Iterator for CreateAll<I>
where
    I: Iterator,
    I::Item: AsRef<[u8]>,
{
    type Item = Result<Placed, Error>;

    fn next(&mut self) -> Option<Result<Placed, Error>> {
        while self.under_way.len() < WINDOW && self.bytes < WINDOW_BYTES {
            let Some(payload) = self.waiting.take().or_else(|| self.payloads.next()) else { break };
            let bytes = payload.as_ref().len();
            let Some(sent) = (Sent { bytes, pending: self.store.create(&payload) }).unless_busy() else {
                self.waiting = Some(payload);
                break;
            };
            self.bytes += bytes;
            self.under_way.push_back(sent);
        }
        if let Some(sent) = self.under_way.pop_front() {
            self.bytes -= sent.bytes;
            return Some(sent.pending.wait());
        }
        // Nothing of our own is under way and the store is busy with others: try until the deadline.
        let payload = self.waiting.take()?;
        let until = Instant::now() + self.store.inner.settings.deadline;
        loop {
            match self.store.create(&payload).wait() {
                Err(Error::NotAttempted { reason: NotAttempted::Busy { .. } }) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                answer => return Some(answer),
            }
        }
    }
}

impl Sent {
    /// `None` when the store was too busy to take it.
    fn unless_busy(self) -> Option<Sent> {
        let Sent { pending, bytes } = self;
        match pending.wait_timeout(Duration::ZERO) {
            Ok(Err(Error::NotAttempted { reason: NotAttempted::Busy { .. } })) => None,
            Ok(answer) => Some(Sent { pending: Pending::ready(answer), bytes }),
            Err(pending) => Some(Sent { pending, bytes }),
        }
    }
}

impl<I: Iterator> fmt::Debug for CreateAll<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateAll").field("under_way", &self.under_way.len()).finish_non_exhaustive()
    }
}

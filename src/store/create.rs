//! Placing a new order: which SET, and many at once.

use super::{Inner, OrderStore, keys};
use crate::error::Error;
use crate::pending::Pending;
use crate::replica::REQUEST_KEY_BYTES_MAX;
use crate::set::{Caller, Placed};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How to create.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    pub(crate) deadline: Option<Duration>,
    /// The length alone, where it is too long to be one.
    pub(crate) request_key: Option<Result<Bytes, usize>>,
    pub(crate) strict: bool,
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

    /// Names the request, in 1 to 255 bytes: at most one live order comes of a key, however often and wherever it is tried again, also
    /// after a crash. The same key again gives the first order ([`Placed::repeated`]); with another payload it is
    /// [`Error::KeyReused`]. Creates with one key take turns.
    ///
    /// A key is good for the day of its first use and the next one, or longer: see
    /// [`Builder::request_key_days`](crate::Builder::request_key_days).
    ///
    /// Every SET is asked for the key. Where one cannot be asked, the order is placed all the same, and record and answer say so
    /// ([`Placed::unverified`]). Should that SET turn out to hold an earlier order with the key, *that one* becomes void, acknowledged or
    /// not. Who cannot live with that asks for [`CreateOptions::strict`].
    ///
    /// What a killed process left on replicas that are away meanwhile comes to light with them as a second order, until a walk makes it
    /// void ([`OrderStore::reconcile`](crate::OrderStore::reconcile), which also runs by itself).
    ///
    /// ```
    /// # use ordermint::{CreateOptions, Error, OrderStore, SetConfig, SetId};
    /// # let store = OrderStore::builder().add_set(SetConfig::new(SetId::new(7)?).in_memory(3)).open()?;
    /// let paid = || CreateOptions::new().request_key("pay-8841");
    /// let first = store.create_with("two tickets", paid()).wait()?;
    /// let again = store.create_with("two tickets", paid()).wait()?;
    /// assert_eq!((again.number, again.repeated), (first.number, true));
    /// let other = store.create_with("three tickets", paid()).wait();
    /// assert_eq!(other, Err(Error::KeyReused { number: first.number }));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn request_key(mut self, key: impl AsRef<[u8]>) -> CreateOptions {
        let key = key.as_ref();
        self.request_key =
            Some(if key.len() <= REQUEST_KEY_BYTES_MAX { Ok(Bytes::copy_from_slice(key)) } else { Err(key.len()) });
        self
    }

    /// Rather no order than one that is placed, or told for the first time, while a SET cannot be asked for the request key:
    /// [`Error::KeyUnverified`] then. What this process has told, and an order whose record names those SETs already, is told again. A SET
    /// of which only some replicas answer counts as asked. Without a key this changes nothing.
    #[must_use]
    pub fn strict(mut self) -> CreateOptions {
        self.strict = true;
        self
    }
}

/// Chooses a SET and creates there, or elsewhere.
pub(super) fn create(inner: &Arc<Inner>, payload: &[u8], options: &CreateOptions) -> Pending<Placed> {
    let (promise, pending) = Pending::new();
    let began = Instant::now();
    let until = began + inner.patience(options.deadline);
    if let Some(key) = &options.request_key {
        keys::create(inner, payload, key, options.strict, until, promise);
        return pending;
    }
    inner.place(payload, Caller { promise, until, began, permit: 0, trail: None });
    pending
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
                Err(Error::NotAttempted { reason }) if reason.is_busy() && Instant::now() < until => {
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
            Ok(Err(Error::NotAttempted { reason })) if reason.is_busy() => None,
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

//! An answer that is under way: a future for any runtime, and a thing a thread can wait for.

use crate::error::Error;
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

thread_local! {
    /// What is refused on this thread, for which others wait.
    static REFUSED: Cell<Refused> = const { Cell::new(Refused::Nothing) };
    /// It is a thread of a store.
    static IS_OURS: Cell<bool> = const { Cell::new(false) };
}

/// What must not be done to an operation under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    Nothing,
    /// To block until its answer is there. Polling is not blocking: a waker may do that.
    Waits,
    /// To ask for its answer at all: whoever polls in a closure does it until the answer is there.
    Polls,
}

/// Runs `call`; what it must not do in there is [`Error::Reentrant`].
pub(crate) fn refusing<T>(refused: Refused, call: impl FnOnce() -> T) -> T {
    /// Ends it also when `call` panics.
    struct End(Refused);
    impl Drop for End {
        fn drop(&mut self) {
            REFUSED.set(self.0);
        }
    }
    let _end = End(REFUSED.replace(refused));
    call()
}

/// Says that this thread is one of a store: it never waits for the end of one.
pub(crate) fn mark_as_ours() {
    IS_OURS.set(true);
}

pub(crate) fn is_ours() -> bool {
    IS_OURS.get()
}

/// The answer to an operation that was sent when the method was called.
///
/// Await it on any runtime, or [`wait`](Pending::wait) for it on a thread; the operation ends by its deadline either way.
/// Dropping it cancels nothing: an order may then exist under a number that nobody knows.
#[must_use = "the operation is under way; its answer, a number perhaps, comes through this"]
#[derive(Debug)]
pub struct Pending<T> {
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Ready(Option<Result<T, Error>>),
    // A channel from a library either blocks or is a future; one that is polled first and waited for later panics. Hence our own.
    Waiting(Arc<Slot<T>>),
    All(Box<All<T>>),
}

/// Several answers that become one.
#[derive(Debug)]
struct All<T> {
    waiting: Vec<Pending<T>>,
    answers: Vec<Result<T, Error>>,
    join: Join<T>,
}

/// Makes one answer of several.
type Join<T> = fn(Vec<Result<T, Error>>) -> Result<T, Error>;

#[derive(Debug)]
struct Slot<T> {
    inner: Mutex<Inner<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    answer: Option<Result<T, Error>>,
    waker: Option<Waker>,
    /// A thread waits at the condition variable.
    parked: bool,
}

/// The other end. Answers exactly once: with `complete`, or with [`Error::Closed`] when dropped.
pub(crate) struct Promise<T> {
    to: Option<To<T>>,
}

/// Where an answer goes.
enum To<T> {
    Slot(Arc<Slot<T>>),
    /// To code of our own, which goes on with it or looks at it and passes it on. It does not block.
    Call(Call<T>),
}

type Call<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").field("answered", &self.to.is_none()).finish()
    }
}

impl<T> Pending<T> {
    /// An answer that is there already.
    pub(crate) fn ready(answer: Result<T, Error>) -> Pending<T> {
        Pending { state: State::Ready(Some(answer)) }
    }

    /// One answer made of several, once all of them are there.
    pub(crate) fn all(waiting: Vec<Pending<T>>, join: Join<T>) -> Pending<T> {
        Pending { state: State::All(Box::new(All { waiting, answers: Vec::new(), join })) }
    }

    /// Both ends.
    pub(crate) fn new() -> (Promise<T>, Pending<T>) {
        let inner = Mutex::new(Inner { answer: None, waker: None, parked: false });
        let slot = Arc::new(Slot { inner, arrived: Condvar::new() });
        (Promise { to: Some(To::Slot(Arc::clone(&slot))) }, Pending { state: State::Waiting(slot) })
    }

    /// Blocks until the answer is there, which is at the operation's deadline at the latest.
    ///
    /// # Errors
    /// What the operation failed with. [`Error::Reentrant`] inside a closure given to
    /// [`modify`](crate::OrderStore::modify) and inside a waker, where the answer is not there yet.
    /// [`Error::AnswerTaken`] when it was polled as a future to its end before.
    pub fn wait(self) -> Result<T, Error> {
        match self.state {
            State::Ready(answer) => answer.unwrap_or(Err(Error::AnswerTaken)),
            State::All(mut all) => {
                all.answers.extend(all.waiting.drain(..).map(Pending::wait));
                (all.join)(all.answers)
            }
            State::Waiting(slot) => {
                let mut inner = slot.inner.lock();
                loop {
                    if let Some(answer) = inner.answer.take() {
                        return answer;
                    }
                    if REFUSED.get() != Refused::Nothing {
                        return Err(Error::Reentrant);
                    }
                    inner.parked = true;
                    slot.arrived.wait(&mut inner);
                }
            }
        }
    }

    /// Blocks for at most `patience`.
    ///
    /// # Errors
    /// The outer error gives the operation back when the time was up; it goes on.
    pub fn wait_timeout(self, patience: Duration) -> Result<Result<T, Error>, Pending<T>> {
        let until = || Instant::now().checked_add(patience);
        let slot = match self.state {
            State::Ready(answer) => return Ok(answer.unwrap_or(Err(Error::AnswerTaken))),
            State::All(all) => return all.wait_until(until()),
            State::Waiting(slot) => slot,
        };
        let mut inner = slot.inner.lock();
        // Who only looks whether it is there need not look at the clock.
        let until = if inner.answer.is_some() || patience.is_zero() { None } else { Some(until()) };
        loop {
            if let Some(answer) = inner.answer.take() {
                return Ok(answer);
            }
            if REFUSED.get() != Refused::Nothing {
                return Ok(Err(Error::Reentrant));
            }
            let Some(until) = until else { return Err(Pending { state: State::Waiting(Arc::clone(&slot)) }) };
            if until.is_some_and(|until| Instant::now() >= until) {
                inner.parked = false;
                drop(inner);
                return Err(Pending { state: State::Waiting(slot) });
            }
            inner.parked = true;
            match until {
                Some(until) => {
                    let _ = slot.arrived.wait_until(&mut inner, until);
                }
                // So far away that the clock cannot say it: for ever.
                None => slot.arrived.wait(&mut inner),
            }
        }
    }
}

impl<T> All<T> {
    fn wait_until(mut self: Box<Self>, until: Option<Instant>) -> Result<Result<T, Error>, Pending<T>> {
        while let Some(pending) = self.waiting.pop() {
            let patience = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            match pending.wait_timeout(patience) {
                Ok(answer) => self.answers.push(answer),
                Err(pending) => {
                    self.waiting.push(pending);
                    return Err(Pending { state: State::All(self) });
                }
            }
        }
        Ok((self.join)(self.answers))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        while let Some(pending) = self.waiting.last_mut() {
            match Pin::new(pending).poll(context) {
                Poll::Ready(answer) => self.answers.push(answer),
                Poll::Pending => return Poll::Pending,
            }
            self.waiting.pop();
        }
        Poll::Ready((self.join)(std::mem::take(&mut self.answers)))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        let this = self.get_mut();
        let slot = match &mut this.state {
            State::Ready(answer) => return Poll::Ready(answer.take().unwrap_or(Err(Error::AnswerTaken))),
            State::All(all) => {
                let answer = std::task::ready!(all.poll(context));
                this.state = State::Ready(None);
                return Poll::Ready(answer);
            }
            State::Waiting(slot) => slot,
        };
        // The caller's code, so before the lock.
        let waker = context.waker().clone();
        let mut inner = slot.inner.lock();
        if let Some(answer) = inner.answer.take() {
            drop(inner);
            this.state = State::Ready(None);
            return Poll::Ready(answer);
        }
        // Polled in there by something that blocks until it is ready: it would wait for itself.
        if REFUSED.get() == Refused::Polls {
            drop(inner);
            this.state = State::Ready(None);
            return Poll::Ready(Err(Error::Reentrant));
        }
        // The one before is dropped outside the lock: it is the caller's, and may hold the last handle of a store.
        let before = inner.waker.replace(waker);
        drop(inner);
        drop(before);
        Poll::Pending
    }
}

// Nothing in it is ever pinned in place.
impl<T> Unpin for Pending<T> {}

impl<T> Promise<T> {
    /// Has the answer given to `call`: on whatever thread completes it, which is never a replica's.
    pub(crate) fn calling(call: impl FnOnce(Result<T, Error>) + Send + 'static) -> Promise<T> {
        Promise { to: Some(To::Call(Box::new(call))) }
    }

    /// Gives the answer and wakes whoever waits. The waker is the user's code: never called on a replica's thread.
    pub(crate) fn complete(mut self, answer: Result<T, Error>) {
        self.deliver(answer);
    }

    fn deliver(&mut self, answer: Result<T, Error>) {
        let slot = match self.to.take() {
            Some(To::Slot(slot)) => slot,
            Some(To::Call(call)) => return call(answer),
            None => return,
        };
        let mut inner = slot.inner.lock();
        inner.answer = Some(answer);
        let waker = inner.waker.take();
        let parked = inner.parked;
        // Woken outside the lock, so that the woken does not run into it.
        drop(inner);
        if parked {
            slot.arrived.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.deliver(Err(Error::Closed));
    }
}

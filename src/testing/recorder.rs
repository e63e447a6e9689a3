//! Writes down what a program asks of a store and what it hears.

use super::history::{Answer, Asked, History, Operation, Outcome, Ran};
use crate::error::{Error, WriteToken};
use crate::order::OrderNumber;
use crate::replica::Version;
use crate::set::{Change, Modified, Order, Placed, Resolved};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Records the history of operations on a store, from any number of threads. Clones write into the same history.
///
/// It is for tests that ask whether a service keeps its word under faults: run the service, record each operation, take the
/// [`History`], and judge the history of each order with a checker of linearizability. A history grows with every operation; a
/// recorder is for a test, not for a service in production.
///
/// ```
/// use ordermint::testing::{Answer, Asked, Outcome, Recorder};
/// use ordermint::{Change, OrderStore, SetConfig, SetId};
///
/// let store = OrderStore::builder().add_set(SetConfig::new(SetId::new(7)?).in_memory(3)).open()?;
/// let recorder = Recorder::new();
///
/// // Each operation: say what will be asked, ask, say what came of it. The 1 is whoever asks.
/// let call = recorder.call(1, None, Asked::Create { value: "two tickets".into() });
/// let result = store.create("two tickets").wait();
/// call.ended(&result);
/// let number = result?.number;
///
/// let call = recorder.call(1, Some(number), Asked::Modify { ran: None });
/// let result = store.modify(number, call.watch(|_| Change::write("three tickets", ()))).wait();
/// call.ended(&result);
///
/// let call = recorder.call(2, Some(number), Asked::Read);
/// call.ended(&store.get(number).wait());
///
/// // What is in doubt is settled once the replicas are back.
/// for token in recorder.history().in_doubt() {
///     assert!(recorder.settle(token, store.resolve(token).wait()?), "the answer is final");
/// }
///
/// let history = recorder.history().by_order().remove(&number).expect("three operations");
/// println!("{history}"); // One line for each; for the message of a test that fails.
/// assert_eq!(history.operations.len(), 3);
/// let Outcome::Answered { answer: Answer::Found { value, .. }, .. } = &history.operations[2].outcome else { panic!("it is there") };
/// assert_eq!(value, "three tickets");
/// # Ok::<(), ordermint::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Recorder {
    log: Arc<Mutex<Log>>,
}

/// An operation under way. Dropped without a word about its end, it stays [`Outcome::Open`]: what a program that was killed
/// leaves behind.
#[must_use = "say how it ended"]
#[derive(Debug)]
pub struct Call {
    recorder: Recorder,
    place: usize,
}

#[derive(Default)]
struct Log {
    /// The moment that comes next. Moments are given out under the lock, so their order is that of the events.
    moment: u64,
    operations: Vec<Operation>,
    doubts: HashMap<WriteToken, Doubt>,
}

/// A write in doubt. Calls of `modify` may share one.
#[derive(Default)]
struct Doubt {
    calls: Vec<usize>,
    settled: Option<(u64, Resolved)>,
}

impl Recorder {
    /// An empty history.
    #[must_use]
    pub fn new() -> Recorder {
        Recorder::default()
    }

    /// Writes down that `session` is about to ask. To be called before the store is: what happens in between only makes the
    /// operation look longer, which is safe. `number` is `None` for a create.
    pub fn call(&self, session: u64, number: Option<OrderNumber>, asked: Asked) -> Call {
        let mut log = self.log.lock();
        let called = log.next_moment();
        log.operations.push(Operation { session, number, asked, called, outcome: Outcome::Open });
        Call { recorder: self.clone(), place: log.operations.len() - 1 }
    }

    /// Writes down what [`resolve`](crate::OrderStore::resolve) answered, for every call that was left in doubt under this token,
    /// and those that will be. False when it was settled otherwise before: then the store broke its word, and the first answer stays.
    #[must_use = "the answer is final, or else the store is wrong"]
    pub fn settle(&self, token: WriteToken, resolved: Resolved) -> bool {
        let mut log = self.log.lock();
        let settled = log.next_moment();
        let Log { operations, doubts, .. } = &mut *log;
        let doubt = doubts.entry(token).or_default();
        if let Some((_, before)) = doubt.settled {
            return before == resolved;
        }
        doubt.settled = Some((settled, resolved));
        for place in doubt.calls.drain(..) {
            let outcome = &mut operations[place].outcome;
            if let Outcome::InDoubt { at, .. } = *outcome {
                *outcome = Outcome::Settled { at, token, resolved, settled };
            }
        }
        true
    }

    /// What was written down so far.
    #[must_use]
    pub fn history(&self) -> History {
        History { operations: self.log.lock().operations.clone() }
    }
}

impl Log {
    fn next_moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }
}

impl Call {
    /// A closure that does what `change` does and writes down what it saw and what it made of it.
    pub fn watch<T, F>(&self, change: F) -> impl FnOnce(&Order) -> Change<T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce(&Order) -> Change<T> + Send + 'static,
    {
        let (recorder, place) = (self.recorder.clone(), self.place);
        move |order| {
            let change = change(order);
            let ran = Some(Ran { saw: order.value.clone(), wrote: change.value.clone() });
            recorder.log.lock().operations[place].asked = Asked::Modify { ran };
            change
        }
    }

    /// The store gave this result. An error is written down as what it says about the write: in doubt, an answer of its own (another
    /// version stands, or there is no such order), or not done.
    pub fn ended<T: Recordable>(self, result: &Result<T, Error>) {
        match result {
            Ok(value) => self.answered(value.to_answer()),
            Err(error) => match said_by(error) {
                Said::Answer(answer) => self.answered(answer),
                Said::NotDone => self.not_done(),
                Said::InDoubt(token) => self.in_doubt(token),
                Said::Nothing => {}
            },
        }
    }

    /// The answer, for a program that does not hold the store's own result.
    pub fn answered(self, answer: Answer) {
        self.end(|operation, _, at| {
            if let Answer::Created { number, .. } = &answer {
                operation.number = Some(*number);
            }
            operation.outcome = Outcome::Answered { at, answer };
        });
    }

    /// It certainly did not happen and never will; a read that failed.
    pub fn not_done(self) {
        self.end(|operation, _, at| operation.outcome = Outcome::NotDone { at });
    }

    /// [`Error::Ambiguous`].
    pub fn in_doubt(self, token: WriteToken) {
        let place = self.place;
        self.end(|operation, doubts, at| {
            operation.number = Some(token.number);
            let doubt = doubts.entry(token).or_default();
            operation.outcome = match doubt.settled {
                Some((settled, resolved)) => Outcome::Settled { at, token, resolved, settled },
                None => Outcome::InDoubt { at, token },
            };
            if doubt.settled.is_none() {
                doubt.calls.push(place);
            }
        });
    }

    fn end(self, write_down: impl FnOnce(&mut Operation, &mut HashMap<WriteToken, Doubt>, u64)) {
        let mut log = self.recorder.log.lock();
        let at = log.next_moment();
        let Log { operations, doubts, .. } = &mut *log;
        write_down(&mut operations[self.place], doubts, at);
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("operations", &self.log.lock().operations.len()).finish_non_exhaustive()
    }
}

/// What a store answers one order's operations with: [`Placed`], [`Version`], [`Modified`], `Option<Order>`.
pub trait Recordable: sealed::Sealed {
    /// As it stands in a history.
    fn to_answer(&self) -> Answer;
}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for Placed {}
impl Recordable for Placed {
    fn to_answer(&self) -> Answer {
        Answer::Created { number: self.number, version: self.version }
    }
}

impl sealed::Sealed for Version {}
impl Recordable for Version {
    fn to_answer(&self) -> Answer {
        Answer::Updated { version: *self }
    }
}

impl<T> sealed::Sealed for Modified<T> {}
impl<T> Recordable for Modified<T> {
    fn to_answer(&self) -> Answer {
        Answer::Modified { version: self.version }
    }
}

impl sealed::Sealed for Option<Order> {}
impl Recordable for Option<Order> {
    fn to_answer(&self) -> Answer {
        match self {
            Some(order) => Answer::Found { version: order.version, value: order.value.clone() },
            None => Answer::Absent,
        }
    }
}

/// What an error says about the operation.
enum Said {
    Answer(Answer),
    NotDone,
    InDoubt(WriteToken),
    Nothing,
}

fn said_by(error: &Error) -> Said {
    match error {
        Error::Ambiguous { token, .. } => Said::InDoubt(*token),
        Error::VersionMismatch { actual, .. } => Said::Answer(Answer::Mismatch { actual: *actual }),
        Error::NoSuchOrder { .. } => Said::Answer(Answer::Absent),
        // Only the wait was refused; what was asked for goes on.
        Error::Reentrant => Said::Nothing,
        // It was said before.
        Error::AnswerTaken => Said::Nothing,
        // Each of these says that nothing changed.
        Error::Config(_)
        | Error::ParseOrderNumber(_)
        | Error::UnknownSet { .. }
        | Error::SetUnavailable { .. }
        | Error::SetRetired { .. }
        | Error::WrongSetState { .. }
        | Error::DayDropped { .. }
        | Error::ValueTooLarge { .. }
        | Error::NotAttempted { .. }
        | Error::QuorumLost { .. }
        | Error::DeadlineExceeded { .. }
        | Error::Unconfirmed { .. }
        | Error::KeyReused { .. }
        | Error::KeyUnverified { .. }
        | Error::KeyConflict { .. }
        | Error::Corrupt { .. }
        | Error::Stale { .. }
        | Error::ModifyPanicked { .. }
        | Error::Superseded { .. }
        | Error::UnknownToken { .. }
        | Error::Diverged { .. }
        | Error::InUse { .. }
        | Error::ForeignReplica { .. }
        | Error::NoSuchReplica { .. }
        | Error::WrongState { .. }
        | Error::StillNeeded { .. }
        | Error::NothingLost { .. }
        | Error::MapMismatch { .. }
        | Error::NoStore { .. }
        | Error::CannotForm { .. }
        | Error::System { .. }
        | Error::Closed => Said::NotDone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Day, SetId};
    use crate::replica::Version;

    fn number(sequence: u64) -> OrderNumber {
        OrderNumber::new(Day::MIN, sequence, SetId::from_checked(7)).expect("a number")
    }

    fn token(counter: u64) -> WriteToken {
        WriteToken { number: number(1), version: Version { epoch: 1, counter } }
    }

    fn ambiguous(counter: u64) -> Result<Version, Error> {
        Err(Error::Ambiguous { token: token(counter), acked: 1, failed: 2, in_flight: 0, need: 2 })
    }

    fn update(recorder: &Recorder, session: u64) -> Call {
        recorder.call(session, Some(number(1)), Asked::Update { expected: Version::default(), value: "a".into() })
    }

    #[test]
    fn moments_are_one_order_of_all_calls_and_answers() {
        let recorder = Recorder::new();
        std::thread::scope(|scope| {
            for session in 0..4 {
                let recorder = recorder.clone();
                scope.spawn(move || (0..100).for_each(|_| update(&recorder, session).not_done()));
            }
        });
        let history = recorder.history();
        let ends = history.operations.iter().map(|operation| match operation.outcome {
            Outcome::NotDone { at } => (operation.called, at),
            _ => panic!("{operation}"),
        });
        let mut moments: Vec<u64> = Vec::new();
        for (called, at) in ends {
            assert!(called < at);
            moments.extend([called, at]);
        }
        moments.sort_unstable();
        assert_eq!(moments, (1..=800).collect::<Vec<_>>());
        assert!(history.operations.is_sorted_by_key(|operation| operation.called));
    }

    #[test]
    fn a_settled_token_settles_every_call_that_shares_it_before_and_after() {
        let recorder = Recorder::new();
        update(&recorder, 1).ended(&ambiguous(5));
        update(&recorder, 2).ended(&ambiguous(6));
        let late = update(&recorder, 3);
        assert_eq!(recorder.history().in_doubt(), [token(5), token(6)]);
        assert!(recorder.settle(token(5), Resolved::Applied));
        late.ended(&ambiguous(5));
        assert_eq!(recorder.history().in_doubt(), [token(6)]);
        assert!(recorder.settle(token(5), Resolved::Applied), "the same answer again is no news");
        assert!(!recorder.settle(token(5), Resolved::NotApplied), "another answer breaks the store's word");
        let outcomes: Vec<Outcome> = recorder.history().operations.into_iter().map(|operation| operation.outcome).collect();
        let settled = |at| Outcome::Settled { at, token: token(5), resolved: Resolved::Applied, settled: 6 };
        assert_eq!(outcomes, [settled(2), Outcome::InDoubt { at: 4, token: token(6) }, settled(7)]);
    }

    #[test]
    fn a_call_that_is_dropped_stays_open_and_a_create_in_doubt_gets_its_number() {
        let recorder = Recorder::new();
        drop(update(&recorder, 1));
        recorder.call(1, None, Asked::Create { value: "a".into() }).in_doubt(token(1));
        recorder.call(1, None, Asked::Create { value: "b".into() }).not_done();
        let history = recorder.history();
        assert_eq!(history.operations[0].outcome, Outcome::Open);
        assert_eq!(history.operations[1].number, Some(number(1)));
        assert_eq!(history.by_order()[&number(1)].operations.len(), 2, "what has no number belongs to no order");
    }

    #[test]
    fn a_history_reads_as_lines() {
        let recorder = Recorder::new();
        let version = Version { epoch: 1, counter: 1 };
        recorder.call(1, None, Asked::Create { value: "a\n".into() }).ended(&Ok(Placed::at_once(number(1), version)));
        let call = recorder.call(2, Some(number(1)), Asked::Modify { ran: None });
        let change = call.watch(|_| Change::write("b", ()));
        let _ = change(&Order { number: number(1), version, value: "a\n".into(), stale: false });
        call.in_doubt(token(2));
        recorder.call(2, Some(number(1)), Asked::Read).ended(&Ok(None));
        drop(recorder.call(1, Some(number(1)), Asked::WeakRead { at_least: Some(version) }));
        assert!(recorder.settle(token(2), Resolved::NotApplied));
        let text = recorder.history().to_string();
        let expected = [
            "2000010100000000010074",
            "     1 to      2  session  1: create \"a\\n\": at 1.1",
            "     3 to      8  session  2: modify \"a\\n\" to \"b\": in doubt from 4 at 1.2, settled: not done",
            "     5 to      6  session  2: read: absent",
            "     7 to         session  1: weak read of 1.1 or newer: nothing heard",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}

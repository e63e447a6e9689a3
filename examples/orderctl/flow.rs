//! What is under way between the thread that reads lines and the one that prints numbers: in order, and bounded.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Orders under way. Some groups' worth for several SETs: enough to keep every replica writing, little enough that the
/// last is answered long before its deadline on a slow disk.
const ENTRIES_MAX: usize = 16 * 1024;
/// Bytes of payload under way.
const BYTES_MAX: usize = 16 << 20;
/// How long to knock at a store that is busy with nothing of ours.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait between two knocks at most. Room that we made ourselves is noticed at once.
const BUSY_REST: Duration = Duration::from_millis(10);

/// A line-up. Entries leave it in the order in which they entered.
pub(crate) struct Flow<T> {
    state: Mutex<State<T>>,
    for_taker: Condvar,
    for_sender: Condvar,
}

struct State<T> {
    entries: VecDeque<(T, usize)>,
    /// Sent and not given back: in `entries` or with the taker.
    entries_out: usize,
    bytes_out: usize,
    closed: bool,
    taker_waits: bool,
}

/// What a taker found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// Something.
    Some,
    /// Nothing now; more may come.
    Nothing,
    /// Nothing, and nothing will come.
    End,
}

impl<T> Flow<T> {
    pub(crate) fn new() -> Flow<T> {
        let state = State { entries: VecDeque::new(), entries_out: 0, bytes_out: 0, closed: false, taker_waits: false };
        Flow { state: Mutex::new(state), for_taker: Condvar::new(), for_sender: Condvar::new() }
    }

    /// Calls `send` when there is room and lines its result up. `Err` is a refusal because of too much under way: it is called
    /// again when something was given back, and its refusal is lined up only when that does not help. Breaks once closed.
    ///
    /// `send` runs under the lock. So whatever was sent is lined up, and nothing is sent after `close` returned.
    pub(crate) fn send(&self, bytes: usize, mut send: impl FnMut() -> Result<T, T>) -> ControlFlow<()> {
        let mut state = self.state.lock();
        let mut busy_since = None;
        loop {
            if state.closed {
                return ControlFlow::Break(());
            }
            // A single one always fits, however large.
            if state.entries_out > 0 && (state.entries_out >= ENTRIES_MAX || state.bytes_out + bytes > BYTES_MAX) {
                self.for_sender.wait(&mut state);
                continue;
            }
            let entry = match send() {
                Ok(entry) => entry,
                Err(refusal) => {
                    // What is ours ends by its deadline, and then nothing of ours is out: so this ends.
                    let since = *busy_since.get_or_insert_with(Instant::now);
                    if state.entries_out > 0 || since.elapsed() < BUSY_PATIENCE {
                        let _ = self.for_sender.wait_for(&mut state, BUSY_REST);
                        continue;
                    }
                    refusal
                }
            };
            state.entries.push_back((entry, bytes));
            state.entries_out += 1;
            state.bytes_out += bytes;
            if state.taker_waits {
                state.taker_waits = false;
                self.for_taker.notify_one();
            }
            return ControlFlow::Continue(());
        }
    }

    /// Nothing more is sent; what is lined up can still be taken.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.for_taker.notify_one();
        self.for_sender.notify_one();
    }

    /// Moves everything lined up to `into`, which must be empty.
    pub(crate) fn take(&self, into: &mut VecDeque<(T, usize)>) -> Taken {
        self.taken(&mut self.state.lock(), into)
    }

    /// As `take`, but waits for something or the end.
    pub(crate) fn wait(&self, into: &mut VecDeque<(T, usize)>) -> Taken {
        let mut state = self.state.lock();
        loop {
            let taken = self.taken(&mut state, into);
            if taken != Taken::Nothing {
                return taken;
            }
            state.taker_waits = true;
            self.for_taker.wait(&mut state);
        }
    }

    fn taken(&self, state: &mut State<T>, into: &mut VecDeque<(T, usize)>) -> Taken {
        debug_assert!(into.is_empty(), "entries taken earlier would be mixed with later ones");
        if !state.entries.is_empty() {
            std::mem::swap(&mut state.entries, into);
            return Taken::Some;
        }
        if state.closed { Taken::End } else { Taken::Nothing }
    }

    /// So much of what was taken is answered, and makes room.
    pub(crate) fn give_back(&self, entries: usize, bytes: usize) {
        if entries == 0 {
            return;
        }
        let mut state = self.state.lock();
        state.entries_out -= entries;
        state.bytes_out -= bytes;
        self.for_sender.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn entries_leave_in_order_and_never_too_many_are_out() {
        let flow = Arc::new(Flow::new());
        let sender = std::thread::spawn({
            let flow = Arc::clone(&flow);
            move || {
                for n in 0..100_000usize {
                    assert!(flow.send(1_000, || Ok(n)).is_continue());
                }
                flow.close();
            }
        });
        let (mut batch, mut next) = (VecDeque::new(), 0);
        while flow.wait(&mut batch) == Taken::Some {
            assert!(batch.len() <= ENTRIES_MAX);
            assert!(flow.state.lock().bytes_out <= BYTES_MAX);
            while let Some((n, bytes)) = batch.pop_front() {
                assert_eq!(n, next);
                next += 1;
                flow.give_back(1, bytes);
            }
        }
        assert_eq!(next, 100_000);
        sender.join().expect("the sender's own assertions hold");
    }

    #[test]
    fn a_refusal_is_tried_again_while_something_of_ours_is_out() {
        let flow = Arc::new(Flow::new());
        assert!(flow.send(1, || Ok("first")).is_continue());
        let mut batch = VecDeque::new();
        assert_eq!(flow.take(&mut batch), Taken::Some);
        let taker = std::thread::spawn({
            let flow = Arc::clone(&flow);
            move || flow.give_back(1, 1)
        });
        let mut refusals = 3;
        let sent = flow.send(1, || {
            refusals -= 1;
            if refusals > 0 { Err("refused") } else { Ok("second") }
        });
        assert!(sent.is_continue());
        taker.join().expect("giving back does not fail");
        batch.clear();
        assert_eq!(flow.take(&mut batch), Taken::Some);
        assert_eq!(batch, [("second", 1)]);
    }

    #[test]
    fn nothing_is_sent_after_closing_and_what_was_sent_can_be_taken() {
        let flow = Flow::new();
        assert!(flow.send(1, || Ok(1)).is_continue());
        flow.close();
        assert!(flow.send(1, || -> Result<i32, i32> { panic!("sent after closing") }).is_break());
        let mut batch = VecDeque::new();
        assert_eq!(flow.wait(&mut batch), Taken::Some);
        batch.clear();
        assert_eq!(flow.wait(&mut batch), Taken::End);
    }

    #[test]
    fn one_that_is_larger_than_all_room_goes_alone() {
        let flow = Flow::new();
        assert!(flow.send(BYTES_MAX * 2, || Ok(())).is_continue());
    }
}

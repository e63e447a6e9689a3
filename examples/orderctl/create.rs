//! `create`: each line of standard input becomes an order, and its number a line of standard output.
//!
//! One thread reads lines and sends them; this one waits for the answers in input order and prints. So a number is out as
//! soon as its order and all before it are answered, whether or not more input comes, and many orders are in flight meanwhile.
//!
//! With `--request-key-column` a field of each line is its request key: a line whose key is known gives the number of the first
//! time and adds nothing, so that an input that was cut short can simply be run again.

use crate::exit::Exit;
use crate::flow::{Flow, Taken};
use crate::interrupt::Interrupts;
use crate::key::{self, Keyless};
use crate::lines::{Line, Lines};
use crate::open::VALUE_BYTES_MAX;
use crate::output::{Gone, Output};
use crate::progress::Progress;
use ordermint::{CreateOptions, Error, NotAttempted, OrderStore, Pending, Placed};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// Nobody waits for a single order here, so each may take its time on a slow disk rather than end in doubt.
const DEADLINE: Duration = Duration::from_secs(20);

/// What became of a line.
enum Entry {
    /// Not known yet.
    Waiting(Pending<Placed>),
    /// Known.
    Answered(Result<Placed, Error>),
    /// Not sent, for a reason of our own.
    Keyless(Keyless),
    /// No line: standard input cannot be read any further.
    Unreadable(io::Error),
}

/// Reads, creates and prints until standard input ends, a signal comes or nobody reads what is printed.
pub(crate) fn run(store: &OrderStore, key_column: Option<NonZeroUsize>, interrupts: &Interrupts) -> Result<Exit, Gone> {
    let flow = Arc::new(Flow::new());
    interrupts.on_first({
        let flow = Arc::clone(&flow);
        move || flow.close()
    });
    let reader = std::thread::Builder::new().name("reader".into()).spawn({
        let (store, flow) = (store.clone(), Arc::clone(&flow));
        move || {
            read(&store, key_column, &flow);
            flow.close();
        }
    });
    // Not joined: after a signal it may sit in `read` for ever.
    if let Err(error) = reader {
        crate::complain(&format!("cannot start a thread: {error}"));
        return Ok(Exit::Unable);
    }
    let printed = print(&flow);
    flow.close();
    Ok(printed?.max(interrupts.caught().unwrap_or(Exit::Done)))
}

/// Sends every line of standard input.
fn read(store: &OrderStore, key_column: Option<NonZeroUsize>, flow: &Flow<Entry>) {
    let mut lines = Lines::new(VALUE_BYTES_MAX);
    let mut each = |line: Line<'_>| match line {
        Line::Whole(payload) => flow.send(payload.len(), || send(store, payload, key_column)),
        Line::TooLong { bytes } => {
            let refused = || Err(Error::ValueTooLarge { bytes, max: VALUE_BYTES_MAX });
            flow.send(0, || Ok(Entry::Answered(refused())))
        }
    };
    let mut buffer = vec![0; 64 * 1024];
    let mut input = io::stdin().lock();
    loop {
        let flow = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => lines.feed(&buffer[..bytes], &mut each),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                // Half a line that could not be read to its end is no order.
                let mut error = Some(error);
                let last = || Ok(error.take().map_or(Entry::Answered(Err(Error::Closed)), Entry::Unreadable));
                let _ = flow.send(0, last);
                return;
            }
        };
        if flow.is_break() {
            return;
        }
    }
    let _: ControlFlow<()> = lines.end(&mut each);
}

/// `Err` where there is too much under way, so that it is tried again later.
fn send(store: &OrderStore, payload: &[u8], key_column: Option<NonZeroUsize>) -> Result<Entry, Entry> {
    let mut options = CreateOptions::new().deadline(DEADLINE);
    if let Some(column) = key_column {
        match key::of(payload, column) {
            // Strict: whoever runs it again wants the numbers of the first time, or none.
            Ok(key) => options = options.request_key(key).strict(),
            Err(keyless) => return Ok(Entry::Keyless(keyless)),
        }
    }
    let pending = store.create_with(payload, options);
    // What is refused is answered already; nothing else can be so soon.
    match pending.wait_timeout(Duration::ZERO) {
        Err(pending) => Ok(Entry::Waiting(pending)),
        Ok(busy @ Err(Error::NotAttempted { reason: NotAttempted::Busy { .. } | NotAttempted::KeysBusy { .. } })) => {
            Err(Entry::Answered(busy))
        }
        Ok(answer) => Ok(Entry::Answered(answer)),
    }
}

/// Prints the answers in input order.
fn print(flow: &Flow<Entry>) -> Result<Exit, Gone> {
    let mut printer = Printer { output: Output::new(), progress: Progress::of("orders"), line: 0, exit: Exit::Done };
    let mut batch = VecDeque::new();
    loop {
        let taken = match flow.take(&mut batch) {
            Taken::Nothing => {
                // Nothing to go on with: what is known must not wait for more input.
                printer.output.flush()?;
                flow.wait(&mut batch)
            }
            taken => taken,
        };
        if taken == Taken::End {
            printer.output.flush()?;
            return Ok(printer.exit);
        }
        printer.print(flow, &mut batch)?;
    }
}

struct Printer {
    output: Output,
    progress: Progress,
    /// Lines answered so far.
    line: u64,
    exit: Exit,
}

impl Printer {
    /// Room is given back when so many were answered, or when there is a wait.
    const GIVE_BACK: usize = 256;

    fn print(&mut self, flow: &Flow<Entry>, batch: &mut VecDeque<(Entry, usize)>) -> Result<(), Gone> {
        let (mut entries, mut room) = (0, 0);
        while let Some((entry, bytes)) = batch.pop_front() {
            let answer = match entry {
                Entry::Answered(answer) => answer.map_err(|error| error.to_string()),
                Entry::Keyless(keyless) => Err(keyless.to_string()),
                Entry::Waiting(pending) => match pending.wait_timeout(Duration::ZERO) {
                    Ok(answer) => answer,
                    Err(pending) => {
                        flow.give_back(std::mem::take(&mut entries), std::mem::take(&mut room));
                        self.output.flush()?;
                        pending.wait()
                    }
                }
                .map_err(|error| error.to_string()),
                Entry::Unreadable(error) => {
                    self.progress.complain(&format!("cannot read standard input: {error}"));
                    self.exit = self.exit.max(Exit::Unable);
                    continue;
                }
            };
            self.answer(answer)?;
            (entries, room) = (entries + 1, room + bytes);
            if entries >= Self::GIVE_BACK {
                flow.give_back(std::mem::take(&mut entries), std::mem::take(&mut room));
            }
        }
        flow.give_back(entries, room);
        Ok(())
    }

    fn answer(&mut self, answer: Result<Placed, String>) -> Result<(), Gone> {
        self.line += 1;
        self.progress.add(1);
        match answer {
            Ok(placed) => self.output.line(&[placed.number.encode_str(&mut [0; 22]).as_bytes()]),
            Err(reason) => {
                self.exit = self.exit.max(Exit::AnsweredNo);
                self.progress.complain(&format!("line {}: {reason}", self.line));
                self.output.line(&[b"-"])
            }
        }
    }
}

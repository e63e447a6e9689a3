//! SIGINT and SIGTERM: end at once, or finish first what is in flight.

use crate::exit::Exit;
use parking_lot::Mutex;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What has to be done when a signal comes; called at most once, on the thread that waits for signals.
type Stop = Box<dyn FnOnce() + Send>;

/// Waits for signals. Until [`Interrupts::on_first`] is called a signal ends the program at once: nothing is in flight then.
#[derive(Clone)]
pub(crate) struct Interrupts {
    caught: Arc<AtomicU8>,
    stop: Arc<Mutex<Option<Stop>>>,
}

impl Interrupts {
    /// Starts the thread that waits.
    pub(crate) fn install() -> io::Result<Interrupts> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let interrupts = Interrupts { caught: Arc::new(AtomicU8::new(0)), stop: Arc::new(Mutex::new(None)) };
        let ours = interrupts.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                let signal = u8::try_from(signal).unwrap_or(0);
                let stop = ours.stop.lock().take();
                match stop {
                    Some(stop) => {
                        ours.caught.store(signal, Ordering::Release);
                        stop();
                    }
                    // Nothing is in flight, or somebody lost patience.
                    None => std::process::exit(i32::from(Exit::Interrupted(signal).code())),
                }
            }
        })?;
        Ok(interrupts)
    }

    /// From now on the first signal calls `stop`, and the second ends the program.
    pub(crate) fn on_first(&self, stop: impl FnOnce() + Send + 'static) {
        *self.stop.lock() = Some(Box::new(stop));
    }

    /// How to end, if a signal came.
    pub(crate) fn caught(&self) -> Option<Exit> {
        match self.caught.load(Ordering::Acquire) {
            0 => None,
            signal => Some(Exit::Interrupted(signal)),
        }
    }
}

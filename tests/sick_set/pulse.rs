//! Whether the machine stood still. A create has two seconds; where nobody got a turn for a good part of them, that it is late says
//! nothing of the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(10);
/// Nothing that goes well takes so long.
const LONG: Duration = Duration::from_millis(300);

/// A thread that does nothing but look at the clock.
pub(crate) struct Pulse {
    beats: Arc<Beats>,
    thread: Option<JoinHandle<()>>,
}

struct Beats {
    ended: AtomicBool,
    /// The last beat, and from when to when there was none for long.
    seen: parking_lot::Mutex<(Instant, Vec<(Instant, Instant)>)>,
}

impl Pulse {
    pub(crate) fn start() -> Pulse {
        let seen = parking_lot::Mutex::new((Instant::now(), Vec::new()));
        let beats = Arc::new(Beats { ended: AtomicBool::new(false), seen });
        let beating = Arc::clone(&beats);
        let beat = move || {
            while !beating.ended.load(Ordering::SeqCst) {
                std::thread::sleep(EVERY);
                let mut seen = beating.seen.lock();
                let (last, now) = (seen.0, Instant::now());
                if now - last > LONG {
                    seen.1.push((last, now));
                }
                seen.0 = now;
            }
        };
        Pulse { beats, thread: Some(std::thread::spawn(beat)) }
    }

    /// Nobody got a turn for long, at some time since `began`.
    pub(crate) fn stood_still_since(&self, began: Instant) -> bool {
        let seen = self.beats.seen.lock();
        seen.0.elapsed() > LONG || seen.1.iter().any(|(_, to)| *to > began)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.beats.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it only looks at the clock");
        }
    }
}

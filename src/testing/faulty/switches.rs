//! The switches of a replica that misbehaves on command: what is to go wrong, how often, and until when.

use crate::order::{Day, OrderNumber};
use crate::replica::{Damage, ReplicaError};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The switches of a [`Faulty`](super::Faulty) replica; shared by all clones, and by replicas opened later with the same ones.
///
/// A call first hangs or is delayed, as the switches say when it begins. Then it panics or fails, as they say by then: a call
/// that hangs can still be made to fail.
#[derive(Clone, Default)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    switches: Mutex<Switches>,
    released: Condvar,
}

#[derive(Default, Debug)]
pub(super) struct Switches {
    pub(super) apply: Plan,
    pub(super) read: Plan,
    fail_after_apply: usize,
    hang_after_apply: bool,
    fail_claims: usize,
    fill_disk: bool,
    /// Counted up by each release: whoever waits, waits for it to change, so that a hang switched on again right after a
    /// release does not keep those that the release was meant for.
    releases: u64,
    lies: BTreeMap<OrderNumber, Lie>,
}

/// What happens to one kind of call.
#[derive(Default, Debug)]
pub(super) struct Plan {
    calls: usize,
    hang: bool,
    delay: Duration,
    panics: usize,
    failures: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lie {
    Damaged,
    Absent,
}

impl Faults {
    /// No faults.
    #[must_use]
    pub fn new() -> Faults {
        Faults::default()
    }

    /// The next `apply` calls fail, before anything is written.
    pub fn fail_applies(&self, count: usize) {
        self.set(|switches| switches.apply.failures = count);
    }

    /// The next `apply` calls write and sync, and then report failure.
    pub fn fail_after_apply(&self, count: usize) {
        self.set(|switches| switches.fail_after_apply = count);
    }

    /// The next `claim` calls fail, before anything is written.
    pub fn fail_claims(&self, count: usize) {
        self.set(|switches| switches.fail_claims = count);
    }

    /// Each `apply` takes this much longer.
    pub fn delay_applies(&self, delay: Duration) {
        self.set(|switches| switches.apply.delay = delay);
    }

    /// Each `get`, `scan`, `digest`, `keyed`, `keys` and `noted` takes this much longer.
    pub fn delay_reads(&self, delay: Duration) {
        self.set(|switches| switches.read.delay = delay);
    }

    /// `apply` does not return until [`Faults::release`]; then it does what it was asked. It never ends by itself.
    pub fn hang_applies(&self) {
        self.set(|switches| switches.apply.hang = true);
    }

    /// `apply` does what it was asked, and then does not return until [`Faults::release`]: it is done, and nobody hears of it.
    pub fn hang_answers(&self) {
        self.set(|switches| switches.hang_after_apply = true);
    }

    /// `get`, `scan`, `digest`, `keyed`, `keys` and `noted` do not return until [`Faults::release`]; then they answer. They never end by themselves.
    pub fn hang_reads(&self) {
        self.set(|switches| switches.read.hang = true);
    }

    /// Ends hanging and delays, also of calls under way.
    pub fn release(&self) {
        self.set(|switches| {
            for plan in [&mut switches.apply, &mut switches.read] {
                plan.hang = false;
                plan.delay = Duration::ZERO;
            }
            switches.hang_after_apply = false;
            switches.releases += 1;
        });
        self.shared.released.notify_all();
    }

    /// The next `apply` calls panic, before anything is written.
    pub fn panic_applies(&self, count: usize) {
        self.set(|switches| switches.apply.panics = count);
    }

    /// The next `get`, `scan`, `digest`, `keyed`, `keys` and `noted` calls panic.
    pub fn panic_reads(&self, count: usize) {
        self.set(|switches| switches.read.panics = count);
    }

    /// The next `get`, `scan`, `digest`, `keyed`, `keys` and `noted` calls fail.
    pub fn fail_reads(&self, count: usize) {
        self.set(|switches| switches.read.failures = count);
    }

    /// The next `apply` call reports that the disk is full, and writes nothing.
    pub fn fill_disk(&self) {
        self.set(|switches| switches.fill_disk = true);
    }

    /// `get` and `scan` say that `number` is damaged, whether it is held or not, and `digest` counts it as damaged, until
    /// [`Faults::mend`]; `noted` tells nothing but the number. Writing it again does not end this.
    pub fn damage_reads_of(&self, number: OrderNumber) {
        self.set(|switches| switches.lies.insert(number, Lie::Damaged));
    }

    /// `get`, `scan`, `digest`, `keyed`, `keys` and `noted` answer as if `number` had never been written, until [`Faults::mend`]: a loss that leaves no
    /// trace. Writing it again does not end this.
    pub fn forget(&self, number: OrderNumber) {
        self.set(|switches| switches.lies.insert(number, Lie::Absent));
    }

    /// Ends [`Faults::damage_reads_of`] and [`Faults::forget`] for `number`.
    pub fn mend(&self, number: OrderNumber) {
        self.set(|switches| switches.lies.remove(&number));
    }

    /// How often `apply` was called, those calls counted that hang or failed.
    #[must_use]
    pub fn applies(&self) -> usize {
        self.shared.switches.lock().apply.calls
    }

    /// How often `get`, `scan`, `digest`, `keyed`, `keys` and `noted` were called, those calls counted that hang or failed.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.shared.switches.lock().read.calls
    }

    fn set<T>(&self, change: impl FnOnce(&mut Switches) -> T) {
        change(&mut self.shared.switches.lock());
    }

    /// What a call does before it does its work.
    pub(super) fn begin(&self, call: &'static str, plan_of: fn(&mut Switches) -> &mut Plan) -> Result<(), ReplicaError> {
        let mut switches = self.shared.switches.lock();
        let plan = plan_of(&mut switches);
        plan.calls += 1;
        // A delay beyond what the clock can show is a hang.
        let until = if plan.hang { None } else { Instant::now().checked_add(plan.delay) };
        let releases = switches.releases;
        // Ends with a release, or with the delay.
        while switches.releases == releases {
            match until {
                None => self.shared.released.wait(&mut switches),
                Some(until) if self.shared.released.wait_until(&mut switches, until).timed_out() => break,
                Some(_) => {}
            }
        }
        let plan = plan_of(&mut switches);
        let (panics, fails) = (take_one(&mut plan.panics), take_one(&mut plan.failures));
        drop(switches);
        assert!(!panics, "a panic in {call} was asked for");
        if fails { Err(failed(call)) } else { Ok(()) }
    }

    /// What an `apply` does before it answers.
    pub(super) fn before_answer(&self) {
        let mut switches = self.shared.switches.lock();
        let releases = switches.releases;
        while switches.hang_after_apply && switches.releases == releases {
            self.shared.released.wait(&mut switches);
        }
    }

    /// Whether an `apply` finds the disk full, and whether it fails when all is written.
    pub(super) fn take_apply_faults(&self) -> (bool, bool) {
        let mut switches = self.shared.switches.lock();
        (std::mem::take(&mut switches.fill_disk), take_one(&mut switches.fail_after_apply))
    }

    /// Whether a `claim` fails.
    pub(super) fn take_claim_fault(&self) -> bool {
        take_one(&mut self.shared.switches.lock().fail_claims)
    }

    /// How many numbers are lied about.
    pub(super) fn lies(&self) -> usize {
        self.shared.switches.lock().lies.len()
    }

    pub(super) fn lie(&self, number: OrderNumber) -> Option<Lie> {
        self.shared.switches.lock().lies.get(&number).copied()
    }

    pub(super) fn lies_about(&self, day: Day) -> Vec<(OrderNumber, Lie)> {
        let switches = self.shared.switches.lock();
        switches.lies.iter().filter(|(number, _)| number.day() == day).map(|(number, lie)| (*number, *lie)).collect()
    }
}

fn take_one(count: &mut usize) -> bool {
    let taken = *count > 0;
    *count = count.saturating_sub(1);
    taken
}

pub(super) fn failed(action: &'static str) -> ReplicaError {
    let message = "a failure was asked for".to_owned();
    ReplicaError::Io { action, path: here(), kind: ErrorKind::Other, message }
}

pub(super) fn asked_for() -> Damage {
    Damage::Record { reason: "damage was asked for".to_owned() }
}

/// What stands where other replicas name a file.
pub(super) fn here() -> PathBuf {
    PathBuf::from("(faulty)")
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.shared.switches.lock(), f)
    }
}

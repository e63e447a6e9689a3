//! Those who use the store, each on a thread of its own.

use crate::tally::Tally;
use crate::world::{AGES, Life, World};
use ordermint::testing::{Asked, Call, Recordable, Recorder};
use ordermint::{Change, CreateOptions, Error, OrderNumber, Pending, ReadOptions, Resolved, Version, WriteOptions, WriteToken};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Orders that are worked on, and how many of them are made before anything else.
const ORDERS: usize = 50;
const FIRST_ORDERS: usize = 30;
/// The most that a session asks for in one history: what is checked has a bound.
const OPERATIONS_MAX: u64 = 600;
/// What a closure that panics says.
pub(crate) const ASKED_FOR: &str = "was asked for";

/// What sessions share.
pub(crate) struct Desk<'a> {
    pub(crate) world: &'a World,
    pub(crate) recorder: Recorder,
    pub(crate) orders: Mutex<Vec<OrderNumber>>,
    pub(crate) closing_time: AtomicBool,
    pub(crate) tally: &'a Tally,
}

pub(crate) struct Session<'a> {
    desk: &'a Desk<'a>,
    id: u64,
    rng: fastrand::Rng,
    /// The newest version of each order that it wrote or saw.
    seen: HashMap<OrderNumber, Version>,
    /// What was left in doubt and it has not settled.
    doubts: Vec<WriteToken>,
    asked: u64,
}

impl<'a> Session<'a> {
    pub(crate) fn new(desk: &'a Desk<'a>, id: u64, rng: fastrand::Rng) -> Session<'a> {
        Session { desk, id, rng, seen: HashMap::new(), doubts: Vec::new(), asked: 0 }
    }

    pub(crate) fn run(mut self) {
        while !self.desk.closing_time.load(Ordering::SeqCst) && self.asked < OPERATIONS_MAX {
            let life = self.desk.world.life();
            let order = self.an_order();
            match (order, self.rng.u32(..100)) {
                (None, _) | (_, ..4) => self.create(&life),
                (Some(number), ..36) => self.update(&life, number),
                (Some(number), ..56) => self.modify(&life, number, 1),
                (Some(number), ..62) => self.modify(&life, number, 4),
                (Some(number), ..80) => self.read(&life, number, Asked::Read, ReadOptions::strong()),
                (Some(number), ..94) => self.weak_read(&life, number),
                _ => self.settle_one(&life),
            }
            std::thread::sleep(Duration::from_micros(self.rng.u64(..1_500)));
        }
    }

    /// Some orders are asked for far more often than others. None while there are too few.
    fn an_order(&mut self) -> Option<OrderNumber> {
        let orders = self.desk.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = orders.len() >= FIRST_ORDERS;
        let some = if self.rng.bool() { orders.len().min(4) } else { orders.len() };
        (enough || (some > 0 && self.rng.bool())).then(|| orders[self.rng.usize(..some)])
    }

    /// Payloads are never used twice: what is read tells who wrote it.
    fn payload(&mut self) -> String {
        self.asked += 1;
        format!("s{}.{}", self.id, self.asked)
    }

    /// Short, so that what hangs is not waited for to its end.
    fn patience(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(20..120))
    }

    fn call(&self, number: Option<OrderNumber>, asked: Asked) -> Call {
        self.desk.recorder.call(self.id, number, asked)
    }

    fn create(&mut self, life: &Life) {
        if self.desk.orders.lock().unwrap_or_else(PoisonError::into_inner).len() >= ORDERS {
            return;
        }
        let payload = self.payload();
        let call = self.call(None, Asked::Create { value: payload.clone().into() });
        let pending = life.store.create_with(&payload, CreateOptions::new().deadline(self.patience()));
        let result = self.ends(life, call, pending, "creates");
        let number = match result {
            Some(Ok(placed)) => {
                self.saw(placed.number, placed.version);
                placed.number
            }
            // What is in doubt is worked on like the others.
            Some(Err(Error::Ambiguous { token, .. })) => token.number,
            _ => return,
        };
        self.desk.orders.lock().unwrap_or_else(PoisonError::into_inner).push(number);
    }

    fn update(&mut self, life: &Life, number: OrderNumber) {
        let Some(&expected) = self.seen.get(&number) else {
            return self.read(life, number, Asked::Read, ReadOptions::strong());
        };
        let payload = self.payload();
        let call = self.call(Some(number), Asked::Update { expected, value: payload.clone().into() });
        let pending = life.store.update_with(number, expected, &payload, WriteOptions::new().deadline(self.patience()));
        match self.ends(life, call, pending, "updates") {
            Some(Ok(version)) => self.saw(number, version),
            Some(Err(Error::VersionMismatch { actual, .. })) => self.saw(number, actual),
            _ => {}
        }
    }

    /// Several closures at once may share a write.
    fn modify(&mut self, life: &Life, number: OrderNumber, count: usize) {
        let (patience, mut under_way) = (self.patience(), Vec::new());
        for _ in 0..count {
            let payload = self.payload();
            let (keeps, panics, dawdles) = (self.rng.u32(..8) == 0, self.rng.u32(..40) == 0, self.rng.u32(..40) == 0);
            let call = self.call(Some(number), Asked::Modify { ran: None });
            let change = call.watch(move |_| {
                assert!(!panics, "a panic {ASKED_FOR}");
                if dawdles {
                    std::thread::sleep(Duration::from_millis(2));
                }
                if keeps { Change::keep(()) } else { Change::write(payload, ()) }
            });
            under_way.push((call, life.store.modify_with(number, WriteOptions::new().deadline(patience), change)));
        }
        let mut versions = Vec::new();
        for (call, pending) in under_way {
            if let Some(Ok(modified)) = self.ends(life, call, pending, "modifies") {
                let shared = modified.written && versions.contains(&modified.version);
                versions.extend(modified.written.then_some(modified.version));
                self.desk.tally.add(if shared { "modifies that shared a write" } else { "modifies with one of their own" });
                self.saw(number, modified.version);
            }
        }
    }

    fn weak_read(&mut self, life: &Life, number: OrderNumber) {
        let at_least = self.seen.get(&number).copied().filter(|_| self.rng.u32(..4) > 0);
        let degraded = self.rng.u32(..5) == 0;
        let (asked, mut options) = match degraded {
            false => (Asked::WeakRead { at_least }, ReadOptions::weak()),
            true => (Asked::DegradedRead { at_least }, ReadOptions::degraded()),
        };
        if let Some(version) = at_least {
            options = options.at_least(version);
        }
        self.read(life, number, asked, options);
    }

    fn read(&mut self, life: &Life, number: OrderNumber, asked: Asked, options: ReadOptions) {
        self.asked += 1;
        let what = match asked {
            Asked::WeakRead { .. } => "weak reads",
            Asked::DegradedRead { .. } => "degraded reads",
            _ => "strong reads",
        };
        let call = self.call(Some(number), asked);
        let pending = life.store.get_with(number, options.deadline(self.patience()));
        if let Some(Ok(Some(order))) = self.ends(life, call, pending, what) {
            if order.stale {
                self.desk.tally.add("reads marked stale");
            }
            self.saw(number, order.version);
        }
    }

    fn settle_one(&mut self, life: &Life) {
        let Some(token) = self.doubts.pop() else { return };
        self.asked += 1;
        let result = life.store.resolve(token).wait_timeout(AGES).unwrap_or_else(|_| panic!("resolving {token} never ends"));
        match result {
            Ok(resolved) if !life.was_killed() => {
                assert!(self.desk.recorder.settle(token, resolved), "{token} was settled otherwise before than {resolved:?}");
                self.desk.tally.add(match resolved {
                    Resolved::Applied => "settled as done",
                    Resolved::NotApplied => "settled as not done",
                });
            }
            Err(Error::Superseded { .. }) => self.desk.tally.add("superseded meanwhile"),
            _ => self.doubts.push(token),
        }
    }

    fn saw(&mut self, number: OrderNumber, version: Version) {
        let seen = self.seen.entry(number).or_insert(version);
        *seen = version.max(*seen);
    }

    /// Waits for the answer and writes it down. `None` where the program was killed: nobody heard it then.
    fn ends<T: Recordable>(
        &mut self,
        life: &Life,
        call: Call,
        pending: Pending<T>,
        what: &'static str,
    ) -> Option<Result<T, Error>> {
        let result = pending.wait_timeout(AGES).unwrap_or_else(|_| panic!("one of the {what} never ends"));
        let tally = self.desk.tally;
        if life.was_killed() {
            tally.add("operations cut off by a kill");
            return None;
        }
        tally.add(what);
        if let Err(error) = &result {
            tally.add(kind(error));
            if let Error::Ambiguous { token, .. } = error {
                self.doubts.push(*token);
            }
            assert!(!matches!(error, Error::Diverged { .. } | Error::Corrupt { .. }), "{what}: {error}");
        }
        call.ended(&result);
        Some(result)
    }
}

/// What is counted of an error.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Ambiguous { .. } => "Ambiguous",
        Error::VersionMismatch { .. } => "VersionMismatch",
        Error::NotAttempted { .. } => "NotAttempted",
        Error::NoSuchOrder { .. } => "NoSuchOrder",
        Error::ModifyPanicked { .. } => "ModifyPanicked",
        Error::Stale { .. } => "Stale",
        Error::Closed => "Closed",
        Error::QuorumLost { .. } => "QuorumLost",
        Error::DeadlineExceeded { .. } => "DeadlineExceeded",
        Error::Unconfirmed { .. } => "Unconfirmed",
        _ => "other errors",
    }
}

//! Leasing sequences from the SET's own replicas: carries out what [`LeaseBook`] decides, by majority.

use super::coordinator::Event;
use crate::order::{Block, Day, LeaseAction, LeaseBook, LeaseEvent, OrderNumber};
use crate::quorum::{Tally, Verdict};
use crate::replica::ReplicaError;
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::{Done, Job, Lane};
use crate::time::Now;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A lease mark that is not durable on a majority by then is given up; its sequences are never used.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// The key under which replicas keep one past the last sequence ever leased of a day.
pub(crate) const LEASE_PREFIX: &str = "lease/";

/// The leases of a SET. `None` for the book where the SET has no claimed epoch and mints nothing.
pub(crate) struct Leases {
    book: Option<LeaseBook>,
    fetches: BTreeMap<u64, Fetch>,
    count: u64,
    /// One past the last sequence that was ever asked for, by day.
    marks: BTreeMap<Day, u64>,
    /// The clock is not believed, or what is installed is of another day: nothing is minted.
    paused: bool,
}

struct Fetch {
    block: Block,
    tally: Tally,
    deadline: Instant,
}

impl Leases {
    pub(crate) fn new(core: &Core, marks: &[(Day, u64)]) -> Leases {
        let book = (core.epoch() > 0)
            .then(|| LeaseBook::new(core.id, core.settings.utc_offset_minutes, marks, *core.floor.lock(), now(core)));
        Leases { book, fetches: BTreeMap::new(), count: 0, marks: marks.iter().copied().collect(), paused: false }
    }

    /// One past the last sequence that can have been given out, by day.
    pub(crate) fn marks(&self) -> &BTreeMap<Day, u64> {
        &self.marks
    }

    /// Hands the newest marks to a replica that was not given them while it was away. Nothing depends on it: a majority has them.
    pub(crate) fn hand_over(&self, lane: &Lane) {
        for (day, mark) in self.marks.iter().rev().take(2) {
            let _ = lane.push(mark_job(*day, *mark, Box::new(|_, _| ())));
        }
    }

    pub(crate) fn begin(&mut self, core: &Core) {
        self.feed(core, LeaseEvent::Tick { left: 0 });
    }

    pub(crate) fn accept_clock(&mut self, core: &Core) {
        self.feed(core, LeaseEvent::ClockAccepted);
    }

    /// Replicas vote again. What failed without them is not to keep creates waiting for seconds more.
    pub(crate) fn hasten(&mut self, core: &Core) {
        self.feed(core, LeaseEvent::ReplicasBack);
    }

    /// Looks at the clock and the stock; returns when to come again.
    pub(crate) fn step(&mut self, core: &Core, at: Instant) -> Instant {
        let late: Vec<u64> = self.fetches.iter().filter(|(_, fetch)| fetch.deadline <= at).map(|(id, _)| *id).collect();
        for id in late {
            self.fail(core, id);
        }
        self.feed(core, LeaseEvent::Tick { left: core.mint.left() });
        let Some(book) = &self.book else { return at + FETCH_TIMEOUT };
        let now = now(core);
        let wait = book.next_tick_ms(now).saturating_sub(now.boot_ms).max(1);
        let tick = at + Duration::from_millis(wait.min(60_000));
        self.fetches.values().map(|fetch| fetch.deadline).fold(tick, Instant::min)
    }

    /// A replica answered.
    pub(crate) fn written(&mut self, core: &Core, id: u64, index: u8, good: bool) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        match fetch.tally.record(index, good) {
            Verdict::Pending => {}
            Verdict::Reached => {
                let block = fetch.block;
                self.fetches.remove(&id);
                self.feed(core, LeaseEvent::Fetched(block));
            }
            Verdict::Lost => self.fail(core, id),
        }
    }

    fn fail(&mut self, core: &Core, id: u64) {
        if let Some(fetch) = self.fetches.remove(&id) {
            self.feed(core, LeaseEvent::FetchFailed { day: fetch.block.day });
        }
    }

    fn feed(&mut self, core: &Core, event: LeaseEvent) {
        let Some(book) = &mut self.book else { return };
        let actions = book.step(event, now(core));
        *core.mint_state.lock() = book.state();
        let (midnight_ms, can_mint) = (book.midnight_ms(), book.can_mint());
        let installs = actions.iter().any(|action| matches!(action, LeaseAction::Install(_)));
        match (self.paused, can_mint) {
            (false, false) => core.mint.pause(),
            // An install ends a pause by itself; before it, what is left of an earlier day must not come back to life.
            (true, true) if !installs => core.mint.resume(),
            _ => {}
        }
        self.paused = !can_mint;
        for action in actions {
            match action {
                LeaseAction::Install(block) => {
                    core.mint.install(block, midnight_ms);
                    *core.minting_on.lock() = Some(block.day);
                    core.send_parked();
                }
                LeaseAction::Fetch { block } => self.fetch(core, block),
            }
        }
    }

    fn fetch(&mut self, core: &Core, block: Block) {
        self.count += 1;
        let id = self.count;
        let voters = core.voters();
        // By majority whatever R and W say: two coordinators can then never lease the same block.
        let tally = Tally::new(core.quorum.majority_of_n(), voters);
        let lost = tally.verdict() == Verdict::Lost;
        self.fetches.insert(id, Fetch { block, tally, deadline: Instant::now() + FETCH_TIMEOUT });
        if lost {
            return self.fail(core, id);
        }
        let mark = self.marks.entry(block.day).or_default();
        *mark = block.end.max(*mark);
        for index in voters.iter() {
            let Some(post) = core.poster() else { return };
            let done = Box::new(move |index, result: Result<(), ReplicaError>| {
                post(Event::LeaseWritten { fetch: id, index, good: result.is_ok() });
            });
            if core.lane(index).push(mark_job(block.day, block.end, done)).is_err() {
                core.post(Event::LeaseWritten { fetch: id, index, good: false });
            }
        }
    }
}

fn mark_job(day: Day, mark: u64, done: Done) -> Job {
    Job::Meta { key: format!("{LEASE_PREFIX}{day}"), value: Bytes::copy_from_slice(&mark.to_be_bytes()), done }
}

/// One past the last sequence leased of a day, from what a replica keeps. `None` for what we cannot have written.
pub(crate) fn decode_mark(key: &str, value: &[u8]) -> Option<(Day, u64)> {
    let day = key.strip_prefix(LEASE_PREFIX)?.parse().ok()?;
    let mark = u64::from_be_bytes(value.try_into().ok()?);
    (mark <= OrderNumber::SEQUENCE_MAX + 1).then_some((day, mark))
}

fn now(core: &Core) -> Now {
    Now { wall_ms: core.clock.wall_ms(), boot_ms: core.clock.boot_ms() }
}

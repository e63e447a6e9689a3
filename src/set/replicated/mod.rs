//! A SET kept by quorum on replicas of its own.
//!
//! Threads, all of this SET alone: for each replica a worker that writes and a reader that reads (`lanes/`), a coordinator
//! that keeps deadlines, leases and comparisons, and a notifier on which callers' wakers run (both in `upkeep/`). Callers' threads
//! only mint, queue and leave (`writes/`, `reads/`).
//!
//! Locks, in the order in which they may be held together: submit, then one of {roles, a queue, missed writes, a create's state,
//! mint state, mail, notifier, turns, doubts}; the SET map or the floor asked for, then a queue; a page's state, then submit, doubts, recent
//! orders or a read's state; the state of a look-up of a key, then doubts, floor, or one of those that follow; a read's state, then one
//! of {roles, queue, ranges, timers, notifier}; turns, then a batch; roles (`Core::roles`), then a lane's role. No lock is held while
//! a replica is called, or a waker, or a closure.

mod lanes;
mod panics;
mod reads;
mod shard;
mod upkeep;
mod writes;

pub(crate) use lanes::lane::{Reopen, Role};
pub(crate) use lanes::worker::{guarded, marks_of, standing_of};
pub(crate) use upkeep::open::{
    LaneSeed, Opened, claim_epoch, each_at_once, raise_above_held, read_floor, read_lease_marks, witness_rollbacks,
};

use self::lanes::lane::Lane;
use self::reads::recent::Recent;
use self::upkeep::coordinator::{Closing, Event, Mail, Timers};
use self::upkeep::notify::{InFlight, Notifier};
use self::upkeep::regroup::Regroup;
use self::writes::closures::Closures;
use self::writes::create::Submit;
use self::writes::doubts::Doubts;
use self::writes::turns::Turns;
use crate::config::{Quorum, Settings};
use crate::error::Error;
use crate::heal::RangeBook;
use crate::order::{Day, MintCore, MintState, OrderNumber, SetId};
use crate::pending::{Promise, mark_as_ours};
use crate::quorum::Mask;
use crate::replica::{ReplicaError, Version};
use crate::set::{Compared, Listener, ReplicaState, ReplicaStatus, ShardStatus};
use crate::time::{Clock, GuardedClock};
use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// What a SET is started with: replicas opened, their roles decided, an epoch claimed where that was possible.
pub(crate) struct Seed {
    pub(crate) id: SetId,
    pub(crate) quorum: Quorum,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) listener: Arc<dyn Listener>,
    /// 0 where too few replicas could be claimed.
    pub(crate) epoch: u32,
    pub(crate) lanes: Vec<LaneSeed>,
    /// One past the last sequence ever leased, by day.
    pub(crate) lease_marks: Vec<(Day, u64)>,
    /// The last day given up.
    pub(crate) floor: Option<Day>,
    /// What every replica of the SET keeps and none may lose for good, since no order is written without it: the SET map.
    /// The key it is kept under, and its bytes; `None` where no replica could say them.
    pub(crate) map: (String, Option<Bytes>),
    /// Not to be written over one that a replica has when it returns.
    pub(crate) map_yields: bool,
}

/// The handle of a SET kept by quorum.
pub(crate) struct ReplicatedSet {
    core: Arc<Core>,
}

/// What the threads of a SET share.
pub(crate) struct Core {
    me: Weak<Core>,
    id: SetId,
    quorum: Quorum,
    settings: Settings,
    clock: Arc<dyn Clock>,
    listener: Arc<dyn Listener>,
    /// 0 while none is claimed. A later one is claimed when a replica comes back.
    epoch: AtomicU32,
    /// The first epoch of this process; of no meaning before one is claimed.
    first_epoch: AtomicU32,
    /// By index. A replica that returns gets a new lane.
    lanes: Vec<ArcSwap<Lane>>,
    /// The lanes that vote, as bits; derived from their roles, by whoever holds `roles`.
    voting: AtomicU16,
    roles: Mutex<()>,
    /// The SET map: its key, and its bytes as they are now.
    map: (String, Mutex<Option<Bytes>>),
    map_yields: bool,
    submit: Mutex<Submit>,
    /// Set under the submit lock, read without it.
    closed_to_new: AtomicBool,
    turns: Turns,
    doubts: Mutex<Doubts>,
    recent: Recent,
    /// How often doubts began to be settled, and were settled by a write.
    copies: AtomicU64,
    closures: Closures,
    mint: MintCore,
    mint_state: Mutex<MintState>,
    minting_on: Mutex<Option<Day>>,
    /// The last day given up.
    floor: Mutex<Option<Day>>,
    /// The highest floor that anybody asked for in this process, whether it is durable yet or not.
    floor_asked: Mutex<Option<Day>>,
    in_flight: Arc<InFlight>,
    notifier: Notifier,
    mail: Mail,
    timers: Mutex<Timers>,
    ranges: Mutex<RangeBook>,
    /// Who waits for the first comparison; `None` once it is over.
    awaiting_comparison: Mutex<Option<Vec<Promise<Compared>>>>,
    closing: Mutex<Closing>,
    /// Orders acknowledged under this epoch, by day; the newest few days.
    created: Mutex<BTreeMap<Day, u64>>,
    /// Where the next read begins to ask.
    start: AtomicU8,
}

impl ReplicatedSet {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`Error::System`] when the system gives no more threads.
    pub(crate) fn start(seed: Seed) -> Result<ReplicatedSet, Error> {
        let Seed { id, quorum, settings, clock, listener, epoch, lanes, lease_marks, floor, map, map_yields } = seed;
        let seen = upkeep::open::seen_by_peers(&lanes);
        let lane = |((index, seed), seen): ((u8, LaneSeed), u64)| {
            let lane = Lane::new(index, seed, epoch, &settings);
            // What peers know of a replica that is not there is handed on, or the next group would make them forget it.
            lane.synced_group.fetch_max(seen, Ordering::Relaxed);
            ArcSwap::from_pointee(lane)
        };
        let lanes = (0u8..).zip(lanes).zip(seen).map(lane).collect();
        let in_flight = Arc::new(InFlight::new(settings.in_flight_max, settings.in_flight_bytes_max));
        let core = Arc::new_cyclic(|me| Core {
            me: me.clone(),
            id,
            quorum,
            settings,
            clock: Arc::new(GuardedClock::new(clock)),
            listener: Arc::clone(&listener),
            epoch: AtomicU32::new(epoch),
            first_epoch: AtomicU32::new(epoch),
            lanes,
            voting: AtomicU16::new(0),
            roles: Mutex::default(),
            map: (map.0, Mutex::new(map.1)),
            map_yields,
            submit: Mutex::default(),
            closed_to_new: AtomicBool::new(false),
            turns: Turns::default(),
            doubts: Mutex::default(),
            recent: Recent::new(settings.recent_bytes),
            copies: AtomicU64::new(0),
            closures: Closures::default(),
            // The next block is fetched at half, not when somebody finds nothing.
            mint: MintCore::with_alarm(id, {
                let me = me.clone();
                move || me.upgrade().into_iter().for_each(|core| core.post(Event::Wake))
            }),
            mint_state: Mutex::new(MintState::Ready),
            minting_on: Mutex::new(None),
            floor: Mutex::new(floor),
            floor_asked: Mutex::new(floor),
            notifier: Notifier::new(Arc::clone(&in_flight), listener),
            in_flight,
            mail: Mail::default(),
            timers: Mutex::default(),
            ranges: Mutex::default(),
            awaiting_comparison: Mutex::new(Some(Vec::new())),
            closing: Mutex::default(),
            created: Mutex::default(),
            start: AtomicU8::new(0),
        });
        core.refresh_voters();
        let set = ReplicatedSet { core };
        // Without a coordinator nobody else would end the threads that did start.
        set.spawn_threads(&lease_marks).inspect_err(|_| set.core.abandon())?;
        Ok(set)
    }

    fn spawn_threads(&self, lease_marks: &[(Day, u64)]) -> Result<(), Error> {
        let leases = upkeep::leases::Leases::new(&self.core, lease_marks);
        let compare = upkeep::compare::Compare::new(lease_marks);
        let core = &self.core;
        core.spawn("notify", |core| core.notifier.run())?;
        for lane in core.lanes().filter(|lane| lane.is_open()) {
            core.start_lane(&lane)?;
        }
        core.spawn("coord", move |core| upkeep::coordinator::run(core, leases, compare, Regroup::default()))
    }
}

impl Drop for ReplicatedSet {
    fn drop(&mut self) {
        drop(self.core.close());
    }
}

impl fmt::Debug for ReplicatedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicatedSet").field("id", &self.core.id).finish_non_exhaustive()
    }
}

impl Core {
    /// The epoch under which versions are given out now; 0 where none could be claimed.
    fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether this process gave out versions of `epoch`.
    fn is_ours(&self, epoch: u32) -> bool {
        let first = self.first_epoch.load(Ordering::Acquire);
        first > 0 && (first..=self.epoch()).contains(&epoch)
    }

    /// The lane that this place has now.
    fn lane(&self, index: u8) -> Guard<Arc<Lane>> {
        self.lanes[usize::from(index)].load()
    }

    fn lanes(&self) -> impl Iterator<Item = Arc<Lane>> {
        self.lanes.iter().map(ArcSwap::load_full)
    }

    /// Starts the threads of a lane whose replica is open.
    fn start_lane(&self, lane: &Arc<Lane>) -> Result<(), Error> {
        let (index, writing, reading) = (lane.index, Arc::clone(lane), Arc::clone(lane));
        self.spawn(&format!("write-{index}"), move |core| lanes::worker::run_worker(core, &writing))?;
        self.spawn(&format!("read-{index}"), move |_| lanes::worker::run_reader(&reading))
    }

    fn spawn(&self, what: &str, run: impl FnOnce(&Arc<Core>) + Send + 'static) -> Result<(), Error> {
        let core = self.me.upgrade().ok_or(Error::Closed)?;
        let name = format!("om-{}-{what}", self.id);
        let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
            mark_as_ours();
            run(&core);
        });
        thread.map(drop).map_err(|error| Error::System { action: format!("start thread {name}"), message: error.to_string() })
    }

    fn voters(&self) -> Mask {
        Mask::from_bits(self.voting.load(Ordering::Acquire))
    }

    /// Changes roles, one change after the other, and derives the voters from them.
    fn change_roles<T>(&self, change: impl FnOnce() -> T) -> T {
        // Held until the store: a late store of an older mask would name one too many, or one too few.
        let _changing = self.roles.lock();
        let result = change();
        let voters: Mask = self.lanes().filter(|lane| lane.is_voting()).map(|lane| lane.index).collect();
        self.voting.store(voters.bits(), Ordering::Release);
        result
    }

    /// Derives the voters from the lanes' roles; called whenever one has changed.
    fn refresh_voters(&self) {
        self.change_roles(|| ());
    }

    /// Remembers a write for all replicas but those that it was handed to. Under the submit lock, so that a replica that begins
    /// to vote has either missed it or is handed it.
    fn miss_beside(&self, takers: Mask, number: OrderNumber, version: Version) {
        for index in (0..self.quorum.n()).filter(|index| !takers.contains(*index)) {
            self.lane(index).miss(number, version);
        }
    }

    /// The voters that have been inside one read for so long that they are not waited for.
    fn silent(&self) -> Mask {
        self.voters().iter().filter(|index| self.lane(*index).is_silent()).collect()
    }

    /// Those that a question under way is not waiting for: the silent, and who does not vote any more.
    fn passed_by(&self) -> Mask {
        let voters = self.voters();
        (0..self.quorum.n()).filter(|index| !voters.contains(*index) || self.lane(*index).is_silent()).collect()
    }

    /// What is wrong with the replicas that do not vote.
    fn faults(&self) -> Vec<(u8, ReplicaError)> {
        self.lanes().filter_map(|lane| Some((lane.index, lane.role().fault()?))).collect()
    }

    /// The last group synced on each replica, by index.
    fn synced_groups(&self) -> Vec<u64> {
        self.lanes.iter().map(|lane| lane.load().synced_group.load(Ordering::Relaxed)).collect()
    }

    /// Posts news from threads that outlive no SET; `None` while the SET is being dropped.
    fn poster(&self) -> Option<impl Fn(Event) + Send + 'static> {
        let core = self.me.upgrade()?;
        Some(move |event| core.post(event))
    }

    /// Where a read begins to ask: everybody's turn comes, but for those who are silent, where there are enough others.
    fn next_start(&self, voters: Mask, silent: Mask) -> u8 {
        let n = self.quorum.n();
        let start = self.start.fetch_add(1, Ordering::Relaxed) % n;
        let spares_them = |start: &u8| voters.take(self.quorum.r(), *start).minus(silent).count() == self.quorum.r();
        (0..n).map(|step| (start + step) % n).find(spares_them).unwrap_or(start)
    }

    fn count_created(&self, (day, epoch): (Day, u32), count: u64) {
        let mut created = self.created.lock();
        // Those of an older epoch are counted with the digests.
        if epoch < self.epoch() {
            return;
        }
        *created.entry(day).or_default() += count;
        while created.len() > 4 {
            created.pop_first();
        }
    }

    fn today(&self) -> Option<Day> {
        let local_ms = self.clock.wall_ms().checked_add(i64::from(self.settings.utc_offset_minutes) * 60_000)?;
        Day::from_unix_days(local_ms.div_euclid(86_400_000))
    }

    fn status(&self) -> ShardStatus {
        let day = *self.minting_on.lock();
        let in_flight = self.in_flight.now();
        // Before the first lease, and where there is none to be had, today is what the clock says. That is the user's code, so before
        // the lock.
        let today = day.or_else(|| self.today());
        let ranges = self.ranges.lock();
        let orders_today = today.map_or(0, |day| {
            let earlier = ranges.orders(day);
            earlier + self.created.lock().get(&day).copied().unwrap_or(0)
        });
        let compared = ranges.is_complete();
        let odd: Vec<Option<String>> = self
            .lanes()
            .map(|lane| {
                let (count, first) = ranges.odd_in(lane.index)?;
                Some(format!(
                    "differs from the others in {count} ranges of numbers, the first in range {} of {}",
                    first.range, first.day
                ))
            })
            .collect();
        drop(ranges);
        let replicas = self.lanes().zip(odd).map(|(lane, odd)| lane.status(odd)).collect();
        ShardStatus {
            id: self.id,
            day,
            orders_today,
            lease_left: self.mint.left(),
            closed_for_creates: self.closed_for_creates(),
            in_flight: in_flight.operations,
            in_flight_bytes: in_flight.bytes,
            epoch: self.epoch(),
            compared: compared.then(|| self.comparison()),
            replicas,
        }
    }
}

impl Lane {
    fn status(&self, odd: Option<String>) -> ReplicaStatus {
        let (missed, needs_sync) = self.missed();
        let (state, reason) = match self.role() {
            Role::Voting => (ReplicaState::Voting, self.oddity().or(odd)),
            Role::Limbo(reason) => (ReplicaState::Limbo, Some(reason)),
            // Until then its directory is in use.
            Role::Out(error) if self.is_open() && self.taken_out.load(Ordering::Relaxed) => {
                (ReplicaState::Out, Some(format!("{error}; it is still being closed")))
            }
            Role::Out(error) => (ReplicaState::Out, Some(error.to_string())),
            Role::Missing(error) => (ReplicaState::Missing, Some(error.to_string())),
            Role::Returning(step) => (ReplicaState::Returning, Some(step)),
        };
        ReplicaStatus { index: self.index, dir: self.dir.clone(), state, reason, queued: self.queued(), missed, needs_sync }
    }
}

//! Every interleaving of a few minters and an installer, step by step, on a memory in which loads may be stale.
//!
//! The memory keeps every value that was ever stored to a place, with what its writer had seen by then. A load returns any value that
//! is not older than what its thread has seen; with `Acquire` from a `Release` store the thread then has seen what the writer had. A
//! read-modify-write takes the newest value. That is release and acquire without the freedom to run a thread's steps out of order.
//!
//! The steps are written down here a second time, from the module page above; planted mistakes show that a wrong order would be found.

use std::collections::HashSet;

const EASY: usize = 0;
const LIMIT: usize = 1;
const BASE: usize = 2;
const LATE: usize = 3;

/// For each place, the position of the newest value that was seen.
type View = [u8; 4];

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
struct Stored {
    value: u8,
    seen: View,
}

/// All values of one place, oldest first; an array, because worlds are copied by the million.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Place {
    stored: [Stored; 12],
    newest: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Memory {
    places: [Place; 4],
    /// Only ever changed by read-modify-writes that publish nothing: its newest value is all there is to know.
    next: u8,
}

impl Memory {
    fn new() -> Memory {
        Memory { places: [Place { stored: [Stored::default(); 12], newest: 0 }; 4], next: 0 }
    }

    /// What a load may return, each with what the thread has seen afterwards.
    fn loads(&self, place: usize, seen: View, acquire: bool) -> impl Iterator<Item = (u8, View)> {
        let Place { stored, newest } = self.places[place];
        (seen[place]..=newest).map(move |position| {
            let loaded = stored[usize::from(position)];
            let mut after = seen;
            if acquire {
                after = std::array::from_fn(|at| after[at].max(loaded.seen[at]));
            }
            after[place] = position;
            (loaded.value, after)
        })
    }

    fn store(&mut self, place: usize, value: u8, seen: &mut View, release: bool) {
        let Place { stored, newest } = &mut self.places[place];
        *newest += 1;
        seen[place] = *newest;
        let mut published = View::default();
        published[place] = *newest;
        stored[usize::from(*newest)] = Stored { value, seen: if release { *seen } else { published } };
    }

    fn add(&mut self) -> u8 {
        self.next += 1;
        self.next - 1
    }

    fn newest(&self, place: usize) -> u8 {
        let Place { stored, newest } = self.places[place];
        stored[usize::from(newest)].value
    }
}

/// One of the orders that the module page warns of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Planted {
    Nothing,
    /// `next` is set to the new base, also when minters are beyond it.
    NextIsStored,
    /// `easy` before `next` was raised.
    EasyFirst,
    /// `limit` before `base`.
    LimitBeforeBase,
    /// A minter loads `base` before `limit`.
    BaseLoadedFirst,
    /// A minter loads `easy` after its add.
    EasyLoadedAfter,
    /// Near the end, a minter adds before it loads `limit`.
    LimitLoadedAfter,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    LoadEasy,
    Add {
        easy: u8,
    },
    /// Near the end: load `limit`, then take a number below it.
    Careful,
    Take {
        limit: u8,
    },
    /// Past `easy`: load `late`, set `easy` to that or 0, load `limit`, load `base`, and see.
    LoadLate {
        easy: u8,
        number: u8,
    },
    Raise {
        easy: u8,
        number: u8,
        easier: u8,
    },
    LoadLimit {
        number: u8,
    },
    LoadBase {
        number: u8,
        limit: u8,
    },
    /// Only with a planted mistake.
    AddFirst,
    EasyAfterAdd {
        number: u8,
    },
    EarlyBase {
        number: u8,
    },
    LateLimit {
        number: u8,
        base: u8,
    },
    EarlyTake,
    LimitAfterTake {
        number: u8,
    },
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct MinterThread {
    at: At,
    calls_left: u8,
    seen: View,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct World {
    memory: Memory,
    minters: [MinterThread; 2],
    /// The installer's stores, in order, and how many it has done.
    installed_steps: usize,
    installer_seen: View,
    /// A bit for each number.
    handed: u64,
}

#[derive(Clone, Copy, Debug)]
enum Store {
    /// The next block begins to be installed: from here on it is durable.
    Begin,
    RaiseNext(u8),
    SetNext(u8),
    Base(u8),
    Limit(u8),
    /// A quarter of what is left up to here is late, half of it is easy. Both are doubled, so that they may lie between two numbers.
    Late(u8),
    Easy(u8),
    /// The pause.
    NotEasy,
    NotLate,
}

struct Story {
    /// `first..end`; a block that does not begin at the end of the one before lies above a gap, or is the next day.
    blocks: Vec<(u8, u8)>,
    stores: Vec<Store>,
    planted: Planted,
}

impl Story {
    fn new(blocks: &[(u8, u8)], pauses: bool, planted: Planted) -> Story {
        let mut stores = Vec::new();
        let mut before = 0;
        for &(first, end) in blocks {
            stores.push(Store::Begin);
            let mut steps = Vec::new();
            if first != before {
                steps.push(if planted == Planted::NextIsStored { Store::SetNext(first) } else { Store::RaiseNext(first) });
                steps.push(Store::Base(first));
            }
            steps.extend([Store::Limit(end), Store::Late(end), Store::Easy(end)]);
            if first != before && planted == Planted::EasyFirst {
                steps.rotate_right(1);
            }
            if first != before && planted == Planted::LimitBeforeBase {
                steps.swap(1, 2);
            }
            stores.extend(steps);
            if pauses {
                stores.extend([
                    Store::NotEasy,
                    Store::NotLate,
                    Store::Limit(0),
                    Store::Limit(end),
                    Store::Late(end),
                    Store::Easy(end),
                ]);
            }
            before = end;
        }
        Story { blocks: blocks.to_vec(), stores, planted }
    }

    fn first_step(&self) -> At {
        if self.planted == Planted::EasyLoadedAfter { At::AddFirst } else { At::LoadEasy }
    }

    /// All worlds one step on.
    fn successors(&self, world: &World) -> Result<Vec<World>, String> {
        let mut worlds = Vec::new();
        if let Some(store) = self.stores.get(world.installed_steps) {
            let mut world = *world;
            world.installed_steps += 1;
            let (memory, seen) = (&mut world.memory, &mut world.installer_seen);
            match *store {
                Store::Begin => {}
                Store::RaiseNext(first) => memory.next = memory.next.max(first),
                Store::SetNext(first) => memory.next = first,
                Store::Base(first) => memory.store(BASE, first, seen, false),
                Store::Limit(end) => memory.store(LIMIT, end, seen, true),
                Store::NotEasy => memory.store(EASY, 0, seen, true),
                Store::NotLate => memory.store(LATE, 0, seen, true),
                Store::Late(end) => memory.store(LATE, 2 * end - end.saturating_sub(memory.next) / 2, seen, true),
                Store::Easy(end) => {
                    let easy = if memory.next < end { memory.next + end } else { 0 };
                    memory.store(EASY, easy, seen, true);
                }
            }
            worlds.push(world);
        }
        for minter in 0..world.minters.len() {
            self.step(world, minter, &mut worlds)?;
        }
        Ok(worlds)
    }

    fn step(&self, world: &World, minter: usize, worlds: &mut Vec<World>) -> Result<(), String> {
        let MinterThread { at, seen, .. } = world.minters[minter];
        let go = |at: At, seen: View| {
            let mut world = *world;
            world.minters[minter].at = at;
            world.minters[minter].seen = seen;
            world
        };
        let add = |at: &dyn Fn(u8) -> At| {
            let mut world = *world;
            let number = world.memory.add();
            world.minters[minter].at = at(number);
            (world, number)
        };
        match at {
            At::Done => {}
            At::LoadEasy => {
                for (easy, seen) in world.memory.loads(EASY, seen, true) {
                    worlds.push(go(if easy == 0 { self.careful() } else { At::Add { easy } }, seen));
                }
            }
            At::Add { easy } => {
                let (next_world, number) = add(&|number| At::LoadLate { easy, number });
                worlds.push(if number * 2 < easy { self.end(next_world, minter, Some(number))? } else { next_world });
            }
            At::Careful => {
                for (limit, seen) in world.memory.loads(LIMIT, seen, true) {
                    worlds.push(go(At::Take { limit }, seen));
                }
            }
            // The exchange fails until it meets the newest value: one step.
            At::Take { limit } if world.memory.next < limit => {
                let (next_world, number) = add(&|_| At::Done);
                worlds.push(self.end(next_world, minter, Some(number))?);
            }
            At::Take { .. } => worlds.push(self.end(go(at, seen), minter, None)?),
            At::LoadLate { easy, number } => {
                for (late, seen) in world.memory.loads(LATE, seen, true) {
                    let easier = if easy < late && number * 2 < late { late } else { 0 };
                    worlds.push(go(At::Raise { easy, number, easier }, seen));
                }
            }
            At::Raise { easy, number, easier } => {
                let early = self.planted == Planted::BaseLoadedFirst;
                let (mut world, mut after) =
                    (go(if early { At::EarlyBase { number } } else { At::LoadLimit { number } }, seen), seen);
                if world.memory.newest(EASY) == easy {
                    world.memory.store(EASY, easier, &mut after, true);
                } else {
                    // A failed exchange has seen the newest value, too.
                    after[EASY] = world.memory.places[EASY].newest;
                }
                world.minters[minter].seen = after;
                worlds.push(world);
            }
            At::LoadLimit { number } => {
                for (limit, seen) in world.memory.loads(LIMIT, seen, true) {
                    worlds.push(go(At::LoadBase { number, limit }, seen));
                }
            }
            At::LoadBase { number, limit } => {
                for (base, seen) in world.memory.loads(BASE, seen, false) {
                    worlds.push(self.judge(go(at, seen), minter, number, base, limit)?);
                }
            }
            At::AddFirst => worlds.push(add(&|number| At::EasyAfterAdd { number }).0),
            At::EasyAfterAdd { number } => {
                for (easy, seen) in world.memory.loads(EASY, seen, true) {
                    worlds.push(match easy {
                        0 => self.end(go(at, seen), minter, None)?,
                        _ if number * 2 < easy => self.end(go(at, seen), minter, Some(number))?,
                        _ => go(At::LoadLate { easy, number }, seen),
                    });
                }
            }
            At::EarlyBase { number } => {
                for (base, seen) in world.memory.loads(BASE, seen, false) {
                    worlds.push(go(At::LateLimit { number, base }, seen));
                }
            }
            At::LateLimit { number, base } => {
                for (limit, seen) in world.memory.loads(LIMIT, seen, true) {
                    worlds.push(self.judge(go(at, seen), minter, number, base, limit)?);
                }
            }
            At::EarlyTake => worlds.push(add(&|number| At::LimitAfterTake { number }).0),
            At::LimitAfterTake { number } => {
                for (limit, seen) in world.memory.loads(LIMIT, seen, true) {
                    worlds.push(self.end(go(at, seen), minter, (number < limit).then_some(number))?);
                }
            }
        }
        Ok(())
    }

    fn judge(&self, mut world: World, minter: usize, number: u8, base: u8, limit: u8) -> Result<World, String> {
        if base <= number && number < limit {
            return self.end(world, minter, Some(number));
        }
        world.minters[minter].at = self.careful();
        Ok(world)
    }

    fn careful(&self) -> At {
        if self.planted == Planted::LimitLoadedAfter { At::EarlyTake } else { At::Careful }
    }

    /// A call ends, with a number or without.
    fn end(&self, mut world: World, minter: usize, number: Option<u8>) -> Result<World, String> {
        if let Some(number) = number {
            let begun = self.stores[..world.installed_steps].iter().filter(|store| matches!(store, Store::Begin)).count();
            if !self.blocks[..begun].iter().any(|&(first, end)| first <= number && number < end) {
                return Err(format!("{number} is in no block that is durable"));
            }
            if world.handed & 1 << number != 0 {
                return Err(format!("{number} was given out twice"));
            }
            world.handed |= 1 << number;
        }
        let thread = &mut world.minters[minter];
        thread.calls_left -= 1;
        thread.at = if thread.calls_left == 0 { At::Done } else { self.first_step() };
        Ok(world)
    }

    /// Walks through everything that can happen, and returns how many worlds that were.
    fn explore(&self, calls: [u8; 2]) -> Result<usize, String> {
        let thread = |calls_left: u8| MinterThread { at: self.first_step(), calls_left, seen: View::default() };
        let start = World {
            memory: Memory::new(),
            minters: calls.map(thread),
            installed_steps: 0,
            installer_seen: View::default(),
            handed: 0,
        };
        let mut known = HashSet::from([start]);
        let mut open = vec![start];
        while let Some(world) = open.pop() {
            for next in self.successors(&world)? {
                if known.insert(next) {
                    open.push(next);
                }
            }
        }
        Ok(known.len())
    }
}

/// Blocks of a few numbers, so that every call is near an edge: continued, above a gap smaller than what minters overshoot, a next day
/// far above. With each, how many calls two minters make; more calls hold as well, and take minutes.
const STORIES: [(&[(u8, u8)], [u8; 2]); 5] = [
    (&[(0, 2), (2, 4)], [2, 1]),
    (&GAP, [2, 1]),
    (&[(0, 2), (40, 42)], [1, 1]),
    (&[(0, 4), (6, 8)], [1, 1]),
    (&[(0, 1), (2, 3), (3, 4)], [1, 1]),
];
const GAP: [(u8, u8); 2] = [(1, 2), (3, 5)];

#[test]
fn no_interleaving_gives_a_number_twice_or_from_outside_a_block() {
    let mut worlds = 0;
    for (blocks, calls) in STORIES {
        let held = Story::new(blocks, false, Planted::Nothing).explore(calls);
        worlds += held.unwrap_or_else(|wrong| panic!("{blocks:?}: {wrong}"));
    }
    let held = Story::new(&[(0, 3)], true, Planted::Nothing).explore([2, 1]);
    worlds += held.unwrap_or_else(|wrong| panic!("with pauses: {wrong}"));
    println!("{worlds} worlds");
    assert!(worlds > 100_000, "only {worlds} worlds");
}

#[test]
fn every_planted_mistake_is_found() {
    use Planted::{BaseLoadedFirst, EasyFirst, EasyLoadedAfter, LimitBeforeBase, LimitLoadedAfter, NextIsStored};
    for planted in [NextIsStored, EasyFirst, LimitBeforeBase, BaseLoadedFirst, EasyLoadedAfter, LimitLoadedAfter] {
        let found = Story::new(&GAP, false, planted).explore([2, 1]).is_err();
        assert!(found, "{planted:?} was not found");
    }
}

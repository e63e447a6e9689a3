//! Every interleaving of a few minters and an installer, step by step, on a memory in which loads may be stale.
//!
//! The memory keeps every value that was ever stored to a place, with what its writer had seen by then. A load returns any value that
//! is not older than what its thread has seen; with `Acquire` from a `Release` store the thread then has seen what the writer had. A
//! read-modify-write takes the newest value. That is release and acquire without the freedom to run a thread's steps out of order.
//!
//! The steps are written down here a second time, from the module page above; planted mistakes show that a wrong order would be found.

use std::collections::HashSet;

const HALF: usize = 0;
const LIMIT: usize = 1;
const BASE: usize = 2;

/// For each place, the position of the newest value that was seen.
type View = [u8; 3];

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Stored {
    value: u8,
    seen: View,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Memory {
    places: [Vec<Stored>; 3],
    /// Only ever changed by read-modify-writes that publish nothing: its newest value is all there is to know.
    next: u8,
}

impl Memory {
    fn new() -> Memory {
        Memory { places: std::array::from_fn(|_| vec![Stored { value: 0, seen: View::default() }]), next: 0 }
    }

    /// What a load may return, each with what the thread has seen afterwards.
    fn loads(&self, place: usize, seen: View, acquire: bool) -> Vec<(u8, View)> {
        let from = seen[place];
        let values = self.places[place].iter().enumerate().skip(usize::from(from));
        values
            .map(|(position, stored)| {
                let mut after = seen;
                if acquire {
                    after = std::array::from_fn(|at| after[at].max(stored.seen[at]));
                }
                after[place] = position as u8;
                (stored.value, after)
            })
            .collect()
    }

    fn store(&mut self, place: usize, value: u8, seen: &mut View, release: bool) {
        seen[place] = self.places[place].len() as u8;
        let mut published = View::default();
        published[place] = seen[place];
        self.places[place].push(Stored { value, seen: if release { *seen } else { published } });
    }

    fn add(&mut self) -> u8 {
        self.next += 1;
        self.next - 1
    }

    fn newest(&self, place: usize) -> u8 {
        self.places[place].last().expect("never empty").value
    }
}

/// One of the orders that the module page warns of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Planted {
    Nothing,
    /// `next` is set to the new base, also when minters are beyond it.
    NextIsStored,
    /// `half` before `next` was raised.
    HalfFirst,
    /// `limit` before `base`.
    LimitBeforeBase,
    /// A minter loads `base` before `limit`.
    BaseLoadedFirst,
    /// A minter loads `half` after its add.
    HalfLoadedAfter,
    /// In the second half, a minter adds before it loads `limit`.
    LimitLoadedAfter,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    LoadHalf,
    Add {
        half: u8,
    },
    /// In the second half: load `limit`, then take a number below it.
    Careful,
    Take {
        limit: u8,
    },
    /// Past half: set `half` to 0, load `limit`, load `base`, and see.
    Close {
        half: u8,
        number: u8,
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
    LateHalf {
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

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct MinterThread {
    at: At,
    calls_left: u8,
    seen: View,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    memory: Memory,
    minters: Vec<MinterThread>,
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
    /// Half of what is left up to here.
    Half(u8),
    NoHalf,
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
            steps.push(Store::Limit(end));
            steps.push(Store::Half(end));
            if first != before && planted == Planted::HalfFirst {
                steps.rotate_right(1);
            }
            if first != before && planted == Planted::LimitBeforeBase {
                steps.swap(1, 2);
            }
            stores.extend(steps);
            if pauses {
                stores.extend([Store::NoHalf, Store::Limit(0), Store::Limit(end), Store::Half(end)]);
            }
            before = end;
        }
        Story { blocks: blocks.to_vec(), stores, planted }
    }

    fn first_step(&self) -> At {
        if self.planted == Planted::HalfLoadedAfter { At::AddFirst } else { At::LoadHalf }
    }

    /// All worlds one step on.
    fn successors(&self, world: &World) -> Result<Vec<World>, String> {
        let mut worlds = Vec::new();
        if let Some(store) = self.stores.get(world.installed_steps) {
            let mut world = world.clone();
            world.installed_steps += 1;
            let (memory, seen) = (&mut world.memory, &mut world.installer_seen);
            match *store {
                Store::Begin => {}
                Store::RaiseNext(first) => memory.next = memory.next.max(first),
                Store::SetNext(first) => memory.next = first,
                Store::Base(first) => memory.store(BASE, first, seen, false),
                Store::Limit(end) => memory.store(LIMIT, end, seen, true),
                Store::NoHalf => memory.store(HALF, 0, seen, true),
                Store::Half(end) => {
                    // Doubled, so that a half lies between two numbers where there is an odd number of them.
                    let half = if memory.next < end { memory.next + end } else { 0 };
                    memory.store(HALF, half, seen, true);
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
            let mut world = world.clone();
            world.minters[minter].at = at;
            world.minters[minter].seen = seen;
            world
        };
        let add = |at: &dyn Fn(u8) -> At| {
            let mut world = world.clone();
            let number = world.memory.add();
            world.minters[minter].at = at(number);
            (world, number)
        };
        match at {
            At::Done => {}
            At::LoadHalf => {
                for (half, seen) in world.memory.loads(HALF, seen, true) {
                    worlds.push(go(if half == 0 { self.careful() } else { At::Add { half } }, seen));
                }
            }
            At::Add { half } => {
                let (next_world, number) = add(&|number| At::Close { half, number });
                worlds.push(if number * 2 < half { self.end(next_world, minter, Some(number))? } else { next_world });
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
            At::Close { half, number } => {
                let early = self.planted == Planted::BaseLoadedFirst;
                let (mut world, mut after) =
                    (go(if early { At::EarlyBase { number } } else { At::LoadLimit { number } }, seen), seen);
                // A failed exchange has seen the newest value, too.
                after[HALF] = world.memory.places[HALF].len() as u8 - 1;
                if world.memory.newest(HALF) == half {
                    world.memory.store(HALF, 0, &mut after, false);
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
            At::AddFirst => worlds.push(add(&|number| At::LateHalf { number }).0),
            At::LateHalf { number } => {
                for (half, seen) in world.memory.loads(HALF, seen, true) {
                    worlds.push(match half {
                        0 => self.end(go(at, seen), minter, None)?,
                        _ if number * 2 < half => self.end(go(at, seen), minter, Some(number))?,
                        _ => go(At::Close { half, number }, seen),
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
            minters: calls.map(thread).to_vec(),
            installed_steps: 0,
            installer_seen: View::default(),
            handed: 0,
        };
        let mut known = HashSet::from([start.clone()]);
        let mut open = vec![start];
        while let Some(world) = open.pop() {
            for next in self.successors(&world)? {
                if !known.contains(&next) {
                    known.insert(next.clone());
                    open.push(next);
                }
            }
        }
        Ok(known.len())
    }
}

/// Blocks of one or two numbers, so that every call is near an edge: continued, above a gap smaller and larger than what minters
/// overshoot, and a next day far above. With each, how many calls two minters make; more of them hold as well, and take minutes.
const STORIES: [(&[(u8, u8)], [u8; 2]); 5] = [
    (&[(0, 2), (2, 4)], [2, 2]),
    (&[(1, 2), (3, 5)], [2, 2]),
    (&[(0, 1), (2, 3), (3, 4)], [1, 1]),
    (&[(0, 2), (40, 42)], [2, 1]),
    (&[(3, 4), (4, 5), (20, 21)], [1, 1]),
];

#[test]
fn no_interleaving_gives_a_number_twice_or_from_outside_a_block() {
    let mut worlds = 0;
    for (blocks, calls) in STORIES {
        let held = Story::new(blocks, false, Planted::Nothing).explore(calls);
        worlds += held.unwrap_or_else(|wrong| panic!("{blocks:?}: {wrong}"));
    }
    let held = Story::new(&[(0, 3)], true, Planted::Nothing).explore([2, 2]);
    worlds += held.unwrap_or_else(|wrong| panic!("with pauses: {wrong}"));
    println!("{worlds} worlds");
    assert!(worlds > 100_000, "only {worlds} worlds");
}

#[test]
fn every_planted_mistake_is_found() {
    use Planted::{BaseLoadedFirst, HalfFirst, HalfLoadedAfter, LimitBeforeBase, LimitLoadedAfter, NextIsStored};
    for planted in [NextIsStored, HalfFirst, LimitBeforeBase, BaseLoadedFirst, HalfLoadedAfter, LimitLoadedAfter] {
        let found = STORIES.iter().any(|(blocks, _)| Story::new(blocks, false, planted).explore([2, 2]).is_err());
        assert!(found, "{planted:?} was not found");
    }
}

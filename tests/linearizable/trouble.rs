//! What befalls the replicas and the program while it is used.

use crate::tally::Tally;
use crate::world::World;
use ordermint::ReplicaState;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often something happens in one history.
const TURNS: usize = 14;

pub(crate) struct Trouble<'a> {
    world: &'a World,
    tally: &'a Tally,
    rng: fastrand::Rng,
    /// Replicas that something is wrong with.
    sick: BTreeSet<usize>,
    /// At most so many at a time.
    sick_max: usize,
    /// One life after the other begins without those replicas that alone know the end of the one before.
    parts_often: bool,
}

impl<'a> Trouble<'a> {
    pub(crate) fn new(world: &'a World, tally: &'a Tally, mut rng: fastrand::Rng) -> Trouble<'a> {
        let (n, r, w) = (world.quorum.n(), world.quorum.r(), world.quorum.w());
        let spare = usize::from(n - r.max(w));
        let sick_max = match rng.u32(..4) {
            // The others are a quorum for everything: the SET goes on.
            0 | 1 if spare > 0 => spare,
            // With one more it stands still for a while.
            0..3 => spare + 1,
            // A write may be on none of them then.
            _ => usize::from(n),
        };
        let parts_often = rng.u32(..4) == 0;
        Trouble { world, tally, rng, sick: BTreeSet::new(), sick_max, parts_often }
    }

    pub(crate) fn run(mut self) {
        for _ in 0..TURNS {
            let slowly = self.rng.u32(..4) == 0;
            self.world.opening_ms.store(if slowly { self.rng.u64(1..30) } else { 0 }, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(self.rng.u64(5..40)));
            match self.rng.u32(..20) {
                0 => self.restart(),
                1 => self.kill(),
                19 => self.part_ways(),
                10.. if self.parts_often => self.part_ways(),
                2..6 => self.relieve(),
                6..8 => self.strike(),
                _ => self.befall(),
            }
        }
    }

    /// As many at once as may be, in the middle of what they do: writes that are under way are left in doubt.
    fn strike(&mut self) {
        let n = usize::from(self.world.quorum.n());
        let (first, alike) = (self.rng.usize(..n), self.rng.u32(..8));
        for index in (0..n).map(|step| (first + step) % n) {
            if self.sick.len() < self.sick_max && self.sick.insert(index) {
                match if alike < 4 { alike } else { self.rng.u32(..4) } {
                    0 => self.world.faults[index].fail_after_apply(1),
                    1 => self.world.faults[index].fail_applies(1),
                    _ => self.world.faults[index].hang_applies(),
                }
            }
        }
        self.tally.add("strikes");
        std::thread::sleep(Duration::from_millis(self.rng.u64(5..120)));
    }

    /// What is under way gets to a few replicas alone, and the next life of the program begins without those: what it sees is
    /// older, and what the others hold comes back later.
    fn part_ways(&mut self) {
        let (n, w) = (self.world.quorum.n(), self.world.quorum.w());
        // Too few to store anything, and so few that the others may go on.
        let few = usize::from((w - 1).min(n - (n - w + 1).max(n / 2 + 1)));
        let (n, first) = (usize::from(n), self.rng.usize(..usize::from(n)));
        let order: Vec<usize> = (0..n).map(|step| (first + step) % n).collect();
        let (few, others) = order.split_at(few);
        others.iter().for_each(|index| self.world.faults[*index].fail_applies(1));
        std::thread::sleep(Duration::from_millis(self.rng.u64(1..10)));
        others.iter().for_each(|index| self.world.gone[*index].store(false, Ordering::SeqCst));
        few.iter().for_each(|index| self.world.gone[*index].store(true, Ordering::SeqCst));
        self.sick.extend(few);
        if self.rng.bool() {
            self.restart()
        } else {
            self.kill()
        }
        others.iter().for_each(|index| self.world.faults[*index].fail_applies(0));
        self.tally.add("partings");
    }

    /// Something happens to a replica.
    fn befall(&mut self) {
        let n = usize::from(self.world.quorum.n());
        let index = match self.sick.iter().nth(self.rng.usize(..n)) {
            Some(sick) => *sick,
            None => self.rng.usize(..n),
        };
        if !self.sick.contains(&index) && self.sick.len() >= self.sick_max {
            return self.relieve();
        }
        self.sick.insert(index);
        let faults = &self.world.faults[index];
        let what = match self.rng.u32(..17) {
            0 => {
                faults.fail_applies(1);
                "failed writes"
            }
            1 => {
                faults.fail_after_apply(1);
                "writes that failed after they were done"
            }
            2 => {
                faults.fill_disk();
                "full disks"
            }
            3 => {
                faults.panic_applies(1);
                "panics of a writer"
            }
            4 => {
                faults.panic_reads(1);
                "panics of a reader"
            }
            5 => {
                faults.fail_reads(self.rng.usize(1..10));
                "failed reads"
            }
            6 | 7 => {
                faults.delay_applies(Duration::from_millis(self.rng.u64(1..60)));
                "slow writers"
            }
            8 => {
                faults.delay_reads(Duration::from_millis(self.rng.u64(1..60)));
                "slow readers"
            }
            9 | 10 => {
                faults.hang_applies();
                "hanging writers"
            }
            11 => {
                faults.hang_reads();
                "hanging readers"
            }
            12 => {
                self.world.gone[index].store(true, Ordering::SeqCst);
                return self.kill();
            }
            _ => {
                let index = u8::try_from(index).expect("few replicas");
                match self.world.life().store.take_out_replica(self.world.set, index) {
                    Ok(()) => "replicas taken out",
                    Err(_) => "replicas not taken out",
                }
            }
        };
        self.tally.add(what);
    }

    /// A replica is well again, or all are; where it was put out it is brought back.
    fn relieve(&mut self) {
        let Some(&index) = self.sick.iter().nth(self.rng.usize(..self.sick.len().max(1))) else { return };
        self.sick.remove(&index);
        self.world.faults[index].release();
        self.world.gone[index].store(false, Ordering::SeqCst);
        let life = self.world.life();
        let state = life.store.status().sets[0].replicas[index].state;
        if matches!(state, ReplicaState::Out | ReplicaState::Missing) {
            match life.store.bring_back_replica(self.world.set, u8::try_from(index).expect("few replicas")) {
                Ok(()) => self.tally.add("replicas brought back"),
                Err(_) => {
                    self.tally.add("replicas not brought back");
                    self.restart();
                }
            }
        }
    }

    fn restart(&mut self) {
        self.world.restart();
        self.only_the_gone();
    }

    fn kill(&mut self) {
        self.world.kill();
        self.only_the_gone();
    }

    /// A start releases what hung, and opens what had failed.
    fn only_the_gone(&mut self) {
        self.sick.retain(|index| self.world.gone[*index].load(Ordering::SeqCst));
    }
}

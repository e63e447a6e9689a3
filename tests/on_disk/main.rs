//! What is promised of orders that change, held against what becomes of real directories: copies that rot, pieces that vanish, old
//! states that come back, syncs that fail, disks that fill up, processes that are killed. All of it through the store.
//!
//! Stories in which no disk plays a part, and those of every single way in which one replica can be damaged, are told elsewhere:
//! `tests/stories` (replicas in memory, with faults on command), `tests/sled_replica` (one replica), `tests/damage.rs`, `tests/slow_disk`.

#[path = "../common/mod.rs"]
mod common;
#[path = "../slow_disk/delay.rs"]
mod delay;

mod bench;
mod copies;
mod failing;
mod full;
mod killed;
mod losses;

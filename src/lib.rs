//! Order numbers that say where the order lives, and a quorum-replicated store on sled that keeps it there.
//!
//! A service links this crate and gets, without a server and without an async runtime:
//!
//! * **Order numbers** of 22 digits, `20261122 0000000042 007 6`: date, sequence, SET and check digit, in 8 bytes. One atomic add
//!   each, unique over threads, restarts, kills and wrong clocks.
//! * **SETs**, up to 1,000 of them, with threads, queues and files of their own, so that a fault stays where it is. The number of an
//!   order names its SET; nothing has to be looked up. They are added, weighted, drained and retired while orders come in.
//! * **A create that does not fail** while a SET is well: what one SET cannot take, or leaves in doubt, goes to another under a new
//!   number, and the first one never comes to life.
//! * **A store** of N copies of each order, in N directories, of which R answer a read and W must have synced a write. Orders change by
//!   compare and set ([`OrderStore::update`]) or by closures in turn, many to a write ([`OrderStore::modify`]).
//!
//! # A complete program
//!
//! ```
//! use ordermint::{Change, CreateOptions, Error, OrderStore, Quorum, SetConfig, SetId};
//!
//! fn main() -> Result<(), Error> {
//!     let home = std::env::temp_dir().join(format!("ordermint-front-page-{}", std::process::id()));
//!     let sets = [SetId::new(7)?, SetId::new(8)?];
//!     let store = OrderStore::builder()
//!         .home(&home)
//!         .quorum(Quorum::new(3, 2, 2)?) // N, R, W: three copies, two answer a read, two must have synced a write
//!         .add_set(SetConfig::new(sets[0]).replicas(["007/0", "007/1", "007/2"])) // below the home; disks of their own are better
//!         .add_set(SetConfig::new(sets[1]).replicas(["008/0", "008/1", "008/2"]))
//!         .open()?;
//!
//!     // Sent at the call, to a SET that is well; answered when two replicas have synced it. Also a future, for any runtime.
//!     let placed = store.create("two tickets to Shenzhen").wait()?;
//!     let number = placed.number;
//!     println!("{number} is order {} of {} in SET {}", number.sequence(), number.day(), number.set_id());
//!
//!     // With a request key it may be tried again, whatever went wrong: one order comes of it.
//!     let paid = || CreateOptions::new().request_key("pay-8841");
//!     let first = store.create_with("one ticket to Guangzhou", paid()).wait()?;
//!     let again = store.create_with("one ticket to Guangzhou", paid()).wait()?;
//!     assert_eq!((again.number, again.repeated), (first.number, true));
//!
//!     // Many under way at once, answered in the order of the input.
//!     for placed in store.create_all(["one", "two", "three"]) {
//!         println!("{}", placed?.number);
//!     }
//!
//!     let order = store.get(number).wait()?.expect("an acknowledged order is there");
//!     assert_eq!(order.value, "two tickets to Shenzhen");
//!
//!     // Compare and set: written if the order still stands at that version.
//!     let sent = store.update(order.number, order.version, "sent").wait()?;
//!     // A crowd takes turns, and shares writes.
//!     let seen = store.modify(order.number, |order| Change::write([&order.value[..], b", seen"].concat(), order.version)).wait()?;
//!     assert_eq!(seen.output, sent);
//!
//!     let found: usize = sets.iter().map(|set| store.scan(*set, number.day()).count()).sum();
//!     assert_eq!(found, 5);
//!
//!     store.close().wait()?;
//!     std::fs::remove_dir_all(&home).expect("the directory is ours");
//!     Ok(())
//! }
//! ```
//!
//! # What it promises
//!
//! 1. No number is given out twice: not over threads, restarts, kills, power cuts, clock jumps and lost disks, while a majority of
//!    its SET's replicas is intact.
//! 2. An order is acknowledged when it is synced (`fdatasync`) on W replicas, and not before. It is not lost while at most W - 1
//!    replicas of its SET are lost.
//! 3. [`OrderStore::create`] succeeds within its deadline while a SET whose breaker is closed has room. A number that was tried first
//!    and given up never comes to life ([`Placed::superseded`]). In doubt it ends only where no other attempt was left: one SET
//!    alone, two that fell at the same moment, or a retry budget that is spent.
//! 4. At most one live order comes of a request key, over retries, crashes and fail-over ([`CreateOptions::request_key`]).
//! 5. With R + W > N each order is linearizable: a strong read sees every write that was acknowledged before it, of all updates
//!    made for one version at most one wins, and each closure sees all that took effect before it. *Absent* is an answer of R
//!    replicas, never a guess: what is damaged, missing or slow counts as unknown.
//! 6. Every operation ends at its deadline, and the error says whether anything was sent. What was sent and not confirmed can be
//!    settled for good: [`OrderStore::resolve`].
//! 7. SETs come and go while orders come in ([`OrderStore::add_set`], [`OrderStore::drain_set`], [`OrderStore::retire_set`],
//!    [`OrderStore::set_weight`]). No order moves, and no id is given to a second SET.
//! 8. Untrusted numbers, garbled files and absurd settings give a typed error: no panic crosses the API.
//!
//! # What it does not promise
//!
//! * Orders that outlive the machine. The replicas are directories of one process; those on one disk die with it.
//! * An order that exists while its SET is away. Only new orders go elsewhere; reads and changes of that one are
//!   [`Error::SetUnavailable`], or [`ReadOptions::degraded`].
//! * Promise 2 in one case of request keys: an order that was placed while another SET could not be asked ([`Placed::unverified`])
//!   makes an earlier one there void, acknowledged or not. [`CreateOptions::strict`] rather places none.
//! * One order of a key at every moment after a crash: what a killed process left on replicas that are away until the key was used again
//!   comes to light with them as a second one, until a walk over request keys makes it void: within about a minute, longer where there
//!   are millions of keys.
//! * Request keys for ever: one is good for the day of its first use and the next, or [as many as asked
//!   for](Builder::request_key_days), 31 at most.
//! * Healing. A replica that went away can be brought back ([`OrderStore::bring_back_replica`]) and is given what it missed, as far
//!   as that is remembered. Nothing copies to it what else it lacks: its peers carry on and [`OrderStore::status`] names it. Reads
//!   write back what they find on too few replicas, and no more.
//! * Fast reads right after opening, or after a replica returned. Until the replicas were compared ([`OrderStore::compared`]), and
//!   later where they differ, a read waits for all voting replicas, about a second for one that hangs.
//! * New numbers from an old copy. A store that was put back from a backup, or made anew where all its directories were gone, gives
//!   out again what it gave out before: open an existing store by [`Builder::home`] alone, which never makes one.
//! * An order between the numbers of different processes or SETs; secrecy (the check digit is no signature).
//! * Deletes, transactions over several orders, the space of days given up, another quorum for a store that exists.
//! * Safety when two programs use copies of one directory. On one directory the second gets [`Error::InUse`].
//!
//! # Where to go on
//!
//! [`OrderStore`] and [`Builder`] for the store, [`Pending`] for its answers, [`Error`] for what each failure means,
//! [`BreakerSettings`] for when a SET counts as sick, [`OrderStore::reconcile`] for what is still to be done. [`OrderNumber`]
//! and [`Minter`] for numbers without a store. [`Replica`] for the contract of a replica, [`SetConfig::replica_with`] to plug in one
//! of your own. The README has the limits and costs, recipes, a runbook and the figures; ARCHITECTURE.md argues the crash cases;
//! docs/FORMATS.md draws the bytes on disk.
//!
//! # Features
//!
//! None is on by default. `serde`: numbers, days and SET ids as serde values. `testing`: the conformance suite for replicas, a
//! replica that misbehaves on command, a clock set by hand, a recorder of histories.

#![forbid(unsafe_code)]

mod config;
mod error;
mod heal;
mod health;
mod job;
mod order;
mod pending;
mod quorum;
mod replica;
mod set;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod topology;

pub use config::{BreakerSettings, ConfigError, OpenReplica, Quorum, SetConfig};
pub use error::{Attempt, Error, Faults, NotAttempted, ParseWriteTokenError, WriteToken};
pub use heal::Alarm;
pub use health::{BreakerState, Forced};
pub use job::{Job, Progress};
pub use order::{
    Block, Day, InvalidDay, InvalidSetId, LeaseError, LeaseStore, MintError, Minter, NumberWriter, OrderNumber,
    ParseOrderNumberError, SetId,
};
pub use pending::Pending;
pub use replica::{
    Applied, Chunk, Damage, Group, GroupFull, Identity, KeyUse, Kind, Lookup, Marks, MemoryReplica, Noted, Origin, RangeDigest,
    Record, RecordError, Replica, ReplicaError, RequestKey, ScanLimit, Scanned, SledReplica, Standing, Version, Write,
};
pub use set::{Change, Compared, Modified, Order, Page, Placed, ReplicaState, ReplicaStatus, Resolved};
pub use store::{
    Builder, CreateAll, CreateOptions, Finding, OrderStore, ReadOptions, Reconciled, Scan, SetStatus, Status, Verified, Where,
    WriteOptions,
};
pub use time::{Clock, SystemClock};
pub use topology::{Retire, SetState, Zone};

/// The code of the README, compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

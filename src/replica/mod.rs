//! One copy of a SET's orders: the trait, its contract, and the two replicas that come with the crate.

mod group;
mod memory;
mod origin;
pub(crate) mod record;
mod sled;
mod values;

pub use self::group::{Group, GroupFull, Write};
pub use self::memory::MemoryReplica;
pub(crate) use self::memory::open_memory;
pub use self::origin::{Origin, RequestKey};
pub(crate) use self::origin::{PARTLY_ASKED_MAX, REQUEST_KEY_BYTES_MAX, SUPERSEDES_MAX};
pub(crate) use self::record::Draft;
pub use self::record::{Kind, Record, RecordError, Version};
pub use self::sled::SledReplica;
pub(crate) use self::sled::{open_sled, peek_identity};
pub use self::values::{
    Applied, Chunk, Damage, Identity, KeyUse, Lookup, Marks, Noted, RangeDigest, ReplicaError, ScanLimit, Scanned, Standing,
};

use crate::order::{Day, OrderNumber};
use bytes::Bytes;

/// One copy of the orders of one SET. All methods may block; the store calls them on threads that belong to this replica alone.
///
/// # Contract
/// 1. `apply` is never called concurrently with itself, `form`, `claim`, `readmit` or `close`. All others may be called at any time from any thread.
/// 2. When `apply` returns `Ok`, every write and every meta value of the group is durable: it survives a power cut.
/// 3. A write takes effect only if its version is newer than the one held, or equal with a higher repair generation. Each
///    write that does not, because a *newer* version is held, is named in [`Applied::refused`]; one that is held already
///    counts as applied.
/// 4. When `apply` returns `Err`, any part of the group may or may not be held. The store never calls `apply` again on that
///    replica; it must keep answering reads, or answer them with an error.
/// 5. `get`, `scan` and `digest` answer with synced versions only: a version whose group is still being applied is
///    waited for or not shown, and never shown if its group failed.
/// 6. Bytes that fail their checksum are [`Lookup::Damaged`] or [`Scanned::Damaged`], never a value and never absence. A place
///    where a record may have been lost is damaged, not absent.
/// 7. A group whose epoch is below the claimed one is refused with [`ReplicaError::Fenced`] before anything is written.
/// 8. `scan` yields numbers in ascending order, without gaps below [`Chunk::upto`].
/// 9. `digest` depends on the set of (number, version, generation, bytes) alone, not on the order or the form in which they came.
/// 10. `keyed`, `keys` and `noted` lead to every record that came with a write `apply` has answered `Ok` to, refused or not, and that has
///     an [`Origin`] which names the key, supersedes numbers or names SETs that were not asked. They are derived from the records and
///     durable with them. What they lead to may be outdated, or still be on its way to the disk: the record itself says what holds.
/// 11. No method panics on damaged bytes. (The store survives it when one does: the replica is then out.)
pub trait Replica: Send + Sync + 'static {
    /// Who this replica is and how far it can be trusted, as found when it was opened.
    fn standing(&self) -> Standing;

    /// How far this replica got, and what it knows of its peers, as found when it was opened.
    fn marks(&self) -> Marks;

    /// Makes `identity` durable. Called with `formed: false` on a fresh replica, later with `formed: true`.
    ///
    /// # Errors
    /// When it is not durable.
    fn form(&self, identity: &Identity) -> Result<(), ReplicaError>;

    /// Makes the claim of `epoch` durable; from then on older ones are fenced off.
    ///
    /// # Errors
    /// [`ReplicaError::Fenced`] when `epoch` is not above the claimed one.
    fn claim(&self, epoch: u32) -> Result<(), ReplicaError>;

    /// The epoch claimed last, 0 if none was.
    fn epoch(&self) -> u32;

    /// Records durably that this replica may not vote, and why; [`Standing::Limbo`] from then on, also after reopening.
    ///
    /// # Errors
    /// When it is not durable.
    fn banish(&self, reason: &str) -> Result<(), ReplicaError>;

    /// Takes a replica out of limbo, durably: somebody has accepted that what it lost is lost. From then on it is
    /// [`Standing::Voting`], also after reopening, and what it was told to hold and does not hold is absent, no longer damaged.
    /// Counts as one group, numbered one above the greater of `group` and its own: `group` is the last that anybody saw synced
    /// here, and later groups must not be numbered like the lost ones.
    ///
    /// # Errors
    /// When it is not durable; it is in limbo then or not. When its identity is not known: it stays in limbo.
    fn readmit(&self, group: u64) -> Result<(), ReplicaError>;

    /// Applies a group of writes and makes it durable. See the contract.
    ///
    /// # Errors
    /// After any error this replica is out.
    fn apply(&self, group: &Group) -> Result<Applied, ReplicaError>;

    /// What is held under `number`.
    ///
    /// # Errors
    /// When nothing can be said.
    fn get(&self, number: OrderNumber) -> Result<Lookup, ReplicaError>;

    /// The records of `day` above `after`, in ascending order, as far as `limit` goes.
    ///
    /// # Errors
    /// When nothing can be said.
    fn scan(&self, day: Day, after: Option<OrderNumber>, limit: ScanLimit) -> Result<Chunk, ReplicaError>;

    /// The digest of the records of `day` with a sequence in `range` (see [`RangeDigest::range_of`]) and an epoch below `below_epoch`.
    ///
    /// # Errors
    /// When nothing can be said.
    fn digest(&self, day: Day, range: u32, below_epoch: u32) -> Result<RangeDigest, ReplicaError>;

    /// The numbers, ascending, of `since` and later days whose records were ever written with the request key `key`. See clause 10.
    ///
    /// # Errors
    /// When nothing can be said, or not of all of these days.
    fn keyed(&self, key: &[u8], since: Day) -> Result<Vec<OrderNumber>, ReplicaError>;

    /// At most `limit` uses of request keys by numbers of `since` and later days, ascending from above `after`, in the order of [`KeyUse`];
    /// less only where there are no more. See clause 10.
    ///
    /// # Errors
    /// When nothing can be said, or not of all of these days.
    fn keys(&self, since: Day, after: Option<&KeyUse>, limit: usize) -> Result<Vec<KeyUse>, ReplicaError>;

    /// At most `limit` orders, ascending over all days from above `after`, whose records say that they supersede other numbers or that
    /// SETs were not asked, as they stand here; less only where there are no more. See clause 10.
    ///
    /// # Errors
    /// When nothing can be said, or not of all days.
    fn noted(&self, after: Option<OrderNumber>, limit: usize) -> Result<Vec<Noted>, ReplicaError>;

    /// The days on which this replica holds anything, ascending.
    ///
    /// # Errors
    /// When nothing can be said.
    fn days(&self) -> Result<Vec<Day>, ReplicaError>;

    /// A meta value.
    ///
    /// # Errors
    /// [`ReplicaError::Damaged`] when its checksum fails.
    fn meta(&self, key: &str) -> Result<Option<Bytes>, ReplicaError>;

    /// The meta values whose keys begin with `prefix`, ascending by key.
    ///
    /// # Errors
    /// [`ReplicaError::Damaged`] when a checksum fails.
    fn meta_with_prefix(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, ReplicaError>;

    /// Ends cleanly: everything durable, marks written, locks given back. Afterwards every call is [`ReplicaError::Closed`].
    ///
    /// # Errors
    /// When the clean end could not be recorded; what was applied is safe all the same.
    fn close(&self) -> Result<(), ReplicaError>;
}

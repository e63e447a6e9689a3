//! Describing a store and opening it.

use super::OrderStore;
use super::verify::{Finding, Verified};
use crate::config::{Quorum, SetConfig};
use crate::error::Error;
use crate::time::Clock;
use std::path::PathBuf;
use std::time::Duration;

/// Describes a store. Nothing is checked or touched before [`Builder::open`].
#[derive(Debug)]
#[must_use = "a builder does nothing before `open`"]
pub struct Builder {}

#[expect(unused_variables, clippy::todo, reason = "signatures first")]
impl Builder {
    pub(super) fn new() -> Builder {
        Builder {}
    }

    /// The directory below which relative paths are taken. With a home and no SET added, the SETs found in it are opened:
    /// a store remembers its SETs and its quorum.
    pub fn home(self, dir: impl Into<PathBuf>) -> Builder {
        self
    }

    /// N, R and W of every SET. Default: what the store remembers; for a new store the majority of the replicas given.
    pub fn quorum(self, quorum: Quorum) -> Builder {
        self
    }

    /// Adds a SET.
    pub fn add_set(self, set: SetConfig) -> Builder {
        self
    }

    /// Where the time comes from. Default: [`SystemClock`](crate::SystemClock).
    pub fn clock(self, clock: impl Clock) -> Builder {
        self
    }

    /// Where midnight is, in minutes east of UTC, from -1,439 to 1,439. Default 0.
    pub fn utc_offset_minutes(self, minutes: i32) -> Builder {
        self
    }

    /// The deadline of operations that name none. Default 5 s, from 1 ms to 1 h.
    pub fn deadline(self, deadline: Duration) -> Builder {
        self
    }

    /// The largest payload in bytes. Default and most 7,168.
    pub fn value_bytes_max(self, bytes: usize) -> Builder {
        self
    }

    /// What may be under way in one SET. Default 65,536 operations and 64 MiB.
    pub fn max_in_flight(self, operations: usize, bytes: usize) -> Builder {
        self
    }

    /// How long a replica may take to open before the store goes on without it. Default 60 s.
    pub fn open_timeout(self, timeout: Duration) -> Builder {
        self
    }

    /// How long `close` waits for what is under way. Default 10 s.
    pub fn close_timeout(self, timeout: Duration) -> Builder {
        self
    }

    /// sled's page cache for each open day of each replica, in bytes; a hint to sled, no cap. Default 64 MiB.
    pub fn cache_bytes(self, bytes: u64) -> Builder {
        self
    }

    /// Opens the store, making what is not there yet. Blocks.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::NoStore`], [`Error::InUse`], [`Error::ForeignReplica`], [`Error::MapMismatch`],
    /// [`Error::CannotForm`], [`Error::System`]. A replica of an existing SET that cannot be opened is no error:
    /// see [`OrderStore::status`].
    pub fn open(self) -> Result<OrderStore, Error> {
        todo!()
    }

    /// Reads every record of every replica of a closed store and tells `report` what is wrong. Writes no record and heals
    /// nothing. Blocks.
    ///
    /// # Errors
    /// As for [`Builder::open`].
    pub fn verify(self, report: impl FnMut(Finding)) -> Result<Verified, Error> {
        todo!()
    }
}

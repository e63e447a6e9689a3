//! The retention floor: days up to it were given up. Durable on a majority before anything of such a day may be dropped, so
//! that no coordinator that comes later mints on it or reads it.

use super::spread::Spread;
use crate::config::ConfigError;
use crate::error::Error;
use crate::order::Day;
use crate::pending::Pending;
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::{Job, Lane};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// The key under which replicas keep the last day given up, as text.
pub(crate) const FLOOR_KEY: &str = "floor";

impl Core {
    /// Whether orders of `day` can be asked for.
    pub(crate) fn check_floor(&self, day: Day) -> Result<(), Error> {
        match *self.floor.lock() {
            Some(floor) if day <= floor => Err(Error::DayDropped { set: self.id, day, floor }),
            _ => Ok(()),
        }
    }

    /// Hands the floor to a replica that was not given it while it was away.
    pub(crate) fn hand_over_floor(&self, lane: &Lane) {
        // Held while it is queued, as below: what is raised at the same time comes after it.
        let highest = self.floor_asked.lock();
        if let Some(day) = *highest {
            let (key, value) = (FLOOR_KEY.to_owned(), Bytes::from(day.to_string()));
            let _ = lane.push(Job::Meta { key, value, done: Box::new(|_, _| ()) });
        }
    }

    /// What a returning majority knows of days given up.
    pub(crate) fn take_over_floor(&self, found: Option<Day>) {
        for floor in [&self.floor_asked, &self.floor] {
            let mut floor = floor.lock();
            *floor = found.max(*floor);
        }
    }

    pub(crate) fn raise_floor(self: &Arc<Core>, day: Day, deadline: Instant) -> Pending<()> {
        // The day in use never goes down, so what is below it now stays below it.
        let minting_on = self.minting_on.lock().unwrap_or(Day::MIN);
        if day >= minting_on {
            return Pending::ready(Err(ConfigError::FloorTooHigh { set: self.id, given: day, minting_on }.into()));
        }
        if self.check_floor(day).is_err() {
            return Pending::ready(Ok(()));
        }
        let held = match self.admit_read() {
            Ok(held) => held,
            Err(error) => return Pending::ready(Err(error)),
        };
        // Held until the writes are queued: replicas see floors in the order in which they rise, so a lower one that is raised at
        // the same time cannot be what stays on disk.
        let mut highest = self.floor_asked.lock();
        let day = highest.map_or(day, |highest| highest.max(day));
        *highest = Some(day);
        let reached = Box::new(move |core: &Core| {
            let mut floor = core.floor.lock();
            *floor = (*floor).max(Some(day));
        });
        let (key, value, need) = (FLOOR_KEY.to_owned(), Bytes::from(day.to_string()), self.quorum.majority_of_n());
        self.spread(Spread { key, value, need, held, deadline, reached })
    }
}

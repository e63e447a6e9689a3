//! Reading every record of every replica of a closed store.

use crate::order::{OrderNumber, SetId};
use std::fmt;

/// Something that is wrong. Printed on one line.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The SET.
    pub set: SetId,
    /// The replica.
    pub replica: u8,
    /// Where in it.
    pub place: Where,
    /// What.
    pub what: String,
}

/// Where a [`Finding`] lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Where {
    /// The replica as a whole.
    Replica,
    /// One order.
    Number(OrderNumber),
    /// Numbers from one to another, both included.
    Range(OrderNumber, OrderNumber),
}

/// What was read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Verified {
    /// Records, each counted on each replica.
    pub records: u64,
    /// Replicas read.
    pub replicas: u64,
    /// Findings told.
    pub findings: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {} replica {} ", self.set, self.replica)?;
        match self.place {
            Where::Replica => write!(f, "all: ")?,
            Where::Number(number) => write!(f, "{number}: ")?,
            Where::Range(from, to) => write!(f, "{from}-{to}: ")?,
        }
        f.write_str(&self.what)
    }
}

//! Stories of creates that do not fail: what becomes of the first number when an order is placed elsewhere, SET by SET, fault by
//! fault. On replicas in memory, with faults on command.

mod bench;
mod coming_back;
mod first_number;

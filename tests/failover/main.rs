//! Stories of creates that do not fail: what becomes of the first number when an order is placed elsewhere, SET by SET, fault by
//! fault. On replicas in memory, with faults on command.

mod bench;
mod both_in_doubt;
mod breakers;
mod changes;
mod coming_back;
mod days;
mod first_number;
mod history;
mod killed;
mod races;
mod refusals;
mod sick_reads;
mod world;
mod zones;

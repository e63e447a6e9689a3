//! Stories of a store, its replicas in memory and under our thumb. Each test is named after the fact it proves.

mod absurd;
mod answers;
mod bench;
mod changes;
mod clocks;
mod closing;
mod crowds;
mod epochs;
mod growing;
mod maps;
mod origins;
mod own_code;
mod pressure;
mod quorums;
mod reads;
mod returning;
mod returning_on_disk;
mod scans;
mod seeds;
mod sick;
mod weak;

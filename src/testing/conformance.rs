//! The contract of [`Replica`] as a test suite: what every replica must pass before orders are trusted to it.
//!
//! Each clause is a function named after the fact it proves. They need a way to make a new, empty [`Place`] for a replica, and
//! open, close, drop and open again what is in it. A closure that opens a replica is a place:
//!
//! ```
//! use ordermint::MemoryReplica;
//! use ordermint::testing::conformance;
//! use std::sync::Arc;
//!
//! conformance::run_all(&|| {
//!     let memory = MemoryReplica::new();
//!     Box::new(move || Ok(Arc::new(memory.clone()) as Arc<_>))
//! });
//! ```
//!
//! A replica on disk makes a temporary directory for each place, opens it with `create: true`, and lets the place own it.
//! What the suite cannot see is told apart elsewhere: that what is synced survives a power cut, and that bytes which rot on
//! disk are found (but see [`Place::rot`]).

mod bench;
mod digests;
mod lasting;
mod merging;
mod origins;
mod reading;
mod refusing;
mod together;

use crate::order::OrderNumber;
use crate::replica::{Replica, ReplicaError};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Where one replica lives: a directory, a piece of memory. New and empty when the suite gets it.
pub trait Place {
    /// Opens the replica that lives here, making it the first time. The one opened before has been closed or dropped by
    /// then.
    ///
    /// # Errors
    /// Any error fails the clause.
    fn open(&self) -> Result<Arc<dyn Replica>, ReplicaError>;

    /// Whether what was applied is still there when the replica was dropped without `close`. Only a replica that is no
    /// good for a store says no; the clauses then close before they drop.
    fn keeps_what_was_dropped(&self) -> bool {
        true
    }

    /// Garbles what is stored under `number`, while no replica is open here. Returns `false`, as it does by default, where
    /// this cannot be done: the clauses about damage then prove less.
    fn rot(&self, number: OrderNumber) -> bool {
        let _ = number;
        false
    }
}

impl<F> Place for F
where
    F: Fn() -> Result<Arc<dyn Replica>, ReplicaError>,
{
    fn open(&self) -> Result<Arc<dyn Replica>, ReplicaError> {
        self()
    }
}

/// Makes a new, empty place at each call.
pub type NewPlace<'a> = dyn Fn() -> Box<dyn Place> + 'a;

/// One fact that holds of every replica.
#[derive(Clone, Copy, Debug)]
pub struct Clause {
    name: &'static str,
    check: fn(&NewPlace<'_>),
}

impl Clause {
    /// The fact, in words joined by underscores.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Checks it.
    ///
    /// # Panics
    /// When it does not hold, or when the replica panics.
    pub fn check(&self, new_place: &NewPlace<'_>) {
        (self.check)(new_place);
    }
}

macro_rules! clauses {
    ($($module:ident: $($name:ident),+;)+) => {
        &[$($(Clause { name: stringify!($name), check: $module::$name }),+),+]
    };
}

/// All clauses, the plain ones first.
#[must_use]
pub fn clauses() -> &'static [Clause] {
    clauses! {
        reading:
            nothing_is_found_where_nothing_was_written,
            fresh_orders_of_many_groups_and_days_are_found,
            payloads_may_be_empty_and_as_large_as_the_cap,
            the_first_and_the_last_number_of_all_days_can_be_held,
            numbers_below_between_and_above_others_are_absent,
            a_scan_is_the_same_at_every_page_size,
            a_scan_begins_above_the_given_number,
            a_scan_keeps_to_its_limits;
        merging:
            a_straggler_is_found_beside_the_numbers_above_it,
            a_newer_version_replaces_an_older_one,
            an_older_version_is_refused_and_named,
            the_refused_are_named_by_their_place_in_the_group,
            at_equal_versions_the_higher_generation_counts,
            what_is_held_already_counts_as_applied,
            a_void_replaces_an_order_and_refuses_a_late_one,
            several_versions_of_one_number_in_one_group_end_at_the_newest,
            a_group_at_the_cap_is_applied_whole,
            many_days_are_held_side_by_side;
        digests:
            a_digest_is_that_of_the_records_held,
            equal_content_has_equal_digests_however_it_came,
            every_difference_shows_in_the_digest,
            a_digest_below_an_epoch_leaves_newer_versions_out,
            a_digest_keeps_to_its_range;
        origins:
            an_origin_is_held_with_its_record,
            a_request_key_leads_to_all_its_numbers_and_to_no_others,
            a_request_key_is_looked_up_from_a_day_on,
            request_keys_are_told_page_by_page_over_all_days,
            a_key_of_a_write_that_is_refused_or_held_already_is_known,
            notes_are_told_as_their_records_stand,
            notes_are_told_page_by_page_over_all_days;
        lasting:
            a_fresh_replica_knows_nothing,
            an_identity_outlasts_reopening,
            a_banished_replica_stays_in_limbo_and_gives_values,
            a_readmitted_replica_votes_and_counts_on_above_what_was_seen,
            a_replica_that_nobody_named_is_not_readmitted,
            an_epoch_only_rises_and_outlasts_reopening,
            meta_values_are_replaced_and_listed_by_prefix,
            meta_values_outlast_reopening,
            what_was_applied_outlasts_a_close,
            what_was_applied_outlasts_a_drop_without_close,
            marks_count_the_groups_and_remember_the_peers;
        refusing:
            a_group_below_the_claimed_epoch_is_fenced_before_anything_is_written,
            a_number_of_another_set_is_refused,
            nothing_of_a_failed_group_is_shown,
            bytes_garbled_on_their_way_never_become_a_value,
            rotten_bytes_are_damaged_and_neither_a_value_nor_absent,
            after_a_close_every_call_says_closed;
        together:
            readers_beside_a_writer_see_whole_versions_that_never_go_back,
            random_groups_agree_with_a_model;
    }
}

/// Checks all clauses, and prints the name of each.
///
/// # Panics
/// When one or more do not hold: with the name of each and the reason.
pub fn run_all(new_place: &NewPlace<'_>) {
    let mut broken = Vec::new();
    for clause in clauses() {
        match catch_unwind(AssertUnwindSafe(|| clause.check(new_place))) {
            Ok(()) => println!("holds   {}", clause.name),
            Err(panic) => {
                println!("BROKEN  {}", clause.name);
                broken.push(format!("{}: {}", clause.name, reason(&*panic)));
            }
        }
    }
    let all = clauses().len();
    assert!(broken.is_empty(), "{} of {all} clauses do not hold:\n{}", broken.len(), broken.join("\n"));
    println!("all {all} clauses hold");
}

/// One more world for `random_groups_agree_with_a_model`, for longer runs than the three that are part of the suite.
///
/// # Panics
/// When replica and model differ.
pub fn run_seed(new_place: &NewPlace<'_>, seed: u64) {
    together::random_world(new_place, seed);
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

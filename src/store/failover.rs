//! Placing a new order: THE loop that makes a create not fail while one SET is well.
//!
//! An attempt ends in one of four ways, and each has its branch:
//!
//! * **stored**: told to the caller, with the numbers that were given up on the way.
//! * **not sent** (breaker open, busy, no W voters, day full): the next SET, for free; there is nothing to clean up.
//! * **refused** (the caller's fault, or the store is closed): told to the caller, without a second try.
//! * **doubtful** (too late, or fewer than W): the number is given up - from then on nobody is shown it - and the order is minted
//!   anew on another SET, whose record names the number it stands in for. That is one durable write: the order, and the promise to
//!   end the first number. Then the first is made void.
//!
//! What was shown to somebody before it could be given up is not placed a second time: the caller is told that it is in doubt.

use super::Inner;
use super::health::Link;
use crate::error::{Attempt, Error, NotAttempted};
use crate::order::{OrderNumber, SetId};
use crate::replica::{Draft, Origin, Version};
use crate::set::{Caller, Creation, FailedCreate, Listener, Placed, Trail};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Inner {
    /// Sends a create to the SET that is chosen for it, and to others as long as nothing was sent. Ends because each turn adds a SET
    /// to those that were tried.
    pub(super) fn place(self: &Arc<Inner>, payload: &[u8], mut caller: Caller) {
        // Who has never been sent has looked at the clock just now.
        let mut now = if caller.permit == 0 { caller.began } else { Instant::now() };
        loop {
            let tried = caller.trail.as_deref().map_or(&[][..], |trail| &trail.tried);
            let Some(chosen) = self.choose(tried, now) else {
                return self.no_set_left(caller);
            };
            // The doubtful number before is given up first, so that the two are never seen side by side.
            if !self.give_up_last(&mut caller) {
                chosen.link().give_back(chosen.permit);
                return self.ambiguous(caller);
            }
            let origin = caller.trail.as_deref().and_then(Trail::origin);
            let draft = Draft::with_origin(payload, origin.as_ref());
            let deadline = self.attempt_deadline(&caller, now);
            (caller.began, caller.permit) = (now, chosen.permit);
            let Err(failed) = chosen.shard().create(Creation { draft, deadline, caller }) else { return };
            let FailedCreate { caller: back, error, .. } = *failed;
            caller = back;
            chosen.link().not_sent(caller.permit, &error);
            if !self.may_go_elsewhere(&error) {
                return self.refused(caller, error);
            }
            caller.trail.get_or_insert_default().tried.push((chosen.shard().id(), error));
            now = Instant::now();
        }
    }

    /// Whether another SET may take what came to nothing in one: it was not sent. A SET that is closed while the store is not was
    /// retired this very moment.
    fn may_go_elsewhere(&self, error: &Error) -> bool {
        match error {
            Error::NotAttempted { .. } => true,
            Error::Closed => !self.closing.load(Ordering::Acquire),
            _ => false,
        }
    }

    /// When it is asked whether to try elsewhere: an even share of the time for each attempt that is left.
    fn attempt_deadline(&self, caller: &Caller, now: Instant) -> Instant {
        let mut left = self.settings.attempts;
        if let Some(trail) = caller.trail.as_deref() {
            // This one among them. Where there is no SET for another attempt, this one has all the time there is.
            let untried = u32::try_from(self.untried(&trail.tried)).unwrap_or(u32::MAX);
            left = left.saturating_sub(trail.doubtful.len() as u32).min(untried);
        }
        if left <= 1 {
            return caller.until;
        }
        let share = caller.until.saturating_duration_since(now) / left;
        now + share.min(self.settings.attempt_timeout)
    }

    /// Gives up the number of the last attempt. `false` where somebody was shown it.
    fn give_up_last(&self, caller: &mut Caller) -> bool {
        let Some(trail) = caller.trail.as_deref_mut() else { return true };
        if trail.given_up == trail.doubtful.len() {
            return true;
        }
        let Some((number, version)) = trail.doubtful.last().copied() else { return true };
        let given_up = match self.shard(number.set_id()) {
            Ok(shard) => shard.give_up(number, version),
            // Nobody is shown a number of a SET that is retired.
            Err(Error::SetRetired { .. }) => Some(version),
            Err(_) => None,
        };
        // The record of the next attempt names all versions that are given up.
        let (Some(version), Some(last)) = (given_up, trail.doubtful.last_mut()) else { return false };
        last.1 = version;
        trail.given_up += 1;
        if let Some(log) = &trail.given_up_log {
            log.lock().push((number, version));
        }
        true
    }

    /// Nothing could be sent anywhere else.
    fn no_set_left(&self, mut caller: Caller) {
        let Some(trail) = caller.trail.as_deref_mut() else {
            let attempts = self.attempts_of(&[]);
            return caller.promise.complete(Err(attempts));
        };
        // The last doubtful number is the caller's, to be resolved; so it is not given up.
        if let (Some(ambiguous), Some((number, _))) = (trail.ambiguous.take(), trail.doubtful.last().copied()) {
            if trail.given_up == trail.doubtful.len()
                && let Ok(shard) = self.shard(number.set_id())
            {
                shard.take_back(number);
                trail.given_up -= 1;
            }
            self.end_all(trail);
            return caller.promise.complete(Err(ambiguous));
        }
        let error = self.attempts_of(&trail.tried);
        caller.promise.complete(Err(error));
    }

    /// The last doubtful number was shown to somebody: it may be an order, and no other is placed for it.
    fn ambiguous(&self, mut caller: Caller) {
        let ambiguous = caller.trail.as_deref_mut().and_then(|trail| {
            // Those before it were given up for it.
            self.end_all(trail);
            trail.ambiguous.take()
        });
        caller.promise.complete(Err(ambiguous.unwrap_or(Error::Closed)));
    }

    /// No other SET would be better.
    fn refused(&self, mut caller: Caller, error: Error) {
        match caller.trail.as_deref_mut() {
            Some(trail) if trail.ambiguous.is_some() => self.no_set_left(caller),
            _ => caller.promise.complete(Err(error)),
        }
    }

    /// An attempt was sent, and it is not known whether it is stored.
    fn doubtful(self: &Arc<Inner>, failed: FailedCreate, link: &Link) {
        let FailedCreate { mut caller, payload, error } = failed;
        let Error::Ambiguous { token, .. } = &error else { return self.refused(caller, error) };
        let (number, version) = (token.number, token.version);
        let trail = caller.trail.get_or_insert_default();
        trail.tried.push((number.set_id(), error.clone()));
        trail.doubtful.push((number, version));
        trail.ambiguous = Some(error);
        let may_go_on =
            trail.doubtful.len() < self.settings.attempts as usize && Instant::now() < caller.until && link.may_mint_again();
        match may_go_on {
            true => self.place(&payload, caller),
            false => self.no_set_left(caller),
        }
    }

    /// An order is stored of which there is more to say than where it went.
    fn placed(self: &Arc<Inner>, caller: Caller, number: OrderNumber, version: Version) {
        if let Some(trail) = caller.trail.as_deref() {
            self.end_all(trail);
            if !trail.unverified.is_empty() {
                self.want_walk();
            }
        }
        tell_placed(caller, number, version);
    }

    /// Has the numbers that were given up made void.
    fn end_all(&self, trail: &Trail) {
        for (number, version) in &trail.doubtful[..trail.given_up] {
            self.owe_void(*number, *version);
        }
    }

    /// The one error that says what every SET said.
    fn attempts_of(&self, tried: &[(SetId, Error)]) -> Error {
        let mut attempts: Vec<Attempt> = tried.iter().filter_map(|(set, error)| Attempt::of(*set, error)).collect();
        attempts.extend(self.unavailable(tried).into_iter().map(|(set, retry_after)| Attempt::unavailable(set, retry_after)));
        Error::NotAttempted { reason: NotAttempted::of_all(attempts) }
    }
}

/// Tells the caller where the order is, and what became of it on the way.
fn tell_placed(caller: Caller, number: OrderNumber, version: Version) {
    let mut placed = Placed::at_once(number, version);
    if let Some(trail) = caller.trail {
        placed.attempts += trail.doubtful.len() as u8;
        placed.superseded = trail.superseded().map(|(number, _)| *number).collect();
        placed.unverified = trail.unverified;
    }
    caller.promise.complete(Ok(placed));
}

impl Trail {
    /// The numbers that the order stands in for.
    fn superseded(&self) -> impl Iterator<Item = &(OrderNumber, Version)> {
        self.earlier.iter().chain(&self.doubtful)
    }

    /// What the order's record says about how it came to be.
    fn origin(&self) -> Option<Origin> {
        let origin = Origin {
            request_key: self.request_key.clone(),
            supersedes: self.superseded().copied().collect(),
            unverified: self.unverified.clone(),
            copy_of: None,
            partly_asked: self.partly_asked.clone(),
            looked_from: self.looked_from,
        };
        (!origin.is_empty()).then_some(origin)
    }
}

impl Listener for Link {
    fn stored(&self, permit: u64, good: u32, slow: u32) {
        self.wrote(permit, good, slow);
    }

    fn placed(&self, caller: Caller, number: OrderNumber, version: Version) {
        match self.store() {
            Some(store) => store.placed(caller, number, version),
            // The store is gone: what is owed stands in the order's record.
            None => tell_placed(caller, number, version),
        }
    }

    fn failed(&self, failed: FailedCreate) {
        let permit = failed.caller.permit;
        let store = self.store();
        match (&failed.error, store) {
            (Error::Ambiguous { .. }, store) => {
                self.write_failed(permit);
                match store {
                    Some(store) => store.doubtful(failed, self),
                    None => failed.caller.promise.complete(Err(failed.error)),
                }
            }
            (error, Some(store)) if store.may_go_elsewhere(error) => {
                self.not_sent(permit, error);
                let FailedCreate { mut caller, payload, error } = failed;
                caller.trail.get_or_insert_default().tried.push((self.set(), error));
                store.place(&payload, caller);
            }
            (_, Some(store)) => {
                self.not_sent(permit, &failed.error);
                store.refused(failed.caller, failed.error);
            }
            (_, None) => failed.caller.promise.complete(Err(failed.error)),
        }
    }

    fn alternatives(&self) -> u64 {
        self.store().map_or(0, |store| store.alternatives(self.set()))
    }
}

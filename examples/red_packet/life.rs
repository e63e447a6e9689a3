//! The life of a packet: packed, sent, grabbed, opened.
//!
//! Each step is one call of the store, and each call can end in four ways that a program has to tell apart: done; refused, and the reason
//! says what to do; not done, and safe to try again ([`Error::is_retryable`]); *in doubt*, which only the store can settle
//! ([`OrderStore::resolve`]). Written as tasks of a runtime because thousands of people are on their way at once; each answer of the
//! store is a future. With threads it would be `wait()` for `await`.

use crate::books::{Account, Known, Told};
use crate::packet::{Garbled, Opened, Packet, State, User};
use crate::plan::Plan;
use crate::tally::Tally;
use fastrand::Rng;
use ordermint::{
    Change, CreateOptions, Error, NotAttempted, Order, OrderNumber, OrderStore, Pending, Resolved, Version, WriteToken,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long somebody comes again after a call that changed nothing, resting twice as long each time: a SET that is lost may take a
/// while to come back, and its packets are nowhere else.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_REST: Duration = Duration::from_millis(2);
const LONGEST_REST: Duration = Duration::from_millis(250);
/// How often a step is begun anew after its write was in doubt, or somebody else was faster.
const ROUNDS: u32 = 5;

/// Where all lives are lived.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: OrderStore,
    pub(crate) tally: Tally,
}

/// What is left of a life.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// `None` where nothing was ever stored.
    pub(crate) account: Option<Account>,
    pub(crate) create_us: Option<u32>,
    pub(crate) open_us: Vec<u32>,
    /// Writes of the store that held opens, and how many the fullest held.
    pub(crate) writes: usize,
    pub(crate) fullest: usize,
    pub(crate) visits: usize,
}

/// Somebody's visit to a packet.
struct Visit {
    user: User,
    told: Told,
    /// Of a share that was opened just now: how long it took, and the version that holds it.
    opened: Option<(u32, Version)>,
}

/// A packet from beginning to end.
pub(crate) async fn live(world: Arc<World>, plan: Plan) -> Story {
    let mut story = Story { visits: plan.visits(), ..Story::default() };
    let packet = Packet::packed(plan.sender, plan.amount, plan.shares);
    let Plan { sender, amount, shares, .. } = plan;

    let started = Instant::now();
    let (number, version) = match world.pack(&packet, &plan.key).await {
        Ok(placed) => placed,
        Err(Failed { why, doubtful }) => {
            world.tally.failed(&format!("packing: {why}"));
            story.account = doubtful.map(|token| {
                let known = Known::Nothing;
                Account { number: token.number, sender, amount, shares, known, told: Vec::new() }
            });
            return story;
        }
    };
    story.create_us = Some(micros(started));
    let account = story.account.insert(Account { number, sender, amount, shares, known: Known::Packed, told: Vec::new() });

    // Here the payment would be asked for. Its confirmation is what sends the packet.
    if let Err(Failed { why, .. }) = world.send(number, version, packet.clone()).await {
        world.tally.failed(&format!("sending {number}: {why}"));
        return story;
    }
    account.known = Known::Sent;

    let mut rng = Rng::with_seed(plan.seed);
    let news_again = async {
        // The packet as it was, under the version of old: were that not compared, it would empty the packet of its receive orders.
        if plan.paid_twice
            && let Err(Failed { why, .. }) = world.send(number, version, packet).await
        {
            world.tally.failed(&format!("sending {number} again: {why}"));
        }
    };
    let (visits, ()) = tokio::join!(come(&world, number, plan.crowd, &mut rng), news_again);
    story.enter(visits);
    let visits = come(&world, number, plan.latecomers, &mut rng).await;
    story.enter(visits);
    story
}

/// All at once, and on all threads.
async fn come(world: &Arc<World>, number: OrderNumber, users: Vec<User>, rng: &mut Rng) -> Vec<Visit> {
    let mut visits = JoinSet::new();
    for user in users {
        visits.spawn(visit(Arc::clone(world), number, user, rng.u64(..)));
    }
    visits.join_all().await
}

impl Story {
    fn enter(&mut self, visits: Vec<Visit>) {
        let mut versions = Vec::new();
        for visit in visits {
            if let Some((us, version)) = visit.opened {
                self.open_us.push(us);
                versions.push(version);
            }
            if let Some(account) = &mut self.account {
                account.told.push((visit.user, visit.told));
            }
        }
        // Opens with the same version were one write.
        versions.sort_unstable();
        for write in versions.chunk_by(|one, other| one == other) {
            self.writes += 1;
            self.fullest = self.fullest.max(write.len());
        }
    }
}

/// A receiver grabs, and then opens if there was something to grab.
async fn visit(world: Arc<World>, number: OrderNumber, user: User, seed: u64) -> Visit {
    let mut visit = Visit { user, told: Told::Refused, opened: None };
    match world.grab(number, user).await {
        Ok(None) => {}
        Ok(Some(told)) => return Visit { told, ..visit },
        Err(Failed { why, .. }) => {
            world.tally.failed(&format!("grabbing {number}: {why}"));
            return visit;
        }
    }
    let started = Instant::now();
    match world.open(number, user, seed).await {
        Ok((told, version)) => {
            visit.told = told;
            visit.opened = version.map(|version| (micros(started), version));
        }
        Err(Failed { why, doubtful }) => {
            world.tally.failed(&format!("opening {number}: {why}"));
            if doubtful.is_some() {
                visit.told = Told::Unknown;
            }
        }
    }
    visit
}

/// A step that did not succeed.
struct Failed {
    why: String,
    /// The write that may have taken effect all the same.
    doubtful: Option<WriteToken>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed { why: error.to_string(), doubtful: None }
    }
}

impl World {
    /// Writes the packet down, on any SET that is well. Its key makes it one packet however often this is tried.
    async fn pack(&self, packet: &Packet, key: &str) -> Result<(OrderNumber, Version), Failed> {
        let (since, mut rest) = (Instant::now(), FIRST_REST);
        let options = CreateOptions::new().request_key(key);
        loop {
            match self.patiently(|| self.store.create_with(packet.encode(), options.clone())).await {
                Ok(placed) => {
                    if !placed.superseded.is_empty() {
                        Tally::add(&self.tally.reminted);
                    }
                    if !placed.unverified.is_empty() {
                        Tally::add(&self.tally.unverified);
                    }
                    return Ok((placed.number, placed.version));
                }
                // The next create with that key finds this one, or ends it and places another.
                Err(Error::Ambiguous { .. }) if since.elapsed() < PATIENCE => Tally::add(&self.tally.asked_again),
                Err(error @ Error::Ambiguous { token, .. }) => return Err(in_doubt(token)(error)),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(LONGEST_REST);
        }
    }

    /// From packed to sent, if it still is what was packed. Also succeeds where somebody else has done it.
    async fn send(&self, number: OrderNumber, packed: Version, packet: Packet) -> Result<(), Failed> {
        let (mut expected, mut packet) = (packed, packet);
        let mut last = None;
        for _ in 0..ROUNDS {
            let value = packet.clone().sent().encode();
            match self.patiently(|| self.store.update(number, expected, &value)).await {
                Ok(_) => return Ok(()),
                Err(error @ Error::VersionMismatch { .. }) => {
                    Tally::add(&self.tally.mismatches);
                    last = Some(error);
                }
                Err(error @ Error::Ambiguous { token, .. }) => {
                    self.settle(token).await?;
                    last = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
            // Decided anew, from what stands there now. To write the old packet over it would be the mistake that versions are for.
            let order = self.patiently(|| self.store.get(number)).await?;
            let order = order.ok_or(Error::NoSuchOrder { number })?;
            packet = decoded(&order)?;
            if packet.state == State::Sent {
                return Ok(());
            }
            expected = order.version;
        }
        Err(last.unwrap_or(Error::Closed).into())
    }

    /// Looks if there is anything to open. A packet only ever gets emptier, so that *empty* is final and costs no write; `None` is a
    /// right to try.
    async fn grab(&self, number: OrderNumber, user: User) -> Result<Option<Told>, Failed> {
        let order = self.patiently(|| self.store.get(number)).await?;
        let packet = decoded(&order.ok_or(Error::NoSuchOrder { number })?)?;
        let told = packet.receive_of(user).map(Told::Yours).or(packet.is_empty().then_some(Told::Empty));
        if let Some(told) = told {
            Tally::add(if told == Told::Empty { &self.tally.empty } else { &self.tally.again });
        }
        Ok(told)
    }

    /// Takes a share. Amount and receive order are one write of the packet, so there is never one without the other. The version is
    /// that of a share that was acknowledged at once.
    async fn open(&self, number: OrderNumber, user: User, seed: u64) -> Result<(Told, Option<Version>), Failed> {
        let mut last = None;
        for _ in 0..ROUNDS {
            match self.patiently(|| self.store.modify(number, move |order| opening(order, user, seed))).await {
                Ok(modified) => {
                    let (count, answer) = match modified.output.map_err(|garbled| no_packet(number, garbled))? {
                        Opened::Received(cents) => (&self.tally.opens, (Told::Yours(cents), Some(modified.version))),
                        Opened::Already(cents) => (&self.tally.again, (Told::Yours(cents), None)),
                        Opened::Empty => (&self.tally.empty, (Told::Empty, None)),
                        Opened::NotSent => return Err(Failed { why: "it was sent, and is not".into(), doubtful: None }),
                    };
                    Tally::add(count);
                    return Ok(answer);
                }
                Err(error @ Error::Ambiguous { token, .. }) => {
                    let resolved = self.settle(token).await?;
                    // The amount was lost with the answer. But it is in the packet, if it is anywhere.
                    let order = self.patiently(|| self.store.get(number)).await.map_err(in_doubt(token))?;
                    let packet = decoded(&order.ok_or(Error::NoSuchOrder { number })?)?;
                    match packet.receive_of(user) {
                        Some(cents) => {
                            // Somebody who came twice may have received it by his other visit.
                            let is_other = resolved == Some(Resolved::NotApplied);
                            Tally::add(if is_other { &self.tally.again } else { &self.tally.opens });
                            return Ok((Told::Yours(cents), None));
                        }
                        // A write is shared with those for whom nothing was left.
                        None if resolved == Some(Resolved::Applied) && !packet.is_empty() => {
                            self.tally.failed(&format!("{token} was resolved as applied, and {user} is not in the packet"));
                        }
                        None => {}
                    }
                    last = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(last.unwrap_or(Error::Closed).into())
    }

    /// Lets the store settle what became of a write. `None`: newer writes went over it, so that it will not come to life later, and
    /// whoever asks sees in the order itself if they were based on it.
    async fn settle(&self, token: WriteToken) -> Result<Option<Resolved>, Failed> {
        Tally::add(&self.tally.ambiguous);
        match self.patiently(|| self.store.resolve(token)).await {
            Ok(resolved) => {
                Tally::add(match resolved {
                    Resolved::Applied => &self.tally.applied,
                    Resolved::NotApplied => &self.tally.not_applied,
                });
                Ok(Some(resolved))
            }
            Err(Error::Superseded { .. }) => {
                Tally::add(&self.tally.superseded);
                Ok(None)
            }
            Err(error) => {
                Tally::add(&self.tally.unsettled);
                Err(in_doubt(token)(error))
            }
        }
    }

    /// Asks again, after a rest, while the answer is that nothing was changed and that later may be better.
    async fn patiently<T>(&self, mut ask: impl FnMut() -> Pending<T>) -> Result<T, Error> {
        let (since, mut rest) = (Instant::now(), FIRST_REST);
        loop {
            let asked = Instant::now();
            match ask().await {
                Err(error) if error.is_retryable() && since.elapsed() < PATIENCE => {
                    if is_away(&error) {
                        self.tally.told_away(asked.elapsed());
                        rest = LONGEST_REST;
                    } else {
                        self.tally.tried_again(&error);
                    }
                }
                answer => return answer,
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(LONGEST_REST);
        }
    }
}

/// The packet's SET is away: a visitor is told so, and comes again.
fn is_away(error: &Error) -> bool {
    match error {
        Error::SetUnavailable { .. } | Error::QuorumLost { .. } => true,
        Error::NotAttempted { reason } => matches!(reason, NotAttempted::Unavailable { .. } | NotAttempted::NoQuorum { .. }),
        _ => false,
    }
}

/// Runs inside the store, when it is this user's turn on the packet.
fn opening(order: &Order, user: User, seed: u64) -> Change<Result<Opened, Garbled>> {
    let mut packet = match Packet::decode(&order.value) {
        Ok(packet) => packet,
        Err(garbled) => return Change::keep(Err(garbled)),
    };
    let opened = packet.open(user, &mut Rng::with_seed(seed));
    match opened {
        Opened::Received(_) => Change::write(packet.encode(), Ok(opened)),
        Opened::Already(_) | Opened::Empty | Opened::NotSent => Change::keep(Ok(opened)),
    }
}

fn decoded(order: &Order) -> Result<Packet, Failed> {
    Packet::decode(&order.value).map_err(|garbled| no_packet(order.number, garbled))
}

fn no_packet(number: OrderNumber, garbled: Garbled) -> Failed {
    Failed { why: format!("{number} is no packet: {garbled}"), doubtful: None }
}

fn in_doubt(token: WriteToken) -> impl Fn(Error) -> Failed {
    move |error| Failed { why: error.to_string(), doubtful: Some(token) }
}

fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}

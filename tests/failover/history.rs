//! What everybody was told in a random world, over all of its processes, and whether it was the truth.

use crate::bench::{AGES, OneSet, World, all_orders, ends, held, until, until_all_are_well};
use fastrand::Rng;
use ordermint::{CreateOptions, Error, Kind, OrderNumber, OrderStore, Resolved, WriteToken};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// What everybody was told, over all lives.
#[derive(Default)]
pub(crate) struct History {
    /// By number: which order.
    pub(crate) acknowledged: BTreeMap<OrderNumber, String>,
    pub(crate) superseded: BTreeSet<OrderNumber>,
    /// Shown by a strong read or a scan.
    pub(crate) seen: BTreeMap<OrderNumber, String>,
    /// Orders of which it was said that nothing was sent.
    pub(crate) refused: BTreeSet<String>,
    /// In doubt, and the caller's to settle.
    pub(crate) doubts: Vec<(WriteToken, String)>,
    /// Orders whose callers never had an answer.
    pub(crate) unanswered: BTreeSet<String>,
    /// Orders that were in doubt or unanswered when a process ended: what was sent of them may come to light at any time.
    pub(crate) left_open: BTreeSet<String>,
    /// A replica was away when a process began.
    pub(crate) were_away: bool,
    /// By request key, which is the order's name as well: what was told for it.
    pub(crate) told: BTreeMap<String, OrderNumber>,
    /// Request keys to be used again, since it is not known what became of them.
    pub(crate) again: Vec<String>,
    /// What was heard of each request key, in which life: for whoever looks into a failure.
    log: BTreeMap<String, Vec<String>>,
    /// How many request keys were used.
    keys: u64,
}

impl History {
    /// A request key for another create: one of which nobody knows what became of it, one that was used of late, or a new one.
    pub(crate) fn key(&mut self, rng: &mut Rng) -> String {
        match rng.u8(..) {
            0..100 if !self.again.is_empty() => self.again.swap_remove(rng.usize(..self.again.len())),
            100..180 if self.keys > 0 => format!("key {}", self.keys - 1 - rng.u64(..self.keys.min(30))),
            _ => {
                self.keys += 1;
                format!("key {}", self.keys - 1)
            }
        }
    }

    pub(crate) fn note(&mut self, key: &str, heard: String) {
        self.log.entry(key.to_owned()).or_default().push(heard);
    }

    /// An order was told for a request key.
    pub(crate) fn tell(&mut self, key: &str, number: OrderNumber) {
        let before = *self.told.entry(key.to_owned()).or_insert(number);
        assert_eq!(before, number, "{key} was told as two orders: {:#?}", self.log.get(key));
        assert!(!self.superseded.contains(&number), "{key}: {number} was given up, and is told: {:#?}", self.log.get(key));
    }

    /// An attempt of a process that ended, which was away when another order was placed for its key; or whose successor was, with the
    /// note that it is to end. To whoever looks at it before it is made void it is an order.
    fn came_to_light(&self, number: OrderNumber, order: &String) -> bool {
        self.were_away && self.left_open.contains(order) && !self.acknowledged.contains_key(&number)
    }

    /// A process ends.
    pub(crate) fn leave_open(&mut self) {
        let doubts = self.doubts.iter().map(|(_, order)| order.clone());
        let orders: Vec<String> = doubts.chain(self.unanswered.iter().cloned()).collect();
        self.left_open.extend(orders);
    }
}

/// Creates under request keys, which place nothing while a SET cannot be asked: at most one order comes of each, without exception.
pub(crate) fn with_key(options: CreateOptions, order: &str) -> CreateOptions {
    if is_key(order) { options.request_key(order).strict() } else { options }
}

pub(crate) fn is_key(order: &str) -> bool {
    order.starts_with("key ")
}

/// Without anybody creating again, a walk over the request keys leaves one order of each.
fn a_walk_leaves_one_order_of_each_key(store: &OrderStore, history: &History) {
    until("all keys are decided", || {
        let report = store.reconcile().wait().expect("a walk ends");
        assert_eq!(report.alarms, [], "it can be told of each which one stands");
        report.is_clean()
    });
    let mut by_key: BTreeMap<String, Vec<OrderNumber>> = BTreeMap::new();
    for (number, payload) in all_orders(store) {
        by_key.entry(order_of(payload.as_bytes())).or_default().push(number);
    }
    let twice = by_key.into_iter().find(|(key, numbers)| is_key(key) && numbers.len() > 1);
    if let Some((key, numbers)) = twice {
        panic!("{key} names {numbers:?} after a walk: {:#?}", history.log.get(&key));
    }
}

/// Whatever became of a create with a request key, the next one with it tells what stands.
fn all_keys_are_used_again(store: &OrderStore, history: &mut History) {
    for key in (0..history.keys).map(|at| format!("key {at}")) {
        let start = Instant::now();
        let answer = loop {
            let answer = ends(store.create_with(format!("{key}|0"), with_key(CreateOptions::new(), &key)));
            if !answer.as_ref().is_err_and(|error| error.is_retryable() || error.outcome_unknown()) {
                break answer;
            }
            assert!(start.elapsed() < AGES, "{key}, while all are well: {answer:?}");
            std::thread::sleep(Duration::from_millis(2));
        };
        history.note(&key, format!("at rest: {answer:?}"));
        match answer {
            Ok(placed) => {
                history.tell(&key, placed.number);
                history.acknowledged.insert(placed.number, key);
            }
            Err(error) => panic!("{key}: {error}: {:#?}", history.log.get(&key)),
        }
    }
}

/// Which order a payload belongs to: what stands before the bar stays when it is changed.
pub(crate) fn order_of(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    text.split('|').next().unwrap_or_default().to_owned()
}

pub(crate) fn comes_to_rest(world: &World, store: &OrderStore) {
    world.release_all();
    world.sets.iter().for_each(OneSet::come_back);
    // Nor does anything fail any more that was still to fail.
    for faults in world.sets.iter().flat_map(OneSet::faults) {
        faults.fail_applies(0);
        faults.fail_after_apply(0);
        faults.panic_applies(0);
    }
    until("nothing is owed", || {
        until_all_are_well(store);
        store.status().sets.iter().all(|set| set.notes_waiting == 0)
    });
    ends(store.compared()).expect("they are compared");
}

pub(crate) fn is_as_told(world: &World, store: &OrderStore, history: &mut History, walks_first: bool) {
    // Whoever was left in doubt settles it, or not.
    for (at, (token, order)) in std::mem::take(&mut history.doubts).into_iter().enumerate() {
        if at % 3 == 0 {
            continue;
        }
        let mut outcome = None;
        until("it is settled", || {
            outcome = match ends(store.resolve(token)) {
                Err(Error::Superseded { .. }) => return true,
                answer => answer.ok(),
            };
            outcome.is_some()
        });
        if is_key(&order) {
            history.note(
                &order,
                format!(
                    "{token} is resolved: {outcome:?}; alive on {}, void on {}",
                    world.alive_on(token.number),
                    world.void_on(token.number)
                ),
            );
        }
        match outcome {
            Some(Resolved::Applied) => {
                if is_key(&order) {
                    history.tell(&order, token.number);
                }
                history.acknowledged.insert(token.number, order);
            }
            Some(Resolved::NotApplied) => {
                assert!(
                    !history.seen.contains_key(&token.number) || history.came_to_light(token.number, &order),
                    "{} was shown, and never was: {order} {:#?}",
                    token.number,
                    history.log.get(&order)
                );
                assert_ne!(history.told.get(&order), Some(&token.number), "{order} was told, and never was");
                history.superseded.insert(token.number);
            }
            None => {}
        }
    }
    if walks_first {
        a_walk_leaves_one_order_of_each_key(store, history);
    }
    all_keys_are_used_again(store, history);
    comes_to_rest(world, store);
    let alarms = store.status().alarms;
    assert!(alarms.is_empty(), "{alarms:?}");
    let orders: BTreeMap<OrderNumber, String> =
        all_orders(store).into_iter().map(|(number, payload)| (number, order_of(payload.as_bytes()))).collect();
    for (number, order) in &history.acknowledged {
        assert_eq!(orders.get(number), Some(order), "{number} was acknowledged: {:#?}", history.log.get(order));
    }
    let seen = history.seen.iter().filter(|(number, order)| !history.came_to_light(**number, order));
    for (number, order) in seen {
        assert_eq!(orders.get(number), Some(order), "{number} was shown: {:#?}", history.log.get(order));
    }
    for number in &history.superseded {
        assert!(!orders.contains_key(number), "{number} was given up, and lives");
    }
    let mut by_order: BTreeMap<&String, Vec<OrderNumber>> = BTreeMap::new();
    for (number, order) in &orders {
        by_order.entry(order).or_default().push(*number);
    }
    for (order, numbers) in by_order {
        assert!(!history.refused.contains(order), "{order}: {numbers:?}, and nothing was sent");
        // Without a request key a record that says which of two numbers was given up may be away.
        assert!(
            numbers.len() == 1 || (!is_key(order) && history.left_open.contains(order)),
            "{order} stands there twice: {numbers:?} {:#?}",
            history.log.get(order)
        );
    }
    // What is given up and told of is void everywhere; all else that any replica holds is an order, or void on W.
    let given_up: Vec<OrderNumber> = history.superseded.iter().copied().collect();
    for set in &world.sets {
        for (number, kind) in held(set) {
            let is_order = orders.contains_key(&number);
            assert_eq!(kind == Kind::Order, is_order, "{number}: what replicas hold is not what is shown");
            if !is_order {
                assert!(world.void_on(number) >= 2, "{number} may come to life");
            }
        }
    }
    for number in given_up {
        assert_eq!(world.alive_on(number), 0, "{number} was given up, and a replica holds it");
    }
}

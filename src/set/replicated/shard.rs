//! What the store asks of this SET, handed on to whatever does it.

use super::ReplicatedSet;
use super::upkeep::coordinator::Event;
use crate::error::{Error, WriteToken};
use crate::order::{Day, OrderNumber, SetId};
use crate::pending::{Pending, Promise};
use crate::replica::{KeyUse, Noted, Origin, Version};
use crate::set::{
    Asker, Compared, Creation, Edit, Ending, FailedCreate, IndexPage, KeyFound, Keyed, Order, Page, Reading, Resolved, Shard,
    ShardStatus,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

impl Shard for ReplicatedSet {
    fn id(&self) -> SetId {
        self.core.id
    }

    fn create(&self, creation: Creation) -> Result<(), Box<FailedCreate>> {
        self.core.create(creation)
    }

    fn load(&self) -> u32 {
        self.core.in_flight.load()
    }

    fn give_up(&self, number: OrderNumber, version: Version) -> Option<Version> {
        self.core.give_up(number, version)
    }

    fn take_back(&self, number: OrderNumber) {
        self.core.doubts.lock().take_back(number);
    }

    fn disown(&self, number: OrderNumber, stands: OrderNumber) {
        self.core.doubts.lock().disown(number, stands);
    }

    fn end(&self, number: OrderNumber, version: Version, deadline: Instant, promise: Promise<Ending>) {
        self.core.end(number, version, deadline, promise);
    }

    fn noted(
        &self,
        after: Option<OrderNumber>,
        limit: usize,
        deadline: Instant,
        promise: Promise<IndexPage<Noted, OrderNumber>>,
    ) {
        self.core.noted(after, limit, deadline, promise);
    }

    fn keys(
        &self,
        since: Day,
        after: Option<KeyUse>,
        limit: usize,
        deadline: Instant,
        promise: Promise<IndexPage<KeyUse, KeyUse>>,
    ) {
        self.core.keys(since, after, limit, deadline, promise);
    }

    fn keyed(&self, key: Bytes, since: Day, deadline: Instant, promise: Promise<KeyFound>) {
        self.core.keyed(key, since, deadline, promise);
    }

    fn keyed_at(&self, number: OrderNumber, deadline: Instant, promise: Promise<Option<Keyed>>) {
        self.core.keyed_at(number, deadline, promise);
    }

    fn confirm(&self, number: OrderNumber, expected: Version, more: Origin, deadline: Instant, promise: Promise<Version>) {
        self.core.confirm(number, expected, more, deadline, promise);
    }

    fn probe(&self, deadline: Instant, promise: Promise<()>) {
        self.core.probe(deadline, promise);
    }

    fn recent(&self, number: OrderNumber, reading: Reading) -> Option<Result<Option<Order>, Error>> {
        self.core.recent(number, reading)
    }

    fn get(&self, number: OrderNumber, reading: Reading, deadline: Instant, promise: Promise<Option<Order>>) {
        self.core.get_as(number, reading, deadline, promise);
    }

    fn update(&self, number: OrderNumber, expected: Version, payload: &[u8], deadline: Instant, promise: Promise<Version>) {
        self.core.update(number, expected, payload, deadline, promise);
    }

    fn modify(&self, number: OrderNumber, edit: Arc<dyn Edit>, deadline: Instant) {
        self.core.modify(number, edit, deadline);
    }

    fn resolve(&self, token: WriteToken, asker: Asker, deadline: Instant, promise: Promise<Resolved>) {
        self.core.resolve(token, asker, deadline, promise);
    }

    fn take_out_replica(&self, index: u8) -> Result<(), Error> {
        self.core.take_out_replica(index)
    }

    fn bring_back_replica(&self, index: u8) -> Result<(), Error> {
        self.core.bring_back_replica(index)
    }

    fn accept_loss(&self) -> Result<(), Error> {
        self.core.accept_loss()
    }

    fn scan_page(&self, day: Day, after: Option<OrderNumber>, limit: usize, deadline: Instant, promise: Promise<Page>) {
        self.core.scan_page(day, after, limit, deadline, promise);
    }

    fn days(&self, deadline: Instant) -> Pending<Vec<Day>> {
        self.core.days(deadline)
    }

    fn heard(&self) -> (u32, u16, bool) {
        let heard = self.core.voters().minus(self.core.silent());
        (self.core.epoch(), heard.bits(), self.core.ranges.lock().is_complete())
    }

    fn status(&self) -> ShardStatus {
        self.core.status()
    }

    fn compared(&self) -> Pending<Compared> {
        self.core.compared()
    }

    fn accept_clock(&self) {
        self.core.post(Event::ClockAccepted);
    }

    fn raise_floor(&self, day: Day, deadline: Instant) -> Pending<()> {
        self.core.raise_floor(day, deadline)
    }

    fn spread_map(&self, map: Bytes, deadline: Instant) -> Pending<()> {
        self.core.spread_map(map, deadline)
    }

    fn close(&self) -> Pending<()> {
        self.core.close()
    }
}

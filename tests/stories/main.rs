//! Stories of a store, its replicas in memory and under our thumb. Each test is named after the fact it proves.

/// What a replica that is nearly the one in its `inner` does as that does: all but what it says about itself.
macro_rules! pass_on_the_rest {
    () => {
        fn form(&self, identity: &ordermint::Identity) -> Result<(), ordermint::ReplicaError> {
            self.inner.form(identity)
        }
        fn claim(&self, epoch: u32) -> Result<(), ordermint::ReplicaError> {
            self.inner.claim(epoch)
        }
        fn banish(&self, reason: &str) -> Result<(), ordermint::ReplicaError> {
            self.inner.banish(reason)
        }
        fn readmit(&self, group: u64) -> Result<(), ordermint::ReplicaError> {
            self.inner.readmit(group)
        }
        fn apply(&self, group: &ordermint::Group) -> Result<ordermint::Applied, ordermint::ReplicaError> {
            self.inner.apply(group)
        }
        fn get(&self, number: ordermint::OrderNumber) -> Result<ordermint::Lookup, ordermint::ReplicaError> {
            self.inner.get(number)
        }
        fn scan(
            &self,
            day: ordermint::Day,
            after: Option<ordermint::OrderNumber>,
            limit: ordermint::ScanLimit,
        ) -> Result<ordermint::Chunk, ordermint::ReplicaError> {
            self.inner.scan(day, after, limit)
        }
        fn digest(
            &self,
            day: ordermint::Day,
            range: u32,
            below_epoch: u32,
        ) -> Result<ordermint::RangeDigest, ordermint::ReplicaError> {
            self.inner.digest(day, range, below_epoch)
        }
        fn keyed(&self, key: &[u8], since: ordermint::Day) -> Result<Vec<ordermint::OrderNumber>, ordermint::ReplicaError> {
            self.inner.keyed(key, since)
        }
        fn keys(
            &self,
            since: ordermint::Day,
            after: Option<&ordermint::KeyUse>,
            limit: usize,
        ) -> Result<Vec<ordermint::KeyUse>, ordermint::ReplicaError> {
            self.inner.keys(since, after, limit)
        }
        fn noted(
            &self,
            after: Option<ordermint::OrderNumber>,
            limit: usize,
        ) -> Result<Vec<ordermint::Noted>, ordermint::ReplicaError> {
            self.inner.noted(after, limit)
        }
        fn days(&self) -> Result<Vec<ordermint::Day>, ordermint::ReplicaError> {
            self.inner.days()
        }
        fn meta(&self, key: &str) -> Result<Option<bytes::Bytes>, ordermint::ReplicaError> {
            self.inner.meta(key)
        }
        fn meta_with_prefix(&self, prefix: &str) -> Result<Vec<(String, bytes::Bytes)>, ordermint::ReplicaError> {
            self.inner.meta_with_prefix(prefix)
        }
        fn close(&self) -> Result<(), ordermint::ReplicaError> {
            self.inner.close()
        }
    };
}

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

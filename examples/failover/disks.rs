//! Replicas on sled that can be made to hang and to fail, SET by SET.

use ordermint::testing::{FaultControl, Faulty};
use ordermint::{SetConfig, SetId, SledReplica};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const REPLICAS: u8 = 3;

/// The disks of all SETs, as far as the replicas are concerned.
pub(crate) struct Disks {
    home: PathBuf,
    faults: RefCell<BTreeMap<SetId, FaultControl>>,
}

impl Disks {
    pub(crate) fn new(home: &Path) -> Disks {
        Disks { home: home.to_path_buf(), faults: RefCell::default() }
    }

    fn faults(&self, set: SetId) -> FaultControl {
        self.faults.borrow_mut().entry(set).or_default().clone()
    }

    /// The SET, its replicas at `<set>/<index>` below the home: a store opened there without any of this finds them.
    pub(crate) fn set(&self, set: SetId) -> SetConfig {
        (0..REPLICAS).fold(SetConfig::new(set), |config, index| {
            let dir = self.home.join(set.to_string()).join(index.to_string());
            let faults = self.faults(set);
            config.replica_with(move |options| {
                let mut options = options.clone();
                options.dir = Some(dir.clone());
                Ok(Faulty::new(Arc::new(SledReplica::open(&options)?), faults.clone()))
            })
        })
    }

    /// No write and no read returns.
    pub(crate) fn hang(&self, set: SetId) {
        let faults = self.faults(set);
        faults.hang_applies();
        faults.hang_reads();
    }

    /// Every write and every read is an error, those that hang as well.
    pub(crate) fn fail(&self, set: SetId) {
        let faults = self.faults(set);
        faults.fail_applies(usize::MAX);
        faults.fail_reads(usize::MAX);
        faults.release();
    }

    /// All is well again.
    pub(crate) fn mend(&self, set: SetId) {
        let faults = self.faults(set);
        faults.fail_applies(0);
        faults.fail_reads(0);
        faults.release();
    }
}

//! Before a SET starts: its replicas are opened side by side, witnesses of roll-back heard, an epoch claimed, leases read.

use super::floor::FLOOR_KEY;
use super::leases::{LEASE_PREFIX, decode_mark};
use crate::config::Quorum;
use crate::order::{Day, OrderNumber, SetId};
use crate::pending::mark_as_ours;
use crate::replica::{Replica, ReplicaError, ScanLimit, Scanned};
use crate::set::replicated::lanes::lane::{Reopen, Role};
use crate::set::replicated::lanes::worker::{guarded, marks_of};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// A replica as a SET is started with it.
pub(crate) struct LaneSeed {
    pub(crate) dir: Option<PathBuf>,
    pub(crate) replica: Option<Arc<dyn Replica>>,
    pub(crate) role: Role,
    /// Groups applied since it was opened, while the store was made.
    pub(crate) applied: u64,
    /// Opens it again, when it is brought back.
    pub(crate) reopen: Reopen,
}

/// What came of opening a replica.
pub(crate) type Opened = Result<Arc<dyn Replica>, ReplicaError>;

/// Runs all jobs at once, each on a thread of its own, for at most `timeout`. A job that takes longer is left behind: nothing
/// can end a thread that hangs in a disk. A panic is an error of that job alone.
pub(crate) fn each_at_once<T: Send + 'static>(
    timeout: Duration,
    jobs: Vec<impl FnOnce() -> Result<T, ReplicaError> + Send + 'static>,
) -> Vec<Result<T, ReplicaError>> {
    let count = jobs.len();
    let (sender, receiver) = mpsc::channel();
    let waited_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let mut results: Vec<Result<T, ReplicaError>> = (0..count).map(|_| Err(ReplicaError::TimedOut { waited_ms })).collect();
    let mut running = 0;
    for (place, job) in jobs.into_iter().enumerate() {
        let sender = sender.clone();
        let run = move || {
            mark_as_ours();
            // When nobody listens any more, the result, a replica perhaps, is dropped here.
            let _ = sender.send((place, guarded(job)));
        };
        match std::thread::Builder::new().name("om-open".to_owned()).spawn(run) {
            Ok(_) => running += 1,
            Err(error) => {
                let reason = format!("no thread to open it on: {error}");
                results[place] = Err(ReplicaError::Out { reason });
            }
        }
    }
    let until = Instant::now() + timeout;
    for _ in 0..running {
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((place, result)) => results[place] = result,
            Err(_) => break,
        }
    }
    results
}

/// What each replica that is open says of itself. One that panics is out.
fn told_by_each<T>(lanes: &mut [LaneSeed], ask: impl Fn(&dyn Replica) -> Result<T, ReplicaError>) -> Vec<Option<T>> {
    let told = |lane: &mut LaneSeed| match ask(&**lane.replica.as_ref()?) {
        Ok(told) => Some(told),
        Err(error) => {
            lane.role = Role::Out(error);
            None
        }
    };
    lanes.iter_mut().map(told).collect()
}

/// Puts into limbo every voter that recovered less than a peer saw synced there.
pub(crate) fn witness_rollbacks(lanes: &mut [LaneSeed]) {
    let marks = told_by_each(lanes, marks_of);
    for (index, lane) in lanes.iter_mut().enumerate() {
        let (Some(replica), Some(own), Role::Voting) = (&lane.replica, &marks[index], &lane.role) else { continue };
        let witness = marks.iter().enumerate().filter_map(|(peer, marks)| Some((peer, *marks.as_ref()?.peers.get(index)?)));
        let Some((peer, seen)) = witness.max_by_key(|(_, seen)| *seen) else { continue };
        if seen > own.own {
            let reason = rolled_back(own.own, &format!("replica {peer} knows"), seen);
            // Made durable, since the next clean close would hide the loss. Where even that fails, the role says it for now.
            let banished = guarded(|| replica.banish(&reason));
            lane.role = match banished {
                Ok(()) => Role::Limbo(reason),
                Err(error) => Role::Out(ReplicaError::Out { reason: format!("{reason}; {error}") }),
            };
        }
    }
}

/// Why a replica that holds group `own` at most goes into limbo, in the words of whoever knows better.
pub(crate) fn rolled_back(own: u64, witness: &str, seen: u64) -> String {
    format!("holds group {own} at most, but {witness} that group {seen} was synced here")
}

/// By index: the last group that any peer saw synced there.
pub(crate) fn seen_by_peers(lanes: &[LaneSeed]) -> Vec<u64> {
    // Whoever cannot say is no witness; its own lane finds that out.
    let marks: Vec<_> = lanes.iter().filter_map(|lane| marks_of(&**lane.replica.as_ref()?).ok()).collect();
    let seen = |index: usize| marks.iter().filter_map(|marks| marks.peers.get(index)).max().copied().unwrap_or(0);
    (0..lanes.len()).map(seen).collect()
}

/// Claims a new epoch on all voters; 0 when too few of them took it. A voter that did not is out.
pub(crate) fn claim_epoch(lanes: &mut [LaneSeed], quorum: Quorum, timeout: Duration) -> u32 {
    let epochs = told_by_each(lanes, |replica| guarded(|| Ok(replica.epoch())));
    let newest = epochs.into_iter().flatten().max().unwrap_or(0);
    if voters(lanes).len() < usize::from(quorum.claim()) {
        return 0;
    }
    let Some(epoch) = newest.checked_add(1) else { return 0 };
    let claims = on_voters(lanes, timeout, move |replica| replica.claim(epoch));
    let claimed = claims.iter().filter(|result| result.is_ok()).count();
    put_failed_out(lanes, &claims);
    if claimed < usize::from(quorum.claim()) { 0 } else { epoch }
}

/// One past the last sequence ever leased, by day: the most that any voter says. A voter whose marks cannot be read is out.
/// After the claim, so that no older coordinator can move a mark any more.
pub(crate) fn read_lease_marks(lanes: &mut [LaneSeed], timeout: Duration) -> BTreeMap<Day, u64> {
    let answers = on_voters(lanes, timeout, |replica| {
        let entries = replica.meta_with_prefix(LEASE_PREFIX)?;
        let marks: Option<Vec<(Day, u64)>> = entries.iter().map(|(key, value)| decode_mark(key, value)).collect();
        let what = || "a lease mark that nobody wrote".to_owned();
        marks.ok_or_else(|| ReplicaError::Damaged { path: PathBuf::new(), what: what() })
    });
    put_failed_out(lanes, &answers);
    let mut marks = BTreeMap::new();
    for (day, mark) in answers.into_iter().flatten().flatten() {
        let newest = marks.entry(day).or_insert(mark);
        *newest = mark.max(*newest);
    }
    marks
}

/// How long a witness that may be missed is waited for.
const SECOND_WITNESS: Duration = Duration::from_secs(1);

/// How many of the newest days are looked through for numbers above their marks. Nothing is ever minted on older ones.
const NEWEST_DAYS: usize = 3;

/// Raises the marks above every number that any voter holds. A second witness beside the majority's marks: should the databases
/// of meta data have rolled back where no mark tells, the orders themselves still say which numbers were given out. Costs one
/// look above each mark, where nothing is found as a rule; a replica that hangs in it is not waited for long.
pub(crate) fn raise_above_held(lanes: &[LaneSeed], set: SetId, marks: &mut BTreeMap<Day, u64>, timeout: Duration) {
    let known = marks.clone();
    let answers = on_voters(lanes, timeout.min(SECOND_WITNESS), move |replica| {
        let mut ends = Vec::new();
        for day in replica.days()?.into_iter().rev().take(NEWEST_DAYS) {
            let mark = known.get(&day).copied().unwrap_or(0);
            let mut after = mark.checked_sub(1).and_then(|last| OrderNumber::new(day, last, set).ok());
            // Each turn begins above the one before, so this ends with the day.
            loop {
                let chunk = replica.scan(day, after, ScanLimit { records: 4_096, bytes: 4 << 20 })?;
                // Damage may reach far above what was ever minted, and says nothing.
                let found = chunk.items.iter().filter_map(|item| match item {
                    Scanned::Found(number, _) => Some(number.sequence() + 1),
                    Scanned::Damaged { .. } => None,
                });
                ends.extend(found.max().map(|end| (day, end)));
                match chunk.upto {
                    Some(upto) if after.is_none_or(|after| after < upto) => after = Some(upto),
                    _ => break,
                }
            }
        }
        Ok(ends)
    });
    // Whoever cannot say is no worse a witness than none.
    for (day, end) in answers.into_iter().flatten().flatten() {
        let mark = marks.entry(day).or_insert(end);
        *mark = end.max(*mark);
    }
}

/// The last day given up: the latest that any voter knows of. A voter that cannot say is out.
pub(crate) fn read_floor(lanes: &mut [LaneSeed], timeout: Duration) -> Option<Day> {
    let answers = on_voters(lanes, timeout, |replica| {
        let Some(value) = replica.meta(FLOOR_KEY)? else { return Ok(None) };
        let day = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<Day>().ok());
        let what = || "a floor that nobody wrote".to_owned();
        day.map(Some).ok_or_else(|| ReplicaError::Damaged { path: PathBuf::new(), what: what() })
    });
    put_failed_out(lanes, &answers);
    answers.into_iter().flatten().flatten().max()
}

fn voters(lanes: &[LaneSeed]) -> Vec<usize> {
    (0..lanes.len()).filter(|index| lanes[*index].role == Role::Voting).collect()
}

/// In the order of `voters`.
fn on_voters<T: Send + 'static>(
    lanes: &[LaneSeed],
    timeout: Duration,
    call: impl Fn(&dyn Replica) -> Result<T, ReplicaError> + Clone + Send + 'static,
) -> Vec<Result<T, ReplicaError>> {
    let replicas = voters(lanes).into_iter().filter_map(|index| lanes[index].replica.clone());
    let jobs = replicas.map(|replica| {
        let call = call.clone();
        move || call(&*replica)
    });
    each_at_once(timeout, jobs.collect())
}

fn put_failed_out<T>(lanes: &mut [LaneSeed], results: &[Result<T, ReplicaError>]) {
    for (index, result) in voters(lanes).into_iter().zip(results) {
        if let Err(error) = result {
            lanes[index].role = Role::Out(error.clone());
        }
    }
}

//! Request keys: at most one live order comes of a key, over retries, fail-over, reopening and SETs that cannot be asked.

mod ages;
mod away;
mod bench;
mod crowd;
mod doubt;
mod killed;
mod late_notes;
mod on_disk;
mod reconcile;
mod repeats;
mod unverified;
mod walk;

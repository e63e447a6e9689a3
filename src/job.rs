//! Work that takes its time: it says how far it is, can be called off, and is waited for like any answer.

use crate::error::Error;
use crate::pending::{Pending, Promise};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

/// Work under way in the background, begun when the method was called. Await it on any runtime, or [`wait`](Job::wait) for it on a
/// thread. Dropping it does not end the work; [`cancel`](Job::cancel) does.
#[must_use = "the work goes on without it, but its report comes through this"]
#[derive(Debug)]
pub struct Job<T> {
    pending: Pending<T>,
    course: Arc<Course>,
}

/// How far a job is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// Steps done.
    pub done: u64,
    /// Steps known so far. It may grow while the work goes on.
    pub known: u64,
}

/// What the worker and its job share.
#[derive(Debug, Default)]
pub(crate) struct Course {
    done: AtomicU64,
    known: AtomicU64,
    cancelled: AtomicBool,
}

impl Course {
    pub(crate) fn found(&self, steps: u64) {
        self.known.fetch_add(steps, Relaxed);
    }

    pub(crate) fn did(&self, steps: u64) {
        self.done.fetch_add(steps, Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }
}

impl<T> Job<T> {
    /// The job, and for its worker the promise of its report and the course to keep.
    pub(crate) fn new() -> (Job<T>, Promise<T>, Arc<Course>) {
        let (promise, pending) = Pending::new();
        let course = Arc::new(Course::default());
        (Job { pending, course: Arc::clone(&course) }, promise, course)
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        // In this order, so that it is never further than what is known.
        let done = self.course.done.load(Relaxed);
        Progress { done, known: self.course.known.load(Relaxed).max(done) }
    }

    /// Calls it off. It ends soon, with a report of what was done by then; what was done stays done.
    pub fn cancel(&self) {
        self.course.cancelled.store(true, Relaxed);
    }

    /// Blocks until it has ended.
    ///
    /// # Errors
    /// What it failed with; [`Error::Closed`] when the store was closed meanwhile; [`Error::Reentrant`] inside a closure given to
    /// [`modify`](crate::OrderStore::modify) and inside a waker.
    pub fn wait(self) -> Result<T, Error> {
        self.pending.wait()
    }

    /// Blocks for at most `patience`.
    ///
    /// # Errors
    /// The outer error gives the job back when the time was up; it goes on.
    pub fn wait_timeout(self, patience: Duration) -> Result<Result<T, Error>, Job<T>> {
        let course = self.course;
        self.pending.wait_timeout(patience).map_err(|pending| Job { pending, course })
    }
}

impl<T> Future for Job<T> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        Pin::new(&mut self.get_mut().pending).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_says_how_far_it_is_and_gives_its_report() {
        let (job, promise, course) = Job::<u32>::new();
        assert_eq!(job.progress(), Progress::default());
        course.found(3);
        course.did(1);
        assert_eq!(job.progress(), Progress { done: 1, known: 3 });
        let job = job.wait_timeout(Duration::ZERO).expect_err("it is under way");
        assert!(!course.is_cancelled());
        job.cancel();
        assert!(course.is_cancelled());
        promise.complete(Ok(7));
        assert_eq!(job.wait(), Ok(7));
    }

    #[test]
    fn a_worker_that_goes_away_ends_its_job() {
        let (job, promise, _) = Job::<u32>::new();
        drop(promise);
        assert_eq!(job.wait(), Err(Error::Closed));
    }
}

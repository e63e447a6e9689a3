//! A permit and a good outcome on a closed breaker, and a retry budget, beside recloser, failsafe, tower and tower-resilience.
//!
//! What is compared is what each asks for one call that goes well. Ours takes the time as an argument: here a counter that passes
//! for a clock, so that turns of the window are in the figure and the reading of a clock is not; `clock` is what a reading costs, to
//! be added where a caller has none at hand. recloser and failsafe with failures in a row read no clock while closed either;
//! tower-resilience reads two, and lives in a future in a box: `boxed service` is that without it.
//!
//! With 8 threads the figure is time passed over calls made by all of them together.

use criterion::{Criterion, criterion_group, criterion_main};
use failsafe::{CircuitBreaker as _, backoff, failure_policy};
use ordermint::testing::health::{Breaker, Budget, Gate, Permit};
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tower::Service;
use tower::retry::budget::{Budget as _, TpsBudget};
use tower_resilience_circuitbreaker::{CircuitBreakerConfigBuilder, CircuitBreakerLayer};
use tower_resilience_retry::RetryBudgetBuilder;

const THREADS: u64 = 8;

/// What is called: it goes well, and the compiler does not know.
fn work() -> Result<u64, ()> {
    black_box(Ok(1))
}

/// Half a million calls a millisecond, about what these take.
fn now_ms(call: u64) -> u64 {
    call >> 19
}

fn gated(gate: &Gate, now_ms: u64) {
    let gate = black_box(gate);
    let permit = gate.admit(now_ms).expect("it is closed");
    let done = work();
    gate.report(permit, done.is_ok(), now_ms);
}

fn recloser() -> recloser::Recloser {
    recloser::Recloser::custom().error_rate(0.5).closed_len(100).build()
}

fn failsafe_in_a_row() -> impl failsafe::CircuitBreaker + Send + Sync {
    failsafe::Config::new()
        .failure_policy(failure_policy::consecutive_failures(5, backoff::constant(Duration::from_secs(1))))
        .build()
}

fn failsafe_rate() -> impl failsafe::CircuitBreaker + Send + Sync {
    let backoff = backoff::constant(Duration::from_secs(1));
    let policy = failure_policy::success_rate_over_time_window(0.5, 20, Duration::from_secs(10), backoff);
    failsafe::Config::new().failure_policy(policy).build()
}

/// The least a service can be.
#[derive(Clone)]
struct Work;

impl Service<()> for Work {
    type Response = u64;
    type Error = ();
    type Future = std::future::Ready<Result<u64, ()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(work())
    }
}

/// The same in a future in a box.
#[derive(Clone)]
struct Boxed;

impl Service<()> for Boxed {
    type Response = u64;
    type Error = ();
    type Future = Pin<Box<dyn Future<Output = Result<u64, ()>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        Box::pin(async { Work.call(()).await })
    }
}

/// Everything is ready at the first poll.
fn serve<S: Service<()>>(service: &mut S)
where
    S::Future: Unpin,
{
    let mut context = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    assert!(Pin::new(&mut service.call(())).poll(&mut context).is_ready());
}

fn tower_resilience() -> CircuitBreakerLayer<tower_resilience_circuitbreaker::DefaultClassifier> {
    CircuitBreakerConfigBuilder::new().failure_rate_threshold(0.5).sliding_window_size(100).build().expect("good settings")
}

fn tower_resilience_in_a_row() -> CircuitBreakerLayer<tower_resilience_circuitbreaker::DefaultClassifier> {
    CircuitBreakerConfigBuilder::new().consecutive_failures(5).build().expect("good settings")
}

fn alone(c: &mut Criterion) {
    let mut group = c.benchmark_group("closed, one thread");
    group.bench_function("the call alone", |b| b.iter(|| _ = work().is_ok()));
    group.bench_function("clock", |b| b.iter(Instant::now));
    group.bench_function("ordermint, the pure breaker", |b| {
        let (mut breaker, mut calls) = (Breaker::new(0), 0);
        b.iter(|| {
            calls += 1;
            let breaker = black_box(&mut breaker);
            let permit = breaker.admit(now_ms(calls)).expect("it is closed");
            let done = work();
            breaker.record(permit, done.is_ok(), now_ms(calls));
        });
    });
    group.bench_function("ordermint, the shared gate", |b| {
        let (gate, mut calls) = (Gate::new(0), 0);
        b.iter(|| {
            calls += 1;
            gated(&gate, now_ms(calls));
        });
    });
    group.bench_function("ordermint, the shared gate, a failure in the window", |b| {
        let gate = Gate::new(0);
        gate.report(gate.admit(0).expect("it is closed"), false, 0);
        b.iter(|| gated(&gate, 0));
    });
    group.bench_function("ordermint, the shared gate and one clock", |b| {
        let (gate, start) = (Gate::new(0), Instant::now());
        b.iter(|| gated(&gate, start.elapsed().as_millis() as u64));
    });
    group.bench_function("ordermint, the shared gate, 64 calls reported together", |b| {
        let (gate, mut calls) = (Gate::new(0), 0);
        let mut permits = Vec::<Permit>::with_capacity(64);
        b.iter(|| {
            calls += 1;
            let gate = black_box(&gate);
            permits.push(gate.admit(now_ms(calls)).expect("it is closed"));
            black_box(work().is_ok());
            if permits.len() == 64 {
                gate.report_all(permits.drain(..), now_ms(calls));
            }
        });
    });
    group.bench_function("recloser, rate of 100", |b| {
        let breaker = recloser();
        b.iter(|| breaker.call(work).is_ok());
    });
    group.bench_function("failsafe, in a row", |b| {
        let breaker = failsafe_in_a_row();
        b.iter(|| breaker.call(work).is_ok());
    });
    group.bench_function("failsafe, rate in 10 s", |b| {
        let breaker = failsafe_rate();
        b.iter(|| breaker.call(work).is_ok());
    });
    group.bench_function("boxed service", |b| b.iter(|| serve(&mut Boxed)));
    group.bench_function("tower-resilience, in a row", |b| {
        let mut service = tower_resilience_in_a_row().layer_fn(Work);
        b.iter(|| serve(&mut service));
    });
    group.bench_function("tower-resilience, rate of 100", |b| {
        let mut service = tower_resilience().layer_fn(Work);
        b.iter(|| serve(&mut service));
    });
    group.finish();
}

/// The time that 8 threads take for so many calls in all. `make` gives each thread what it calls.
fn together<C: FnMut(u64) + Send>(calls: u64, make: impl Fn(u64) -> C) -> Duration {
    let (start, end) = (Barrier::new(THREADS as usize + 1), Barrier::new(THREADS as usize + 1));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let mut call = make(thread);
            let (start, end) = (&start, &end);
            scope.spawn(move || {
                start.wait();
                (0..calls.div_ceil(THREADS)).for_each(&mut call);
                end.wait();
            });
        }
        start.wait();
        let began = Instant::now();
        end.wait();
        began.elapsed()
    })
}

fn crowded(c: &mut Criterion) {
    let mut group = c.benchmark_group("closed, 8 threads");
    group.bench_function("ordermint, one gate", |b| {
        let gate = &Gate::new(0);
        b.iter_custom(|calls| together(calls, |_| move |call| gated(gate, now_ms(call))));
    });
    group.bench_function("ordermint, one gate, a failure in the window", |b| {
        let gate = &Gate::new(0);
        gate.report(gate.admit(0).expect("it is closed"), false, 0);
        b.iter_custom(|calls| together(calls, |_| move |_| gated(gate, 0)));
    });
    group.bench_function("ordermint, a gate for each, as of 8 SETs", |b| {
        let gates = &(0..THREADS).map(|_| Gate::new(0)).collect::<Vec<_>>();
        b.iter_custom(|calls| together(calls, |thread| move |call| gated(&gates[thread as usize], now_ms(call))));
    });
    group.bench_function("recloser", |b| {
        let breaker = &recloser();
        b.iter_custom(|calls| together(calls, |_| move |_| _ = black_box(breaker.call(work).is_ok())));
    });
    group.bench_function("failsafe, in a row", |b| {
        let breaker = &failsafe_in_a_row();
        b.iter_custom(|calls| together(calls, |_| move |_| _ = black_box(breaker.call(work).is_ok())));
    });
    group.bench_function("tower-resilience, a breaker for each", |b| {
        // Its lock is for a runtime that can wait; polled by hand it cannot be shared.
        let layer = &tower_resilience_in_a_row();
        b.iter_custom(|calls| {
            together(calls, |_| {
                let mut service = layer.layer_fn(Work);
                move |_| serve(&mut service)
            })
        });
    });
    group.finish();
}

fn budgets(c: &mut Criterion) {
    let mut group = c.benchmark_group("budget");
    group.bench_function("ordermint, a create while it is full", |b| {
        let budget = Budget::new(1_000);
        b.iter(|| black_box(&budget).earn(1));
    });
    group.bench_function("tower, a deposit", |b| {
        let budget = TpsBudget::new(Duration::from_secs(10), 10, 0.2);
        b.iter(|| black_box(&budget).deposit());
    });
    let buckets = || {
        let builder = RetryBudgetBuilder::new();
        let bucket = builder.clone().token_bucket().tokens_per_second(1e9).max_tokens(1_000).initial_tokens(1_000).build();
        let aimd = builder.aimd().min_budget(10).max_budget(1_000).build();
        [("token bucket", bucket.expect("good settings")), ("aimd", aimd.expect("good settings"))]
    };
    for (name, budget) in buckets() {
        group.bench_function(format!("tower-resilience, {name}, a deposit"), |b| b.iter(|| black_box(&budget).deposit()));
    }
    group.bench_function("ordermint, an attempt and the ten creates that pay it", |b| {
        let budget = Budget::new(1_000);
        b.iter(|| {
            let budget = black_box(&budget);
            assert!(budget.spend());
            budget.earn(10);
        });
    });
    group.bench_function("tower, a withdrawal and the five deposits that pay it", |b| {
        let budget = TpsBudget::new(Duration::from_secs(10), 10, 0.2);
        b.iter(|| {
            (0..5).for_each(|_| budget.deposit());
            black_box(budget.withdraw())
        });
    });
    for (name, budget) in buckets() {
        let budget: Arc<_> = budget;
        group.bench_function(format!("tower-resilience, {name}, a withdrawal and a deposit"), |b| {
            b.iter(|| {
                let paid = black_box(&budget).try_withdraw();
                budget.deposit();
                paid
            });
        });
    }
    group.finish();
}

criterion_group!(benches, alone, crowded, budgets);
criterion_main!(benches);

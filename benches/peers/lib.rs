//! Nothing but benches: see `health.rs`.

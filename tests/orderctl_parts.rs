//! The pure parts of `orderctl`, tested where they are written: an example is built by `cargo test`, but its tests are not run.

#![expect(dead_code, reason = "the tool itself uses what is here")]

#[path = "../examples/orderctl/args.rs"]
mod args;
#[path = "../examples/orderctl/flow.rs"]
mod flow;
#[path = "../examples/orderctl/key.rs"]
mod key;
#[path = "../examples/orderctl/lines.rs"]
mod lines;
#[path = "../examples/orderctl/merge.rs"]
mod merge;

//! `verify`: every record of every replica, read and compared; nothing is written.

use crate::exit::Exit;
use crate::output::{Gone, Output};
use ordermint::{Error, OrderStore};
use std::path::Path;

/// Prints a line for each finding, and nothing when all is well.
pub(crate) fn run(data: &Path) -> Result<Result<Exit, Error>, Gone> {
    let mut output = Output::new();
    let mut printed = Ok(());
    let verified = OrderStore::builder().home(data).verify(|finding| {
        if printed.is_ok() {
            // Each is handed over at once: a reader may well have seen enough after the first.
            printed = output.line(&[finding.to_string().as_bytes()]).and_then(|()| output.flush());
        }
    });
    printed?;
    Ok(verified.map(|verified| if verified.findings == 0 { Exit::Done } else { Exit::AnsweredNo }))
}

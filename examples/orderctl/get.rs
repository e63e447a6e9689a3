//! `get`: orders by their numbers.

use crate::exit::Exit;
use crate::interrupt::Interrupts;
use crate::output::{Gone, Output};
use crate::parse::told;
use ordermint::{Error, OrderNumber, OrderStore};
use std::ffi::OsString;

/// Prints each order; one that is absent, and what is no number, is told on standard error.
pub(crate) fn run(store: &OrderStore, numbers: &[OsString], interrupts: &Interrupts) -> Result<Exit, Gone> {
    let mut output = Output::new();
    let mut exit = Exit::Done;
    for text in numbers {
        if let Some(interrupted) = interrupts.caught() {
            output.flush()?;
            return Ok(interrupted);
        }
        let found = match OrderNumber::parse(text.as_encoded_bytes()) {
            Ok(number) => store.get(number).wait(),
            Err(error) => {
                crate::complain(&told(text, &error));
                exit = exit.max(Exit::AnsweredNo);
                continue;
            }
        };
        match found {
            Ok(Some(order)) => output.line(&[text.as_encoded_bytes(), &order.value])?,
            Ok(None) => {
                crate::complain(&format!("{}: absent", text.to_string_lossy()));
                exit = exit.max(Exit::AnsweredNo);
            }
            Err(error @ (Error::Corrupt { .. } | Error::Diverged { .. } | Error::Unconfirmed { .. })) => {
                // These name the number themselves.
                crate::complain(&error.to_string());
                exit = exit.max(Exit::of(&error));
            }
            Err(error) => {
                crate::complain(&format!("{}: {error}", text.to_string_lossy()));
                exit = exit.max(Exit::of(&error));
            }
        }
    }
    output.flush()?;
    Ok(exit)
}

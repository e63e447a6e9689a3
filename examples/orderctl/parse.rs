//! `parse`: numbers taken apart. No store is needed: a number says all this itself.

use crate::exit::Exit;
use crate::output::{Gone, Output};
use ordermint::{OrderNumber, ParseOrderNumberError};
use std::ffi::{OsStr, OsString};

/// Prints what each number says; what is no number is told on standard error.
pub(crate) fn run(numbers: &[OsString]) -> Result<Exit, Gone> {
    let mut output = Output::new();
    let mut exit = Exit::Done;
    for text in numbers {
        match OrderNumber::parse(text.as_encoded_bytes()) {
            Ok(number) => {
                let (day, sequence) = (number.day().to_string(), number.sequence().to_string());
                let (set, check) = (number.set_id().to_string(), number.check_digit().to_string());
                let parts = [day, sequence, set, check];
                let mut line: Vec<&[u8]> = vec![text.as_encoded_bytes()];
                line.extend(parts.iter().map(String::as_bytes));
                output.line(&line)?;
            }
            Err(error) => {
                crate::complain(&told(text, &error));
                exit = exit.max(Exit::AnsweredNo);
            }
        }
    }
    output.flush()?;
    Ok(exit)
}

/// What is wrong with `text`, and where.
pub(crate) fn told(text: &OsStr, error: &ParseOrderNumberError) -> String {
    let at = match error {
        ParseOrderNumberError::Day { .. } => " (bytes 0 to 7)",
        ParseOrderNumberError::CheckDigit { .. } => " (byte 21)",
        // These name the place, or are about all of it.
        _ => "",
    };
    // A text of any length may be given; its beginning is enough to find it again.
    let shown: String = text.to_string_lossy().chars().take(64).collect();
    let cut = if shown.len() < text.len() { "..." } else { "" };
    format!("{shown:?}{cut}: {error}{at}")
}

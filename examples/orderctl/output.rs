//! Standard output: buffered, and quiet when nobody listens any more.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

/// Why nothing more can be printed.
#[derive(Debug)]
pub(crate) enum Gone {
    /// The reader closed its end, as `head` does: no fault of anybody.
    Closed,
    /// Anything else, a full disk for one.
    Failed(io::Error),
}

impl From<io::Error> for Gone {
    fn from(error: io::Error) -> Gone {
        if error.kind() == ErrorKind::BrokenPipe { Gone::Closed } else { Gone::Failed(error) }
    }
}

/// Standard output.
pub(crate) struct Output {
    to: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(crate) fn new() -> Output {
        Output { to: BufWriter::with_capacity(64 * 1024, io::stdout().lock()) }
    }

    /// A line made of `parts`, with a tab between them.
    pub(crate) fn line(&mut self, parts: &[&[u8]]) -> Result<(), Gone> {
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                self.to.write_all(b"\t")?;
            }
            self.to.write_all(part)?;
        }
        Ok(self.to.write_all(b"\n")?)
    }

    /// Hands over what is buffered.
    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        Ok(self.to.flush()?)
    }
}

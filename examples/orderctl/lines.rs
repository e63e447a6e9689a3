//! Cutting a stream of bytes into lines, with a cap on how much of a line is kept. Pure.

use std::ops::ControlFlow;

/// A line without its `\n`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Line<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It was longer than the cap; its bytes are gone.
    TooLong { bytes: usize },
}

/// Cuts what it is fed; holds at most the cap of a line that is not finished.
#[derive(Debug)]
pub(crate) struct Lines {
    cap: usize,
    /// The beginning of the unfinished line, as long as it is within the cap.
    kept: Vec<u8>,
    /// How long the unfinished line is so far.
    seen: usize,
}

impl Lines {
    pub(crate) fn new(cap: usize) -> Lines {
        Lines { cap, kept: Vec::new(), seen: 0 }
    }

    /// Calls `each` for every line that ends in `chunk`, until it breaks.
    pub(crate) fn feed(&mut self, mut chunk: &[u8], mut each: impl FnMut(Line<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&chunk[..end], &chunk[end + 1..]);
            chunk = rest;
            if self.seen == 0 && line.len() <= self.cap {
                each(Line::Whole(line))?;
            } else {
                self.keep(line);
                self.finish(&mut each)?;
            }
        }
        self.keep(chunk);
        ControlFlow::Continue(())
    }

    /// The input is over: a last line without `\n` is a line too.
    pub(crate) fn end(&mut self, mut each: impl FnMut(Line<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        if self.seen > 0 { self.finish(&mut each) } else { ControlFlow::Continue(()) }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.seen = self.seen.saturating_add(bytes.len());
        if self.seen <= self.cap {
            self.kept.extend_from_slice(bytes);
        }
    }

    fn finish(&mut self, each: &mut impl FnMut(Line<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let line = if self.seen <= self.cap { Line::Whole(&self.kept) } else { Line::TooLong { bytes: self.seen } };
        let flow = each(line);
        self.kept.clear();
        self.seen = 0;
        flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = Result<Vec<u8>, usize>;

    fn cut(input: &[u8], cap: usize, chunk: usize) -> Vec<Owned> {
        let mut found = Vec::new();
        let mut lines = Lines::new(cap);
        let mut each = |line: Line<'_>| {
            found.push(match line {
                Line::Whole(bytes) => Ok(bytes.to_vec()),
                Line::TooLong { bytes } => Err(bytes),
            });
            ControlFlow::Continue(())
        };
        for chunk in input.chunks(chunk) {
            assert!(lines.feed(chunk, &mut each).is_continue());
            assert!(lines.kept.len() <= cap, "more than the cap is kept");
        }
        assert!(lines.end(&mut each).is_continue());
        found
    }

    /// What a line is, the slow way: everything between two newlines, and a last one only if it is not empty.
    fn by_definition(input: &[u8], cap: usize) -> Vec<Owned> {
        let mut parts: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
        if parts.last().is_some_and(|last| last.is_empty()) {
            parts.pop();
        }
        parts.into_iter().map(|part| if part.len() <= cap { Ok(part.to_vec()) } else { Err(part.len()) }).collect()
    }

    /// All inputs of up to 7 bytes over three letters, every chunking into equal parts, caps 0 to 3.
    #[test]
    fn agrees_with_the_definition_everywhere() {
        for length in 0..=7u32 {
            for word in 0..3u32.pow(length) {
                let input: Vec<u8> = (0..length).map(|at| b"\nab"[(word / 3u32.pow(at) % 3) as usize]).collect();
                for cap in 0..=3 {
                    for chunk in 1..=3 {
                        assert_eq!(cut(&input, cap, chunk), by_definition(&input, cap), "{input:?} cap {cap} chunk {chunk}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_break_stops_at_once() {
        let mut count = 0;
        let flow = Lines::new(9).feed(b"a\nb\nc\n", |_| {
            count += 1;
            if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(flow.is_break());
        assert_eq!(count, 2);
    }
}

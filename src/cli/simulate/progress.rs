//! Shows how far simulations are, on a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(100);
/// Width of the bar, in characters.
const WIDTH: usize = 40;

/// A bar on standard error, if that is a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    all: usize,
    shown: bool,
}

impl Progress {
    /// Of so many claims.
    pub fn begin(all: usize) -> Self {
        Self { all, shown: std::io::stderr().is_terminal() }
    }

    /// Shows how many of them are done until the work has ended, and clears the line.
    pub fn follow(&self, done: &AtomicUsize, has_ended: impl Fn() -> bool) {
        if !self.shown {
            return;
        }
        while !has_ended() {
            let _ = write!(std::io::stderr(), "\r{}", bar(done.load(Ordering::Relaxed), self.all));
            std::thread::sleep(EVERY);
        }
        let _ = write!(std::io::stderr(), "\r{}\r", " ".repeat(WIDTH + 40));
    }
}

fn bar(done: usize, all: usize) -> String {
    let filled = WIDTH * done.min(all) / all.max(1);
    format!("[{}{}] {done} of {all} claims", "#".repeat(filled), " ".repeat(WIDTH - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_the_work_is_done() {
        assert_eq!(bar(0, 0), format!("[{}] 0 of 0 claims", " ".repeat(WIDTH)));
        assert_eq!(bar(50, 100).matches('#').count(), WIDTH / 2);
        assert_eq!(bar(100, 100).matches('#').count(), WIDTH);
    }
}

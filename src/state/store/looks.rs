//! Counts the objects that a thread looks at in stores, so that tests can assert what a question costs.

use std::cell::Cell;

thread_local! {
    static LOOKS: Cell<usize> = const { Cell::new(0) };
}

pub(super) fn look() {
    LOOKS.set(LOOKS.get() + 1);
}

/// How many objects this thread looks at in `work`, and what that returns.
pub fn counted<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = LOOKS.get();
    let result = work();
    (LOOKS.get() - before, result)
}

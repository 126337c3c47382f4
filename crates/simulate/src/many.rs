//! Plays one trace with several setups at the same time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::engine::{Setup, run};
use crate::outcome::Outcome;
use crate::trace::Arrival;

/// Plays the trace with each setup, so many at a time. `done` grows by each claim that came, of all setups.
///
/// The outcomes are in the order of the setups; an error says why a pool may not buy by one of its launch configs.
pub fn run_all(
    setups: &[&Setup],
    trace: &[Arrival],
    threads: usize,
    done: &AtomicUsize,
) -> Vec<Result<Outcome, String>> {
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<Option<Result<Outcome, String>>>> = Mutex::new(setups.iter().map(|_| None).collect());
    let work = || {
        while let Some((index, setup)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            setups.get(index).map(|setup| (index, setup))
        } {
            let mut before = 0;
            let outcome = run(setup, trace, |claims| {
                done.fetch_add(claims - before, Ordering::Relaxed);
                before = claims;
            });
            if let Ok(mut outcomes) = outcomes.lock() {
                outcomes[index] = Some(outcome);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.min(setups.len()) {
            scope.spawn(work);
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_default();
    outcomes.into_iter().map(|one| one.unwrap_or_else(|| Err("a simulation ended without an outcome".into()))).collect()
}

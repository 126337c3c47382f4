//! Whether this process may act; checked right before every create, terminate and delete call.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bullpen_plan::operator::election::{Boottime, may_act};
use thiserror::Error;

pub use crate::clock::boottime;

/// A call was not begun, because this process does not lead at the moment.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("this process does not lead at the moment")]
pub struct NotLeading;

/// One term of leadership; cheap to clone. An ended term never begins again: the next term is another handle.
#[derive(Clone, Debug)]
pub struct Leadership(Arc<LeaderTerm>);

#[derive(Debug)]
struct LeaderTerm {
    /// When the last accepted renewal was sent, in nanoseconds since the machine was started. [`OVER`] when the term is
    /// over, [`ALWAYS`] if it needs no renewal.
    renewed: AtomicU64,
}

const OVER: u64 = 0;
const ALWAYS: u64 = u64::MAX;

impl Leadership {
    /// For a process without a lease: it leads until [`end`](Self::end).
    pub fn always() -> Self {
        Self(Arc::new(LeaderTerm { renewed: AtomicU64::new(ALWAYS) }))
    }

    /// A term whose lease was acquired by a request that was sent at this moment.
    pub fn acquired(sent: Boottime) -> Self {
        Self(Arc::new(LeaderTerm { renewed: AtomicU64::new(nanoseconds(sent)) }))
    }

    /// Records a renewal by a request that was sent at this moment. A term that is over stays over.
    pub fn renewed(&self, sent: Boottime) {
        let renew = |before| (before != OVER && before != ALWAYS).then(|| nanoseconds(sent));
        let _ = self.0.renewed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, renew);
    }

    /// Ends the term.
    pub fn end(&self) {
        self.0.renewed.store(OVER, Ordering::SeqCst);
    }

    /// Whether a create, terminate or delete call may begin: the last renewal is younger than the renew deadline.
    pub fn may_act(&self) -> bool {
        self.may_act_at(boottime())
    }

    /// [`may_act`](Self::may_act) as a `Result`.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self) -> Result<(), NotLeading> {
        if self.may_act() { Ok(()) } else { Err(NotLeading) }
    }

    /// Makes a call that must not begin late: before each of its steps, the lease is checked. A call may first have to connect, and
    /// a process that was suspended meanwhile would send it when another leads.
    ///
    /// # Errors
    /// When this process leads no more before the call is answered.
    pub async fn guard<T>(&self, call: impl Future<Output = T>) -> Result<T, NotLeading> {
        let mut call = pin!(call);
        poll_fn(|context| match self.check() {
            Ok(()) => call.as_mut().poll(context).map(Ok),
            Err(lost) => Poll::Ready(Err(lost)),
        })
        .await
    }

    fn may_act_at(&self, now: Boottime) -> bool {
        match self.0.renewed.load(Ordering::SeqCst) {
            OVER => false,
            ALWAYS => true,
            renewed => may_act(Boottime::new(Duration::from_nanos(renewed)), now),
        }
    }
}

/// A moment as [`LeaderTerm`] has it, which is neither of its two marks.
fn nanoseconds(moment: Boottime) -> u64 {
    u64::try_from(moment.since_start().as_nanos()).unwrap_or(ALWAYS).clamp(OVER + 1, ALWAYS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_may_act_until_the_renew_deadline_has_passed_since_its_last_renewal_was_sent() {
        let sent = Boottime::new(Duration::from_secs(500));
        let leadership = Leadership::acquired(sent);
        assert!(leadership.may_act_at(sent.after(Duration::from_secs(9))));
        assert!(!leadership.may_act_at(sent.after(Duration::from_secs(10))));
        leadership.clone().renewed(sent.after(Duration::from_secs(2)));
        assert!(leadership.may_act_at(sent.after(Duration::from_secs(10))));
    }

    #[tokio::test]
    async fn a_call_that_waits_for_its_connection_while_the_term_ends_is_not_sent() {
        let leadership = Leadership::acquired(boottime());
        assert_eq!(leadership.guard(std::future::ready(7)).await, Ok(7));
        let (connected, connection) = tokio::sync::oneshot::channel::<()>();
        let mut sent = false;
        let call = leadership.guard(async {
            let _ = connection.await;
            sent = true;
        });
        let (answer, ()) = tokio::join!(call, async {
            leadership.end();
            connected.send(()).expect("it is waited for");
        });
        assert_eq!((answer, sent), (Err(NotLeading), false));
    }

    #[test]
    fn an_ended_term_stays_ended_when_another_one_begins() {
        let first = Leadership::acquired(boottime());
        let clone = first.clone();
        assert_eq!(clone.check(), Ok(()));
        first.end();
        let second = Leadership::acquired(boottime());
        assert_eq!((clone.check(), second.check()), (Err(NotLeading), Ok(())));
        first.renewed(boottime());
        assert_eq!(first.check(), Err(NotLeading), "a renewal that was under way does not begin it again");
        let always = Leadership::always();
        assert!(always.may_act());
        always.end();
        assert!(!always.may_act());
    }
}

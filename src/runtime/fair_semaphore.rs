//! Limits how many requests are under way, and shares the places fairly: [`FairShares`] decides.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use bullpen_plan::operator::fair_shares::FairShares;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A semaphore whose permits are shared between keys; cheap to clone.
#[derive(Debug)]
pub struct FairSemaphore<K>(Arc<Mutex<Places<K>>>);

#[derive(Debug)]
struct Places<K> {
    shares: FairShares<K>,
    tickets: u64,
    waiting: HashMap<u64, oneshot::Sender<()>>,
}

impl<K> Clone for FairSemaphore<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A place, or a place in the queue for one. Dropping it gives it up.
#[derive(Debug)]
pub struct FairPermit<K: Ord + Clone> {
    semaphore: FairSemaphore<K>,
    key: K,
    ticket: u64,
}

impl<K: Ord + Clone> FairSemaphore<K> {
    /// A semaphore with this many permits.
    pub fn new(permits: usize) -> Self {
        Self(Arc::new(Mutex::new(Places { shares: FairShares::new(permits), tickets: 0, waiting: HashMap::new() })))
    }

    /// Waits for a permit.
    pub async fn acquire(&self, key: K) -> FairPermit<K> {
        let (permit, granted) = self.ask(key);
        if let Some(granted) = granted {
            // The sender lives until it is granted: only the permit itself withdraws it.
            let _ = granted.await;
        }
        permit
    }

    /// A permit if there is one at once.
    pub fn try_acquire(&self, key: K) -> Option<FairPermit<K>> {
        let mut places = self.0.lock();
        let free = places.shares.try_take(&key);
        // A granted permit is told from a waiting one by its ticket, and no waiting one has this one.
        free.then(|| FairPermit { semaphore: self.clone(), key, ticket: 0 })
    }

    /// How many permits of this key are taken or waited for.
    pub fn load(&self, key: &K) -> usize {
        self.0.lock().shares.load(key)
    }

    fn ask(&self, key: K) -> (FairPermit<K>, Option<oneshot::Receiver<()>>) {
        let mut places = self.0.lock();
        places.tickets += 1;
        let ticket = places.tickets;
        let granted = (!places.shares.ask(&key, ticket)).then(|| {
            let (sender, receiver) = oneshot::channel();
            places.waiting.insert(ticket, sender);
            receiver
        });
        (FairPermit { semaphore: self.clone(), key, ticket }, granted)
    }
}

impl<K: Ord + Clone> Drop for FairPermit<K> {
    fn drop(&mut self) {
        let places = &mut *self.semaphore.0.lock();
        if places.waiting.remove(&self.ticket).is_some() {
            places.shares.withdraw(&self.key, self.ticket);
            return;
        }
        for ticket in places.shares.give_back(&self.key) {
            if let Some(sender) = places.waiting.remove(&ticket) {
                // Fails if nobody waits for it any more: then its permit is about to be dropped, and gives it back.
                let _ = sender.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_permit_that_is_dropped_lets_the_next_one_in() {
        let semaphore = FairSemaphore::new(2);
        let first = semaphore.acquire("a").await;
        let mut second = Box::pin(semaphore.acquire("a"));
        assert!((&mut second).now_or_never().is_none(), "one key does not take both");
        let other = semaphore.acquire("b").now_or_never().expect("the other finds a place");
        drop(other);
        assert!((&mut second).now_or_never().is_none(), "the last place is left to others");
        drop(first);
        second.now_or_never().expect("it is let in");
    }

    #[tokio::test]
    async fn whoever_stops_waiting_takes_no_permit_with_it() {
        let semaphore = FairSemaphore::new(2);
        let first = semaphore.acquire("a").await;
        let mut given_up = Box::pin(semaphore.acquire("a"));
        assert!((&mut given_up).now_or_never().is_none());
        drop(given_up);
        // Granted, but dropped before it was looked at.
        let mut late = Box::pin(semaphore.acquire("a"));
        assert!((&mut late).now_or_never().is_none());
        drop(first);
        drop(late);
        assert_eq!(semaphore.0.lock().shares.under_way(&"a"), 0);
        assert!(semaphore.0.lock().waiting.is_empty());
        semaphore.acquire("a").now_or_never().expect("there is a place");
    }
}

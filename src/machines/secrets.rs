//! The installation secret as this process knows it, whether it leads or not.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bullpen_plan::member::ssh_keys::InstallationSecret;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::cluster::reads::installation_secret::read;
use crate::state::ObjectKey;

/// Time between two reads.
const EVERY: Duration = Duration::from_mins(1);
/// While it is not known, a machine that calls has it read again, but not sooner than this.
const SOONEST: Duration = Duration::from_secs(1);
/// How many are kept. After the Secret was replaced, machines that boot have tokens of the former one.
const KEPT: usize = 2;

/// The secrets that tokens may be derived from, the present one first; cheap to clone.
#[derive(Clone, Default)]
pub struct Secrets {
    known: Arc<Mutex<Vec<InstallationSecret>>>,
    missed: Arc<Notify>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secrets({})", self.known.lock().len())
    }
}

impl Secrets {
    /// Those that are known; none before the first read that found one, which this hastens.
    pub fn known(&self) -> Vec<InstallationSecret> {
        let known = self.known.lock().clone();
        if known.is_empty() {
            self.missed.notify_one();
        }
        known
    }

    /// Stores a secret that was read. Returns whether it is new.
    pub fn put(&self, secret: InstallationSecret) -> bool {
        let mut known = self.known.lock();
        if known.first().is_some_and(|first| first.id() == secret.id()) {
            return false;
        }
        known.retain(|other| other.id() != secret.id());
        known.insert(0, secret);
        known.truncate(KEPT);
        true
    }

    /// Reads the secret again and again. It is made by the leader, when the first pool needs it.
    pub async fn keep_read(&self, client: Client, key: ObjectKey) {
        let mut said = String::new();
        loop {
            let trouble = match read(&client, &key).await {
                Ok(Some(secret)) => {
                    if self.put(secret) {
                        info!(secret = %key, "machines are known by tokens of this secret");
                    }
                    String::new()
                }
                Ok(None) => String::new(),
                Err(trouble) => trouble.message,
            };
            if said != trouble && !trouble.is_empty() {
                warn!(secret = %key, message = trouble, "the tokens of machines cannot be verified by a new read");
            }
            said = trouble;
            tokio::time::sleep(SOONEST).await;
            // Whether anybody missed it does not matter any more once it is known.
            let _ = tokio::time::timeout(EVERY, self.missed.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_secret_and_the_former_one_are_known() {
        let secret = |byte| InstallationSecret::from_bytes(&[byte; 32]).unwrap();
        let secrets = Secrets::default();
        assert!(secrets.put(secret(1)) && !secrets.put(secret(1)) && secrets.put(secret(2)) && secrets.put(secret(3)));
        let ids: Vec<_> = secrets.known().iter().map(InstallationSecret::id).collect();
        assert_eq!(ids, [secret(3).id(), secret(2).id()]);
        assert_eq!(format!("{secrets:?}"), "Secrets(2)");
    }
}

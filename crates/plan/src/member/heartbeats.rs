//! Heartbeats that a replica hands to the one that leads: the message, who may have written it, and whether it is new.
//!
//! Pure functions, and [`Received`], which remembers the last message of each sender. Input: a message with its tag, as
//! anybody may send it. Output: the uids of members whose machines are well. A message has no token and no secret; its tag
//! is made with a key that is derived from the installation secret, which all replicas read.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::health::ward::Heard;
use super::ssh_keys::InstallationSecret;

/// Most heartbeats in a message.
pub const MOST_IN_BATCH: usize = 1_000;
/// Largest message, in bytes: so many uids of 64 characters, with quotes and commas, and the rest.
pub const MAX_BYTES: usize = MOST_IN_BATCH * 67 + 1_024;
/// How far the time of a message may be from now. Replicas follow the API server's clock.
pub const WINDOW: SignedDuration = SignedDuration::from_secs(5);
/// Most senders that are remembered. Those whose last message is too old to be sent again are forgotten.
const MOST_SENDERS: usize = 64;
/// What precedes a message's own tag in what the receipt is made of, so that no message is a receipt.
const RECEIPT: &[u8] = b"received\0";

/// Heartbeats on their way to the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The address that it is sent to, so that nobody can pass it on to another replica.
    pub to: String,
    /// Who sends it: one name for each start of a process.
    pub from: String,
    /// When it was sent, in microseconds since 1970; later than all before it of the same sender.
    pub at: i64,
    /// Whether heartbeats were dropped since the last message that was received.
    pub lost: bool,
    /// Uids of the members.
    pub uids: Vec<String>,
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its tag is wrong, or it is no message.
    Forged,
    /// It is for somebody else.
    Misdirected,
    /// It is too old, or from the future.
    OutOfTime,
    /// It, or a later one, was received before.
    Repeated,
}

impl Batch {
    /// The bytes to send, and their tag. `None` only if the crypto library fails.
    pub fn sealed(&self, secret: &InstallationSecret) -> Option<(Vec<u8>, String)> {
        let bytes = serde_json::to_vec(self).ok()?;
        let tag = hmac::sign(&secret.peer_key()?, &bytes);
        Some((bytes, URL_SAFE_NO_PAD.encode(tag)))
    }
}

/// Whether this is the receipt for the message with this tag.
pub fn is_receipt(secret: &InstallationSecret, tag: &str, receipt: &str) -> bool {
    let (Some(key), Ok(receipt)) = (secret.peer_key(), URL_SAFE_NO_PAD.decode(receipt)) else { return false };
    hmac::verify(&key, &[RECEIPT, tag.as_bytes()].concat(), &receipt).is_ok()
}

/// The last message of each sender, by its time in microseconds.
#[derive(Debug, Default)]
pub struct Received(HashMap<String, i64>);

impl Received {
    /// Opens a message that came to the replica at `own`. Returns what it says, and the receipt.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn open(
        &mut self,
        secrets: &[InstallationSecret],
        own: &str,
        (bytes, tag): (&[u8], &str),
        now: Timestamp,
    ) -> Result<(Heard, String), Refusal> {
        let sent = URL_SAFE_NO_PAD.decode(tag).map_err(|_| Refusal::Forged)?;
        let keys = secrets.iter().filter_map(InstallationSecret::peer_key);
        let key = keys.into_iter().find(|key| hmac::verify(key, bytes, &sent).is_ok()).ok_or(Refusal::Forged)?;
        let batch: Batch = serde_json::from_slice(bytes).map_err(|_| Refusal::Forged)?;
        if batch.to != own {
            return Err(Refusal::Misdirected);
        }
        let (now, window) = (now.as_microsecond(), i64::try_from(WINDOW.as_micros()).unwrap_or(0));
        if batch.at.abs_diff(now) > window.unsigned_abs() {
            return Err(Refusal::OutOfTime);
        }
        if self.0.get(&batch.from).is_some_and(|last| *last >= batch.at) {
            return Err(Refusal::Repeated);
        }
        if self.0.len() >= MOST_SENDERS {
            self.0.retain(|_, last| last.abs_diff(now) <= window.unsigned_abs());
        }
        if self.0.len() >= MOST_SENDERS {
            return Err(Refusal::OutOfTime);
        }
        self.0.insert(batch.from, batch.at);
        let receipt = hmac::sign(&key, &[RECEIPT, tag.as_bytes()].concat());
        let from = batch.uids.into_iter().take(MOST_IN_BATCH).map(Into::into).collect();
        Ok((Heard { from, lost: batch.lost }, URL_SAFE_NO_PAD.encode(receipt)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: &str = "10.0.0.7:8091";

    fn secret(byte: u8) -> InstallationSecret {
        InstallationSecret::from_bytes(&[byte; 32]).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn batch(at: i64) -> Batch {
        let uids = vec!["0a-1b".to_owned(), "0a-2b".to_owned()];
        Batch { to: OWN.to_owned(), from: "two/x".to_owned(), at: now().as_microsecond() + at, lost: false, uids }
    }

    fn open(received: &mut Received, batch: &Batch) -> Result<(Heard, String), Refusal> {
        let (bytes, tag) = batch.sealed(&secret(7)).unwrap();
        received.open(&[secret(8), secret(7)], OWN, (&bytes, &tag), now())
    }

    #[test]
    fn a_message_is_taken_once_with_a_receipt_that_only_a_replica_can_make() {
        let (mut received, batch) = (Received::default(), batch(0));
        let (heard, receipt) = open(&mut received, &batch).unwrap();
        assert_eq!(heard.from.iter().map(|uid| &**uid).collect::<Vec<_>>(), ["0a-1b", "0a-2b"]);
        let (bytes, tag) = batch.sealed(&secret(7)).unwrap();
        assert!(is_receipt(&secret(7), &tag, &receipt) && !is_receipt(&secret(8), &tag, &receipt));
        assert!(!is_receipt(&secret(7), &tag, &tag) && !is_receipt(&secret(7), "other", &receipt));
        assert!(!String::from_utf8(bytes).unwrap().contains(&tag));
        assert_eq!(open(&mut received, &batch), Err(Refusal::Repeated));
        assert_eq!(open(&mut received, &super::tests::batch(-1)), Err(Refusal::Repeated), "an older one too");
        assert!(open(&mut received, &super::tests::batch(1)).is_ok());
    }

    #[test]
    fn what_is_old_early_for_another_or_of_nobody_is_refused() {
        let mut received = Received::default();
        for at in [-5_000_001, 5_000_001] {
            assert_eq!(open(&mut received, &batch(at)), Err(Refusal::OutOfTime));
        }
        let elsewhere = Batch { to: "10.0.0.8:8091".to_owned(), ..batch(0) };
        assert_eq!(open(&mut received, &elsewhere), Err(Refusal::Misdirected));
        let (bytes, tag) = batch(0).sealed(&secret(9)).unwrap();
        assert_eq!(received.open(&[secret(7)], OWN, (&bytes, &tag), now()), Err(Refusal::Forged));
        assert!(open(&mut received, &batch(0)).is_ok(), "none of these was remembered");
    }

    #[test]
    fn senders_are_bounded_and_old_ones_are_forgotten() {
        let mut received = Received::default();
        for number in 0..1_000 {
            let _ = open(&mut received, &Batch { from: format!("{number}"), ..batch(0) });
        }
        assert_eq!(received.0.len(), MOST_SENDERS);
        let (bytes, tag) = batch(10_000_000).sealed(&secret(7)).unwrap();
        let later = now() + SignedDuration::from_secs(10);
        assert!(received.open(&[secret(7)], OWN, (&bytes, &tag), later).is_ok());
        assert_eq!(received.0.len(), 1);
    }

    #[test]
    fn the_largest_message_fits() {
        let uids = (0..MOST_IN_BATCH).map(|_| "x".repeat(64)).collect();
        let (bytes, _) = Batch { uids, from: "x".repeat(150), ..batch(0) }.sealed(&secret(7)).unwrap();
        assert!(bytes.len() <= MAX_BYTES, "{}", bytes.len());
    }

    proptest! {
        #[test]
        fn a_message_that_was_changed_in_any_place_is_forged(at in 0..200_usize, flip in 1..=255_u8, tagged in any::<bool>()) {
            let (mut bytes, tag) = batch(0).sealed(&secret(7)).unwrap();
            let mut tag = tag.into_bytes();
            let changed = if tagged { &mut tag } else { &mut bytes };
            let place = at % changed.len();
            changed[place] ^= flip;
            let tag = String::from_utf8_lossy(&tag).into_owned();
            let opened = Received::default().open(&[secret(7)], OWN, (&bytes, &tag), now());
            prop_assert_eq!(opened, Err(Refusal::Forged));
        }

        #[test]
        fn whatever_comes_is_refused_and_remembered_by_nobody(bytes in prop::collection::vec(any::<u8>(), 0..300), tag in "\\PC{0,60}") {
            let mut received = Received::default();
            prop_assert_eq!(received.open(&[secret(7)], OWN, (&bytes, &tag), now()), Err(Refusal::Forged));
            prop_assert!(received.0.is_empty());
        }
    }
}

//! Whose credentials a cloud is asked with: one shared word, asked for before the cloud is used and again around every
//! evidence that a machine is not there.

use bullpen_api::LaunchConfigIdentity as Identity;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::Cloud;
use crate::provider::ProviderError;
use crate::telemetry::labels::ProviderOperation;

/// The lister asks again when the word is older than this, well before a create would have to wait for it
/// ([`IDENTITY_FRESH`](bullpen_plan::member::lifecycle::IDENTITY_FRESH)).
const ASK_EVERY: SignedDuration = SignedDuration::from_secs(15);

/// The cloud's word on whose credentials these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The account and region.
    pub identity: Identity,
    /// When it was first asked for, of the answers in a row that said the same.
    pub since: Timestamp,
    /// When it was last asked for.
    pub asked_at: Timestamp,
}

/// The word as it is known.
#[derive(Debug, Default)]
pub struct IdentityWatch {
    state: Mutex<State>,
    /// Whoever waits for it is served by the call of the one before.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    word: Option<Word>,
    failed: Option<(Timestamp, ProviderError)>,
    recorded: Option<Identity>,
}

impl Cloud {
    /// The cloud's last word.
    pub fn word(&self) -> Option<Word> {
        self.identity.state.lock().word.clone()
    }

    /// The account that the machines are in, by what launch configs record: from now on another one is not listed.
    pub fn expect(&self, recorded: Identity) {
        let foreign = {
            let mut state = self.identity.state.lock();
            let foreign = state.word.as_ref().is_some_and(|word| word.identity != recorded);
            let changed = state.recorded.as_ref() != Some(&recorded);
            state.recorded = Some(recorded);
            if changed {
                self.hurry();
            }
            foreign
        };
        if foreign {
            // It may be the other account's, seen before anybody knew.
            self.forget_listing();
        }
    }

    /// The account that the machines are in, if the cloud's last word was another one.
    pub fn foreign(&self) -> Option<Identity> {
        let state = self.identity.state.lock();
        let word = state.word.as_ref()?;
        state.recorded.clone().filter(|recorded| *recorded != word.identity)
    }

    /// Asks whose credentials these are, unless somebody asked after `moment`.
    ///
    /// # Errors
    /// Those of the call, also of one that another task made after `moment`.
    pub async fn confirm_identity(&self, moment: Timestamp) -> Result<(), ProviderError> {
        let _turn = self.identity.turn.lock().await;
        {
            let state = self.identity.state.lock();
            if state.word.as_ref().is_some_and(|word| word.asked_at > moment) {
                return Ok(());
            }
            if let Some((_, error)) = state.failed.as_ref().filter(|(asked_at, _)| *asked_at > moment) {
                return Err(error.clone());
            }
        }
        let asked_at = Timestamp::now();
        match self.call(ProviderOperation::Identity, self.provider().identity()).await {
            Ok(answer) => {
                self.heard(&Identity { account: answer.account, region: answer.region }, asked_at);
                Ok(())
            }
            Err(error) => {
                self.identity.state.lock().failed = Some((asked_at, error.clone()));
                Err(error)
            }
        }
    }

    /// The lister's part: the word is asked for while it is old or was the wrong one. A list is still good evidence of
    /// what is there while the word is only old.
    ///
    /// # Errors
    /// Those of the call while there is no word at all, and `Auth` if the account is another one.
    pub(super) async fn is_listable(&self) -> Result<(), ProviderError> {
        let now = Timestamp::now();
        let old = self.word().is_none_or(|word| now.duration_since(word.asked_at) >= ASK_EVERY);
        if old || self.foreign().is_some() {
            let answer = self.confirm_identity(now.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(now)).await;
            if self.word().is_none() {
                // The cloud is not used before it has said it once.
                answer?;
            }
        }
        self.is_mine()
    }

    /// # Errors
    /// `Auth` if the account is another one.
    pub(super) fn is_mine(&self) -> Result<(), ProviderError> {
        self.foreign().map_or(Ok(()), |recorded| {
            let message = format!("the credentials do not belong to account {} any more", recorded.account);
            Err(ProviderError::Auth { message })
        })
    }

    fn heard(&self, identity: &Identity, asked_at: Timestamp) {
        let before = {
            let mut state = self.identity.state.lock();
            let same = state.word.as_ref().filter(|word| word.identity == *identity);
            let since = same.map_or(asked_at, |word| word.since);
            state.failed = None;
            state.word.replace(Word { identity: identity.clone(), since, asked_at })
        };
        match before {
            None => info!(account = %identity.account, region = %identity.region, "first contact with the cloud"),
            Some(word) if word.identity != *identity => {
                warn!(before = %word.identity.account, now = %identity.account, "the credentials belong to another account");
            }
            Some(_) => return,
        }
        self.tell_identity_changed();
    }
}

//! Which account a cloud's credentials belong to. All tasks share one answer of the cloud. It is asked for before the
//! cloud is used, and again around every evidence that a machine is gone.

use bullpen_api::LaunchConfigIdentity as Identity;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::Cloud;
use crate::clock;
use crate::provider::ProviderError;
use crate::telemetry::labels::ProviderOperation;

/// The list loop asks again when the last answer is older than this, long before a create would have to wait for it
/// ([`IDENTITY_FRESH`](bullpen_plan::member::lifecycle::IDENTITY_FRESH)).
const ASK_EVERY: SignedDuration = SignedDuration::from_secs(15);

/// The cloud's last answer to whose credentials these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmedIdentity {
    /// The account and region.
    pub identity: Identity,
    /// When this identity was first asked for, of the equal answers in a row.
    pub since: Timestamp,
    /// When it was last asked for.
    pub asked_at: Timestamp,
}

/// What is known of the account.
#[derive(Debug, Default)]
pub struct IdentityWatch {
    state: Mutex<State>,
    /// Tasks that wait for a call share its answer.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    confirmed: Option<ConfirmedIdentity>,
    /// When the last call failed, and how.
    failed: Option<(Timestamp, ProviderError)>,
    recorded: Option<Identity>,
}

impl Cloud {
    /// The cloud's last answer, if there was one.
    pub fn confirmed_identity(&self) -> Option<ConfirmedIdentity> {
        self.identity.state.lock().confirmed.clone()
    }

    /// Sets the account that the machines are in, as launch configs record it. From now on another account is not
    /// listed.
    pub fn expect(&self, recorded: Identity) {
        let foreign = {
            let mut state = self.identity.state.lock();
            let foreign = state.confirmed.as_ref().is_some_and(|confirmed| confirmed.identity != recorded);
            let changed = state.recorded.as_ref() != Some(&recorded);
            state.recorded = Some(recorded);
            if changed {
                self.list_soon();
            }
            foreign
        };
        if foreign {
            // It may list another account's machines.
            self.forget_listing();
        }
    }

    /// The account that the machines are in, if the cloud's last answer was another one.
    pub fn foreign(&self) -> Option<Identity> {
        let state = self.identity.state.lock();
        let confirmed = state.confirmed.as_ref()?;
        state.recorded.clone().filter(|recorded| *recorded != confirmed.identity)
    }

    /// Asks whose credentials these are, unless somebody asked after `moment`.
    ///
    /// # Errors
    /// Those of the call, also of another task's call that failed while this one waited for it.
    pub async fn confirm_identity(&self, moment: Timestamp) -> Result<(), ProviderError> {
        let waits_since = clock::now();
        let _turn = self.identity.turn.lock().await;
        {
            let state = self.identity.state.lock();
            if state.confirmed.as_ref().is_some_and(|confirmed| confirmed.asked_at > moment) {
                return Ok(());
            }
            if let Some((_, error)) = state.failed.as_ref().filter(|(failed_at, _)| *failed_at >= waits_since) {
                return Err(error.clone());
            }
        }
        let asked_at = clock::now();
        match self.call(ProviderOperation::Identity, self.provider().identity()).await {
            Ok(answer) => {
                self.record_identity(&Identity { account: answer.account, region: answer.region }, asked_at);
                Ok(())
            }
            Err(error) => {
                self.identity.state.lock().failed = Some((clock::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Used by the list loop: asks for the account if the last answer is old or was the wrong account. An old answer
    /// alone does not stop the lists, which still prove what exists.
    ///
    /// # Errors
    /// Those of the call if the account was never confirmed, and `Auth` if the account is another one.
    pub(super) async fn is_listable(&self) -> Result<(), ProviderError> {
        let now = clock::now();
        let old = self.confirmed_identity().is_none_or(|confirmed| now.duration_since(confirmed.asked_at) >= ASK_EVERY);
        if old || self.foreign().is_some() {
            let answer = self.confirm_identity(now.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(now)).await;
            if self.confirmed_identity().is_none() {
                // The cloud is not used before it has named its account once.
                answer?;
            }
        }
        self.is_mine()
    }

    /// Checks the account by the last answer.
    ///
    /// # Errors
    /// `Auth` if the account is another one.
    pub(super) fn is_mine(&self) -> Result<(), ProviderError> {
        self.foreign().map_or(Ok(()), |recorded| {
            let message = format!("the credentials do not belong to account {} any more", recorded.account);
            Err(ProviderError::Auth { message })
        })
    }

    fn record_identity(&self, identity: &Identity, asked_at: Timestamp) {
        let before = {
            let mut state = self.identity.state.lock();
            let same = state.confirmed.as_ref().filter(|confirmed| confirmed.identity == *identity);
            let since = same.map_or(asked_at, |confirmed| confirmed.since);
            state.failed = None;
            state.confirmed.replace(ConfirmedIdentity { identity: identity.clone(), since, asked_at })
        };
        match before {
            None => info!(account = %identity.account, region = %identity.region, "first contact with the cloud"),
            Some(confirmed) if confirmed.identity != *identity => {
                warn!(before = %confirmed.identity.account, now = %identity.account, "the credentials belong to another account");
            }
            Some(_) => return,
        }
        self.notify_identity_changed();
    }
}

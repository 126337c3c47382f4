//! Writes with the usual recovery: on a conflict or lost answer the stored object is read, and the next pass decides
//! anew.
//!
//! The binding protocol handles answers itself: see [`Writes::try_update_status`].

use std::sync::Arc;
use std::time::Duration;

use bullpen_api::{PoolClaim, PoolMember};
use bullpen_plan::claim::{Answer, Found};

use super::{WriteError, Writes, WrittenKind};
use crate::backoff::{Backoff, Bounds};
use crate::clock;
use crate::state::ObjectKey;

/// Backoff of a read that proves whether an object is still there.
const READS: Bounds = Bounds { first: Duration::from_millis(200), longest: Duration::from_secs(30) };

/// The result of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Written<K> {
    /// It was written; this is the stored object.
    Written(Arc<K>),
    /// It had changed, or the answer was lost. This is the stored object, for a new decision.
    Changed(Arc<K>),
    /// It is gone, as the API server confirmed.
    Gone,
}

impl Writes {
    /// Replaces the status of `object`, on the version that `object` has.
    ///
    /// # Errors
    /// When the API server refused it, or what is stored cannot be read.
    pub async fn update_status<K: WrittenKind>(&self, object: &K) -> Result<Written<K>, WriteError> {
        let answer = self.try_update_status(object).await;
        self.or_refresh(object, answer).await
    }

    /// The same for an upkeep write: waits for a permit first.
    ///
    /// # Errors
    /// Those of [`update_status`](Self::update_status).
    pub async fn update_status_when_idle<K: WrittenKind>(&self, object: &K) -> Result<Written<K>, WriteError> {
        let _turn = self.upkeep_turn(object).await;
        self.update_status(object).await
    }

    /// Adds a finalizer. `None` if it exists already; then nothing is written.
    ///
    /// # Errors
    /// Those of [`update_status`](Self::update_status).
    pub async fn ensure_finalizer<K: WrittenKind>(
        &self,
        object: &K,
        finalizer: &str,
    ) -> Result<Option<Written<K>>, WriteError> {
        if object.finalizers().iter().any(|own| own == finalizer) {
            return Ok(None);
        }
        let mut finalizers = object.finalizers().to_vec();
        finalizers.push(finalizer.to_owned());
        let answer = self.set_finalizers(object, &finalizers).await;
        self.or_refresh(object, answer).await.map(Some)
    }

    /// Removes a finalizer. `None` if it does not exist; then nothing is written.
    ///
    /// # Errors
    /// Those of [`update_status`](Self::update_status).
    pub async fn remove_finalizer<K: WrittenKind>(
        &self,
        object: &K,
        finalizer: &str,
    ) -> Result<Option<Written<K>>, WriteError> {
        let others: Vec<_> = object.finalizers().iter().filter(|own| *own != finalizer).cloned().collect();
        if others.len() == object.finalizers().len() {
            return Ok(None);
        }
        let answer = self.set_finalizers(object, &others).await;
        self.or_refresh(object, answer).await.map(Some)
    }

    /// Deletes `member`, with its uid and version as preconditions, so that a member that was claimed meanwhile
    /// survives. It stays, with a deletionTimestamp, until its machine is gone.
    ///
    /// # Errors
    /// Those of [`update_status`](Self::update_status), and that this process does not lead.
    pub async fn delete_member(&self, member: &PoolMember) -> Result<Written<PoolMember>, WriteError> {
        self.delete(member).await
    }

    /// Deletes a claim that has ended, with its uid and version as preconditions.
    ///
    /// # Errors
    /// Those of [`delete_member`](Self::delete_member).
    pub async fn delete_claim(&self, claim: &PoolClaim) -> Result<Written<PoolClaim>, WriteError> {
        self.delete(claim).await
    }

    async fn delete<K: WrittenKind>(&self, object: &K) -> Result<Written<K>, WriteError> {
        match self.try_delete(object).await {
            Ok(Some(deleting)) => Ok(Written::Written(deleting)),
            Ok(None) => Ok(Written::Gone),
            Err(error) => self.refresh(object, error).await,
        }
    }

    /// Reads an object of which it is not known whether it is still there, until an answer proves that.
    pub async fn resolve<K: WrittenKind>(&self, key: &ObjectKey, uid: &str) {
        let mut backoff = Backoff::new();
        loop {
            match self.get::<K>(key).await {
                Found::Missing => return self.cluster.answered_gone::<K>(key, uid),
                Found::Object(_) => return,
                Found::Unproved => tokio::time::sleep(backoff.failed(READS, clock::now())).await,
            }
        }
    }

    pub(super) async fn or_refresh<K: WrittenKind>(
        &self,
        object: &K,
        answer: Result<Arc<K>, WriteError>,
    ) -> Result<Written<K>, WriteError> {
        match answer {
            Ok(written) => Ok(Written::Written(written)),
            Err(error) => self.refresh(object, error).await,
        }
    }

    /// Reads what is stored after a write of `object` failed. If that is the very version that was sent, or cannot be
    /// read, the error is returned, so that the write is retried later and not at once.
    async fn refresh<K: WrittenKind>(&self, object: &K, error: WriteError) -> Result<Written<K>, WriteError> {
        if error.is_not_leading() || error.too_soon().is_some() {
            return Err(error);
        }
        let (key, uid) = (ObjectKey::of(object), object.uid().unwrap_or_default());
        let found = match error.answer {
            Answer::NotFound => Found::Missing,
            Answer::Accepted | Answer::Conflict | Answer::Ambiguous | Answer::Refused => self.get::<K>(&key).await,
        };
        match found {
            Found::Missing => {
                self.cluster.answered_gone::<K>(&key, &uid);
                Ok(Written::Gone)
            }
            Found::Object(stored) if stored.uid().as_ref() != Some(&uid) => {
                self.cluster.answered_gone::<K>(&key, &uid);
                Ok(Written::Gone)
            }
            Found::Object(stored) if stored.resource_version() != object.resource_version() => {
                Ok(Written::Changed(stored))
            }
            Found::Object(_) | Found::Unproved => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use kube::ResourceExt;
    use serde_json::{Value, json};

    use super::super::tests::{member, writes};
    use super::*;

    /// A server that answers a write with `write` and a read with `read`.
    fn answering(write: (u16, Value), read: (u16, Value)) -> Writes {
        writes(move |method| if *method == http::Method::GET { read.clone() } else { write.clone() })
    }

    fn stored(uid: &str, version: &str) -> Value {
        let mut object = serde_json::to_value(member()).unwrap();
        object["metadata"]["uid"] = json!(uid);
        object["metadata"]["resourceVersion"] = json!(version);
        object
    }

    fn status(code: u16, name: &str) -> (u16, Value) {
        (code, json!({"kind": "Status", "status": "Failure", "code": code, "details": {"name": name}}))
    }

    #[tokio::test]
    async fn a_write_that_met_another_version_shows_the_present_one() {
        let writes = answering(status(409, "linux-x7"), (200, stored("u", "5")));
        let Ok(Written::Changed(now)) = writes.update_status(&member()).await else { panic!("it changed") };
        assert_eq!(now.resource_version().as_deref(), Some("5"));
        assert!(matches!(writes.delete_member(&member()).await, Ok(Written::Changed(_))));
        assert!(matches!(writes.ensure_finalizer(&member(), "a/b").await, Ok(Some(Written::Changed(_)))));
    }

    #[tokio::test]
    async fn an_object_that_was_created_again_under_its_name_is_gone() {
        let writes = answering(status(409, "linux-x7"), (200, stored("other", "5")));
        assert!(matches!(writes.update_status(&member()).await, Ok(Written::Gone)));
        let writes = answering(status(404, "linux-x7"), status(500, ""));
        assert!(matches!(writes.update_status(&member()).await, Ok(Written::Gone)), "the 404 alone proves it");
        let writes = answering(status(500, ""), status(404, "linux-x7"));
        assert!(matches!(writes.update_status(&member()).await, Ok(Written::Gone)));
    }

    #[tokio::test]
    async fn a_refused_write_of_an_unchanged_object_is_an_error_so_that_it_is_retried_later() {
        for code in [409, 422, 429, 500, 504] {
            let writes = answering(status(code, "linux-x7"), (200, stored("u", "4")));
            assert!(writes.update_status(&member()).await.is_err(), "{code}");
        }
        let writes = answering(status(409, "linux-x7"), status(500, ""));
        assert!(writes.update_status(&member()).await.is_err(), "nothing is proved");
    }

    #[tokio::test]
    async fn a_refused_delete_is_sent_again_after_a_delay_only_whoever_asks_for_it() {
        let (deletes, reads) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (sent, read) = (deletes.clone(), reads.clone());
        let writes = writes(move |method| {
            let refused = *method == http::Method::DELETE;
            if refused { &sent } else { &read }.fetch_add(1, Ordering::SeqCst);
            if refused { status(403, "linux-x7") } else { (200, stored("u", "4")) }
        });
        let first = writes.delete_member(&member()).await.unwrap_err();
        assert_eq!((first.answer, first.too_soon()), (Answer::Refused, None));
        for _ in 0..50 {
            let error = writes.clone().delete_member(&member()).await.unwrap_err();
            assert!(error.too_soon().is_some_and(|wait| wait <= Duration::from_secs(2)), "{error}");
        }
        assert_eq!((deletes.load(Ordering::SeqCst), reads.load(Ordering::SeqCst)), (1, 1));
        let mut other = member();
        other.metadata.uid = Some("other".to_owned());
        drop(writes.delete_member(&other).await);
        assert_eq!(deletes.load(Ordering::SeqCst), 2, "each object waits by itself");
    }

    #[tokio::test]
    async fn what_a_list_may_have_missed_is_read_until_the_answer_proves_something() {
        let reads = AtomicU32::new(0);
        let writes =
            writes(
                move |_| {
                    if reads.fetch_add(1, Ordering::SeqCst) == 0 { status(500, "") } else { status(404, "linux-x7") }
                },
            );
        let key = ObjectKey::of(&member());
        writes.cluster.answered(member());
        writes.resolve::<PoolMember>(&key, "u").await;
        assert!(writes.cluster.with(|state| state.members.get(&key).is_none() && state.members.saw_deleted("u")));
    }

    #[tokio::test]
    async fn a_member_that_only_a_foreign_finalizer_keeps_is_gone_for_whoever_reads_it() {
        let mut over = stored("u", "5");
        over["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        over["metadata"]["finalizers"] = json!(["example.com/audit"]);
        let writes = answering(status(500, ""), (200, over.clone()));
        assert!(matches!(writes.get::<PoolMember>(&ObjectKey::of(&member())).await, Found::Missing));
        over["metadata"]["finalizers"] = json!(["example.com/audit", bullpen_api::FINALIZER_INSTANCE]);
        let writes = answering(status(500, ""), (200, over));
        assert!(matches!(writes.get::<PoolMember>(&ObjectKey::of(&member())).await, Found::Object(_)));
    }

    #[tokio::test]
    async fn finalizers_are_written_only_where_they_change() {
        let writes = answering(status(500, ""), status(500, ""));
        let mut held = member();
        held.metadata.finalizers = Some(vec!["a/b".to_owned()]);
        assert!(matches!(writes.ensure_finalizer(&held, "a/b").await, Ok(None)));
        assert!(matches!(writes.remove_finalizer(&held, "c/d").await, Ok(None)));
        assert!(writes.remove_finalizer(&held, "a/b").await.is_err());
    }
}

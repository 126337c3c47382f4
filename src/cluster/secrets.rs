//! Secrets of claims: made, never changed, never deleted.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use tracing::debug;

use super::key::ObjectKey;
use super::writes::{Writes, answer_of, is_namespace_terminating};
use crate::plan::{Answer, Found};
use crate::telemetry::labels::{WriteKind, WriteOutcome, WriteVerb};

/// How the API server answered the making of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is there.
    Made,
    /// There is one of that name.
    Exists,
    /// Its namespace is being deleted.
    NamespaceEnds,
    /// It will not be made, in the API server's words: a permission or a quota, for instance.
    Refused(String),
    /// Made or not: nothing is proved.
    Unproved,
}

impl Writes {
    /// Makes a Secret; one that is there stays as it is.
    pub async fn create_secret(&self, secret: &Secret) -> Made {
        let key = ObjectKey::of(secret);
        let api: Api<Secret> = Api::namespaced(self.client(), &key.namespace);
        let answer = api.create(&PostParams::default(), secret).await;
        let outcome = match &answer {
            Ok(_) => WriteOutcome::Ok,
            Err(error) if answer_of(error, &key.name) == Answer::Conflict => WriteOutcome::Conflict,
            Err(_) => WriteOutcome::Error,
        };
        self.metrics.api_write(WriteKind::Secret, WriteVerb::Create, outcome);
        match answer {
            Ok(_) => Made::Made,
            Err(error) => judge(&error, &key.name),
        }
    }

    /// Reads a Secret.
    pub async fn get_secret(&self, key: &ObjectKey) -> Found<Secret> {
        let api: Api<Secret> = Api::namespaced(self.client(), &key.namespace);
        match api.get(&key.name).await {
            Ok(found) => Found::Object(found),
            Err(error) if answer_of(&error, &key.name) == Answer::NotFound => Found::Missing,
            Err(error) => {
                debug!(secret = %key, %error, "a look at a Secret proved nothing");
                Found::Unproved
            }
        }
    }
}

fn judge(error: &kube::Error, name: &str) -> Made {
    match (answer_of(error, name), error) {
        (Answer::Conflict, _) => Made::Exists,
        _ if is_namespace_terminating(error) => Made::NamespaceEnds,
        (Answer::Refused, kube::Error::Api(status)) => Made::Refused(status.message.clone()),
        _ => Made::Unproved,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: serde_json::Value) -> Made {
        judge(&kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())), "x-binding")
    }

    #[test]
    fn only_a_definite_refusal_is_told_in_the_words_of_the_api_server() {
        assert_eq!(answer(json!({"code": 409, "reason": "AlreadyExists"})), Made::Exists);
        let quota = json!({"code": 403, "message": "exceeded quota: few"});
        assert_eq!(answer(quota), Made::Refused("exceeded quota: few".into()));
        let ends = json!({"code": 403, "details": {"causes": [{"reason": "NamespaceTerminating", "message": "", "field": ""}]}});
        assert_eq!(answer(ends), Made::NamespaceEnds);
        for code in [404, 429, 500, 504] {
            assert_eq!(answer(json!({"code": code})), Made::Unproved, "{code}");
        }
    }
}

//! What is asked of a cloud now and then for a launch config, and remembered in between.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::clock;
use crate::provider::ProviderError;
use crate::state::ObjectKey;

/// How soon a question is asked again after a failure.
const AFTER_FAILURE: SignedDuration = SignedDuration::from_secs(20);

/// Answers of clouds, by launch config.
#[derive(Debug)]
pub struct Lookups {
    every: SignedDuration,
    known: Mutex<HashMap<ObjectKey, Looked>>,
}

/// The last answer to the question of one launch config.
#[derive(Clone, Debug)]
pub struct Looked {
    question: String,
    /// When to ask again.
    pub again: Timestamp,
    /// The answer, or why there is none.
    pub found: Result<String, String>,
    /// It was asked just now, and it is another one than before.
    pub is_news: bool,
}

impl Lookups {
    /// Asks each question so often.
    pub fn new(every: SignedDuration) -> Self {
        Self { every, known: Mutex::default() }
    }

    /// The answer to a question, asked of the cloud if none is known, it is old, or the question is another.
    pub async fn look<F>(&self, key: &ObjectKey, question: &str, ask: F) -> Looked
    where
        F: Future<Output = Result<String, ProviderError>>,
    {
        let now = clock::now();
        let known =
            self.known.lock().get(key).filter(|looked| looked.question == question && now < looked.again).cloned();
        if let Some(known) = known {
            return Looked { is_news: false, ..known };
        }
        let found = ask.await;
        let wait = if found.is_ok() { self.every } else { AFTER_FAILURE.min(self.every) };
        let again = clock::now().checked_add(wait).unwrap_or(Timestamp::MAX);
        let found = found.map_err(|error| error.to_string());
        let mut looked = Looked { question: question.to_owned(), again, found, is_news: true };
        let before = self.known.lock().insert(key.clone(), looked.clone());
        looked.is_news = before.is_none_or(|before| before.question != question || before.found != looked.found);
        looked
    }

    /// The launch config is gone, or asks nothing any more.
    pub fn forget(&self, key: &ObjectKey) {
        self.known.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_question_is_asked_once_until_the_answer_is_old_or_the_question_another() {
        let lookups = Lookups::new(SignedDuration::from_mins(5));
        let (key, asked) = (ObjectKey::new("ns", "m5"), Cell::new(0));
        let ask = async |question: &str, answer: Result<&str, ProviderError>| {
            let ask = async {
                asked.set(asked.get() + 1);
                answer.map(str::to_owned)
            };
            lookups.look(&key, question, ask).await
        };
        let failed = ask("one", Err(ProviderError::transient("no answer"))).await;
        assert!(failed.is_news && failed.found.is_err());
        assert!(failed.again <= clock::now() + AFTER_FAILURE, "a failure is soon asked again");
        let found = ask("two", Ok("2")).await;
        assert_eq!((found.found, found.is_news), (Ok("2".to_owned()), true));
        let again = ask("two", Ok("3")).await;
        assert_eq!((again.found, again.is_news, asked.get()), (Ok("2".to_owned()), false, 2));
        lookups.forget(&key);
        assert_eq!((ask("two", Ok("3")).await.found, asked.get()), (Ok("3".to_owned()), 3));
    }
}

//! The content of Secrets and ConfigMaps that users refer to, as last read. It is never logged.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use bullpen_api::UserDataSource;
use bullpen_plan::member::user_data::UserData;

/// Content that was found is fresh for this long.
const FRESH_FOR: Duration = Duration::from_mins(1);
/// A missing object or key, which somebody may be about to add, is fresh for this long.
const MISSING_FOR: Duration = Duration::from_secs(10);
/// Content that nobody used for this long is dropped.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// What was read last, by namespace and reference.
#[derive(Default)]
pub struct Contents(HashMap<(String, UserDataSource), (Instant, UserData)>);

impl fmt::Debug for Contents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} contents", self.0.len())
    }
}

impl Contents {
    /// What was read last.
    pub fn get(&self, namespace: &str, source: &UserDataSource) -> Option<&UserData> {
        self.0.get(&(namespace.to_owned(), source.clone())).map(|(_, content)| content)
    }

    /// How much longer what was read last is fresh; `None` if it was never read, zero if it must be read again.
    pub fn fresh_for(&self, namespace: &str, source: &UserDataSource) -> Option<Duration> {
        let (read, content) = self.0.get(&(namespace.to_owned(), source.clone()))?;
        let good_for = if matches!(content, UserData::Missing { .. }) { MISSING_FOR } else { FRESH_FOR };
        Some(good_for.saturating_sub(read.elapsed()))
    }

    /// Stores what was read. Returns whether it changed.
    pub fn put(&mut self, namespace: &str, source: &UserDataSource, content: &UserData) -> bool {
        self.0.retain(|_, (read, _)| read.elapsed() < FORGET_AFTER);
        let before = self.0.insert((namespace.to_owned(), source.clone()), (Instant::now(), content.clone()));
        before.is_none_or(|(_, before)| before != *content)
    }
}

//! What Secrets and ConfigMaps hold that users refer to, as it was read last. Never in a log.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use bullpen_api::UserDataSource;
use bullpen_plan::member::user_data::UserData;

/// What was read is good for this long...
const FRESH_FOR: Duration = Duration::from_mins(1);
/// ... and that something is missing, which somebody may be putting right, for this long.
const MISSING_FOR: Duration = Duration::from_secs(10);
/// What nobody asked for in this time is forgotten.
const KEPT_FOR: Duration = Duration::from_hours(1);

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

    /// For how long what was read last is still good; none if it was not read yet, zero if it is to be read again.
    pub fn fresh_for(&self, namespace: &str, source: &UserDataSource) -> Option<Duration> {
        let (read, content) = self.0.get(&(namespace.to_owned(), source.clone()))?;
        let good_for = if matches!(content, UserData::Missing { .. }) { MISSING_FOR } else { FRESH_FOR };
        Some(good_for.saturating_sub(read.elapsed()))
    }

    /// Takes in what was read. Says whether it is another than before.
    pub fn put(&mut self, namespace: &str, source: &UserDataSource, content: &UserData) -> bool {
        self.0.retain(|_, (read, _)| read.elapsed() < KEPT_FOR);
        let before = self.0.insert((namespace.to_owned(), source.clone()), (Instant::now(), content.clone()));
        before.is_none_or(|(_, before)| before != *content)
    }
}

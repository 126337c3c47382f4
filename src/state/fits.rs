//! Whether the user data of a pool and what is added to it fit together. To find that out takes a merge, so it is
//! remembered: each pass over a member asks.

use std::collections::HashMap;
use std::sync::Arc;

use bullpen_api::Ssh;
use bullpen_plan::member::user_data::Wishes;
use parking_lot::Mutex;

use super::ObjectKey;

/// Most pools. With more, all are forgotten and found out again.
const MOST: usize = 2_000;

/// What was found out of each pool.
#[derive(Debug, Default)]
pub struct Fits(Mutex<HashMap<ObjectKey, Found>>);

#[derive(Debug)]
struct Found {
    text: Option<Arc<str>>,
    ssh: Option<Ssh>,
    calls_by: Option<&'static str>,
    advertised: Option<Arc<str>>,
    fits: Result<(), String>,
}

impl Fits {
    /// Whether this text and what the pool wishes for fit together.
    ///
    /// # Errors
    /// Why not, for a person.
    pub fn find(&self, pool: &ObjectKey, text: Option<&Arc<str>>, wishes: &Wishes<'_>) -> Result<(), String> {
        let mut found = self.0.lock();
        let same = |found: &&Found| {
            found.text.as_ref() == text
                && found.ssh.as_ref() == wishes.ssh
                && found.calls_by == wishes.calls_by
                && found.advertised.as_ref() == wishes.advertised
        };
        if let Some(found) = found.get(pool).filter(same) {
            return found.fits.clone();
        }
        let fits = wishes.fit(text.map(AsRef::as_ref));
        if found.len() >= MOST {
            found.clear();
        }
        let new = Found {
            text: text.cloned(),
            ssh: wishes.ssh.cloned(),
            calls_by: wishes.calls_by,
            advertised: wishes.advertised.cloned(),
            fits: fits.clone(),
        };
        found.insert(pool.clone(), new);
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_was_found_out_before_the_answer_is_that_of_the_present_text_and_wishes() {
        let (fits, pool, url) = (Fits::default(), ObjectKey::new("ci", "linux"), Arc::from("https://a"));
        let calls = Wishes {
            calls_by: Some("readiness.phoneHome"),
            advertised: Some(&url),
            namespace: "ci",
            ..Wishes::default()
        };
        let ssh = Ssh { user: "ci".to_owned(), generate_key: true };
        let keys = Wishes { ssh: Some(&ssh), ..Wishes::default() };
        let (good, unknown): (Arc<str>, Arc<str>) = (Arc::from("#!/bin/sh\n"), Arc::from("no header\n"));
        for _ in 0..2 {
            for (text, wishes, expected) in
                [(&good, &calls, true), (&unknown, &calls, false), (&unknown, &keys, true), (&good, &calls, true)]
            {
                assert_eq!(fits.find(&pool, Some(text), wishes).is_ok(), expected, "{text}");
            }
        }
    }
}

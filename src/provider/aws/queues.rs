//! The queues that `--aws-interruption-queue` names.

use std::collections::BTreeMap;

use reqwest::Url;

/// One queue of SQS for each region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterruptionQueues(BTreeMap<String, String>);

impl InterruptionQueues {
    /// The queues of a list that is separated by commas: URLs, as SQS shows them, or `REGION=URL` where the region is
    /// not in the URL.
    ///
    /// # Errors
    /// Names the first entry that is no URL of a queue, or whose region has one already.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut queues = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (region, url) = match entry.split_once('=') {
                Some((region, url)) => (Some(region.to_owned()), url),
                None => (None, entry),
            };
            let wrong = |why: &str| format!("queue {url:?}: {why}");
            let parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
            if !matches!(parsed.scheme(), "https" | "http") || parsed.path().len() < 2 {
                return Err(wrong("must be a URL such as https://sqs.eu-central-1.amazonaws.com/123456789012/bullpen"));
            }
            let of_host = || {
                let mut labels = parsed.host_str()?.split('.');
                (labels.next() == Some("sqs")).then(|| labels.next().map(str::to_owned)).flatten()
            };
            let region = region.or_else(of_host).ok_or_else(|| wrong("its region is not in it: write REGION=URL"))?;
            if queues.0.insert(region.clone(), url.to_owned()).is_some() {
                return Err(wrong(&format!("there is another one for {region}")));
            }
        }
        Ok(queues)
    }

    /// All queues of both; those of `others` for regions that both have.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The queue of a region.
    pub fn of(&self, region: &str) -> Option<&str> {
        self.0.get(region).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_for_the_region_in_its_url_or_before_it() {
        let text = "https://sqs.eu-central-1.amazonaws.com/1/bullpen, us-east-1=http://127.0.0.1:5000/1/bullpen";
        let queues = InterruptionQueues::parse(text).unwrap();
        assert_eq!(queues.of("eu-central-1"), Some("https://sqs.eu-central-1.amazonaws.com/1/bullpen"));
        assert_eq!(queues.of("us-east-1"), Some("http://127.0.0.1:5000/1/bullpen"));
        assert_eq!(queues.of("eu-west-1"), None);
    }

    #[test]
    fn what_is_no_queue_is_refused_with_what_to_write() {
        for (wrong, why) in [
            ("bullpen", "relative URL"),
            ("https://sqs.eu-central-1.amazonaws.com", "must be a URL such as"),
            ("http://127.0.0.1:5000/1/bullpen", "REGION=URL"),
            ("a=https://q/1/x,a=https://q/1/y", "another one for a"),
        ] {
            let error = InterruptionQueues::parse(wrong).unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}

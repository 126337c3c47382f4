//! When the liveness probe of a running process fails: its watches, queues or election are stuck.

use std::time::{Duration, Instant};

/// A watch is renewed every minute. One without a successful answer for this long is stale.
pub const WATCH_STALE: Duration = Duration::from_mins(3);
/// An API server that answered nothing for this long has an outage. The watches of an idle process are renewed every
/// minute, so this is longer.
pub const API_AWAY: Duration = Duration::from_secs(90);
/// How often a heartbeat is sent through every queue.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(30);
/// A queue without a heartbeat for this long is stuck.
pub const QUEUE_STUCK: Duration = Duration::from_mins(5);
/// An election loop without a turn for this long is stuck: its requests take at most six seconds.
pub const ELECTION_STUCK: Duration = Duration::from_mins(1);

/// When the API server and one watch last answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// When the API server last answered anything.
    pub api: Option<Instant>,
    /// Since when it has answered without a gap longer than [`API_AWAY`].
    pub api_since: Option<Instant>,
    /// When this watch last had a successful answer.
    pub watch: Option<Instant>,
}

/// For how long a watch that began at `begun` has been stale. `None` if it is not stale, or during an API server
/// outage, because restarting the process would not help.
pub fn stale_for(heard: &Heard, begun: Instant, now: Instant) -> Option<Duration> {
    let (api, api_since) = (heard.api?, heard.api_since?);
    if now.saturating_duration_since(api) > API_AWAY {
        return None;
    }
    let reference = heard.watch.max(Some(begun)).max(Some(api_since))?;
    let silent = now.saturating_duration_since(reference);
    (silent > WATCH_STALE).then_some(silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A start time, and the time `seconds` after it.
    fn hour() -> (Instant, impl Fn(u64) -> Instant) {
        let begun = Instant::now();
        (begun, move |seconds| begun + Duration::from_secs(seconds))
    }

    #[test]
    fn a_watch_is_stale_when_only_the_rest_of_the_api_server_answers() {
        let (begun, at) = hour();
        let heard = |watch| Heard { api: Some(at(599)), api_since: Some(begun), watch: Some(at(watch)) };
        assert_eq!(stale_for(&heard(420), begun, at(600)), None, "three minutes are not more than three");
        assert_eq!(stale_for(&heard(419), begun, at(600)), Some(Duration::from_secs(181)));
        let never = Heard { watch: None, ..heard(0) };
        assert_eq!(stale_for(&never, begun, at(600)), Some(Duration::from_mins(10)));
        assert_eq!(stale_for(&never, at(540), at(600)), None, "it was begun a minute ago");
    }

    #[test]
    fn during_an_outage_no_watch_is_stale_and_after_it_watches_have_time_to_recover() {
        let (begun, at) = hour();
        let now = at(3_600);
        let away = Heard { api: Some(at(3_509)), api_since: Some(begun), watch: Some(begun) };
        assert_eq!(stale_for(&away, begun, now), None);
        let back = Heard { api: Some(now), api_since: Some(at(3_590)), watch: Some(begun) };
        assert_eq!(stale_for(&back, begun, now), None);
        let long_back = Heard { api_since: Some(at(3_400)), ..back };
        assert_eq!(stale_for(&long_back, begun, now), Some(Duration::from_secs(200)));
        assert_eq!(stale_for(&Heard::default(), begun, now), None, "nothing was heard yet");
    }
}

//! When a process that still runs counts as dead: its watches or its queues have ceased to turn.

use std::time::{Duration, Instant};

/// A watch is renewed every minute. One without a successful answer for this long is stale.
pub const WATCH_STALE: Duration = Duration::from_mins(3);
/// An API server that has answered nothing for this long is away: longer than an idle process is silent, whose watches
/// are renewed every minute.
pub const API_AWAY: Duration = Duration::from_secs(90);
/// How often a beat is sent through every queue.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(30);
/// A queue through which no beat came for this long is stuck.
pub const QUEUE_STUCK: Duration = Duration::from_mins(5);
/// An election that has not turned for this long is stuck: its requests take six seconds at most.
pub const ELECTION_STUCK: Duration = Duration::from_mins(1);

/// What was heard of the API server, and of one watch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// When the API server last answered anything.
    pub api: Option<Instant>,
    /// Since when it has answered without a gap longer than [`API_AWAY`].
    pub api_since: Option<Instant>,
    /// When this watch last had a successful answer.
    pub watch: Option<Instant>,
}

/// For how long a watch that was begun at `begun` has been stale; nothing if it is not, or if nobody can say, because
/// the API server is away: to start the process anew would not bring that back.
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

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_watch_is_stale_when_only_the_rest_of_the_api_server_answers() {
        let begun = Instant::now();
        let now = begun + 600 * SECOND;
        let heard =
            |watch: u32| Heard { api: Some(now - SECOND), api_since: Some(begun), watch: Some(begun + watch * SECOND) };
        assert_eq!(stale_for(&heard(420), begun, now), None, "three minutes are not more than three");
        assert_eq!(stale_for(&heard(419), begun, now), Some(181 * SECOND));
        let never = Heard { watch: None, ..heard(0) };
        assert_eq!(stale_for(&never, begun, now), Some(600 * SECOND));
        assert_eq!(stale_for(&never, now - 60 * SECOND, now), None, "it was begun a minute ago");
    }

    #[test]
    fn an_api_server_that_is_away_makes_no_watch_stale_and_one_that_is_back_gives_it_time() {
        let begun = Instant::now();
        let now = begun + 3_600 * SECOND;
        let away = Heard { api: Some(now - 91 * SECOND), api_since: Some(begun), watch: Some(begun) };
        assert_eq!(stale_for(&away, begun, now), None);
        let back = Heard { api: Some(now), api_since: Some(now - 10 * SECOND), watch: Some(begun) };
        assert_eq!(stale_for(&back, begun, now), None);
        let long_back = Heard { api_since: Some(now - 200 * SECOND), ..back };
        assert_eq!(stale_for(&long_back, begun, now), Some(200 * SECOND));
        assert_eq!(stale_for(&Heard::default(), begun, now), None, "nothing was heard yet");
    }
}

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

    /// An hour, of which a test names the seconds.
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
    fn an_api_server_that_is_away_makes_no_watch_stale_and_one_that_is_back_gives_it_time() {
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

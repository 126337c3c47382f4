//! The time. Every deadline and every timestamp of an object is in the API server's time, as its answers show it: its
//! own timestamps, those of this process and those of other operators are of one clock then, and the wall clock of this
//! computer may be wrong or be set.

use std::time::Duration;

use bullpen_plan::operator::election::Boottime;
use bullpen_plan::operator::server_clock::{Answer, SKEW_NOTICED, ServerClock};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

/// A process talks to one API server.
static CLOCK: Mutex<Clock> = Mutex::new(Clock { server: ServerClock::new(), last: Timestamp::MIN, read: None });

#[derive(Debug)]
struct Clock {
    server: ServerClock,
    /// The last time that was read.
    last: Timestamp,
    /// When that was.
    read: Option<Boottime>,
}

/// Corrections up to this never show as a time that goes back or stands still: it runs at half its speed meanwhile.
const SMALL: SignedDuration = SignedDuration::from_secs(2);

/// The present time of a clock that continues while the machine is suspended, so that a leader does not still lead
/// after a suspend.
pub fn boottime() -> Boottime {
    // Elsewhere the monotonic clock does that.
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let time = clock_gettime(clock);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Boottime::new(Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default()))
}

/// The API server's time. Before its first answer, that of the wall clock.
pub fn now() -> Timestamp {
    let mut clock = CLOCK.lock();
    let at = boottime();
    let wall = Timestamp::now();
    let Some(shown) = clock.server.with_hint(at, wall) else { return wall };
    let passed = clock.read.replace(at).map_or(Duration::ZERO, |read| at.since(read));
    let slowed = clock.last.checked_add(passed / 2).unwrap_or(shown);
    let goes_back = shown < slowed && clock.last.duration_since(shown) <= SMALL;
    clock.last = if goes_back { slowed } else { shown };
    clock.last
}

/// Takes the `Date` of an answer of the API server into account. Returns how far the wall clock is ahead of it.
pub fn heard(date: Timestamp, sent: Boottime) -> Option<SignedDuration> {
    let mut clock = CLOCK.lock();
    clock.server.heard(&Answer { date, sent, received: boottime() });
    skew(&clock.server)
}

fn skew(server: &ServerClock) -> Option<SignedDuration> {
    Some(Timestamp::now().duration_since(server.about(boottime())?))
}

/// How long ago the API server's clock was set.
pub fn stepped_ago() -> Option<Duration> {
    CLOCK.lock().server.stepped().map(|at| boottime().since(at))
}

/// Waits until the API server's clock is set back. Pauses and looks that were planned before would come as much later.
pub async fn set_back() {
    let before = CLOCK.lock().server.set_back();
    while CLOCK.lock().server.set_back() == before {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// What to say of the wall clock, if it differs from the API server's by more than a few seconds.
pub fn skew_notice() -> Option<String> {
    let skew = skew(&CLOCK.lock().server)?;
    noticed(skew).then(|| {
        let direction = if skew.is_positive() { "ahead of" } else { "behind" };
        format!(
            "the clock of this computer is {:.0} s {direction} the API server's. Deadlines follow the API server's; log lines \
             follow this one",
            skew.abs().as_secs_f64()
        )
    })
}

/// Whether people should know of this difference.
pub fn noticed(skew: SignedDuration) -> bool {
    skew.abs() > SKEW_NOTICED
}

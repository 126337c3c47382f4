//! Checks invariant 8: no claim is served after one of the same pool and namespace that is two seconds younger and has
//! no higher priority.

use bullpen_api::{ClaimPhase, PoolClaim, WhenEmpty};
use jiff::{SignedDuration, Timestamp};

use super::index::{Index, Track, holder, phase, report};
use super::{LAG, Promise, Violation};

/// `creationTimestamp` has whole seconds: claims whose times differ by three are more than two apart.
const SURELY_YOUNGER: SignedDuration = SignedDuration::from_secs(3);
/// Two claims that are paired at the same time may be written one after the other.
const SAME_MOMENT: SignedDuration = SignedDuration::from_secs(1);
/// A claim is tried again so long after the API server refused its binding, at most, and a moment for that. The same is
/// so where the member was removed by force that it was about to get.
const TRIED_AGAIN: SignedDuration = SignedDuration::from_secs(5);
/// Time from the API server's return until claims whose binding was not answered are back in the queue.
const QUEUED_AGAIN: SignedDuration = SignedDuration::from_secs(30);

struct Waiting<'i, 'a> {
    track: &'i Track<'a, PoolClaim>,
    created: Timestamp,
    /// When a member was first claimed for it, and of which pool.
    served: Option<(Timestamp, &'a str)>,
    /// When it stopped waiting for another reason.
    ended: Timestamp,
}

/// Invariant 8.
pub(super) fn nobody_is_passed(index: &Index<'_>, found: &mut Vec<Violation>) {
    let mut claims: Vec<_> = index.claims.iter().map(|(uid, track)| waiting(index, uid, track)).collect();
    claims.sort_by_key(|claim| claim.created);
    for younger in &claims {
        let Some((served, pool)) = younger.served else { continue };
        let passed =
            claims.iter().take_while(|older| older.created + SURELY_YOUNGER <= younger.created).find(|older| {
                let other = &older.track.versions[0].object.spec;
                let until = served + SAME_MOMENT;
                index.may_serve(pool, older.track.versions[0].object)
                    && namespace(older.track) == namespace(younger.track)
                    && never_above(index, younger.track, older.track, pool, served)
                    && other.when_empty.unwrap_or_default() == WhenEmpty::Wait
                    && older.served.is_none_or(|(at, _)| at > until)
                    && older.ended > until
            });
        if let Some(older) = passed {
            // A killed operator may have written only one of two claims that it paired at the same time.
            let killed = index.restarted(served - SAME_MOMENT, served + SAME_MOMENT);
            let refused = index.is_refused(served - TRIED_AGAIN, served + SAME_MOMENT)
                || index.is_forced(pool, served - TRIED_AGAIN, served + SAME_MOMENT);
            if killed || refused || index.in_outage(served - QUEUED_AGAIN, served + SAME_MOMENT) {
                continue;
            }
            let what = format!(
                "claim {} of {:.3} was passed by claim {} of {:.3}",
                older.track.name(),
                older.created,
                younger.track.name(),
                younger.created
            );
            report(found, served, Promise::NobodyIsPassed, what);
        }
    }
}

fn namespace<'a>(track: &Track<'a, PoolClaim>) -> Option<&'a str> {
    track.versions[0].object.metadata.namespace.as_deref()
}

/// The priorities that a claim ever had: it may be changed while the claim waits.
fn priorities<'i>(track: &'i Track<'_, PoolClaim>) -> impl Iterator<Item = i32> + 'i {
    track.versions.iter().map(|version| version.object.spec.priority.unwrap_or(0))
}

/// Whether the younger claim had no higher priority, under any limit of the pool at the time it was served.
fn never_above(
    index: &Index<'_>,
    younger: &Track<'_, PoolClaim>,
    older: &Track<'_, PoolClaim>,
    pool: &str,
    served: Timestamp,
) -> bool {
    let (one, other) = (priorities(younger).max(), priorities(older).min());
    let pool = index.pools.get(pool);
    let highest = pool.map(|pool| index.in_force(pool, served, served).map(|pool| pool.spec.claims.max_priority));
    let mut highest = highest.into_iter().flatten().map(|highest| highest.unwrap_or(i32::MAX)).peekable();
    if highest.peek().is_none() {
        return one <= other;
    }
    highest.all(|highest| one.map(|one| one.min(highest)) <= other.map(|other| other.min(highest)))
}

fn waiting<'i, 'a>(index: &'i Index<'a>, uid: &str, track: &'i Track<'a, PoolClaim>) -> Waiting<'i, 'a> {
    let created = track.versions[0].object.metadata.creation_timestamp.as_ref().map_or(track.since(), |time| time.0);
    let taken = index.members.values().flat_map(|member| &member.versions).filter(|it| holder(it.object) == Some(uid));
    let taken = taken.map(|version| {
        let status = version.object.status.as_ref();
        let at = status.and_then(|status| status.claimed_at.as_ref()).map_or(version.at, |time| time.0);
        (at, version.object.spec.pool_ref.uid.as_str())
    });
    let failed = track.versions.iter().find(|version| phase(version.object) == ClaimPhase::Failed);
    let ended = [index.released(track), failed.map(|version| version.at - LAG)].into_iter().flatten().min();
    Waiting { track, created, served: taken.min(), ended: ended.unwrap_or(Timestamp::MAX) }
}

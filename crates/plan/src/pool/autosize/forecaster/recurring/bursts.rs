//! Finds bursts: many more claims within a lead time than came lately.

use std::collections::VecDeque;

/// So many claims within a lead time are a burst at least. Fewer are no reason to know when they come.
const LEAST: f64 = 8.0;
/// It has at least this many times the claims that came lately in a lead time, and is above them by so many times their square root:
/// chance alone does that about once in a week.
const ABOVE: (f64, f64) = (4.0, 6.0);
/// It lasts so many lead times at most. What comes later is a load that goes on.
const LONGEST: f64 = 8.0;
/// A burst that takes longer than this many lead times is likely to be such a load.
const LONG: f64 = 6.0;
/// A load that went on has ended when so much of what makes a burst comes.
const ENDED: f64 = 0.5;
/// It is over when claims came at this share of its mean rate at most, for half a lead time.
const FADED: f64 = 0.2;
/// At most this share of the claims that show it came before it.
const BEFORE: u32 = 8;

/// Many claims at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// When it began, in milliseconds since 1970.
    pub begin: i64,
    /// When it was over.
    pub end: i64,
    /// How many claims came in it, without those that come as usual.
    pub claims: u32,
    /// Machines were there for most of them, because it was expected.
    pub held: bool,
}

/// Looks for bursts as time goes on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watch {
    /// Ends of slots of the last lead time with their claims, but none without any.
    recent: VecDeque<(i64, u32)>,
    open: Option<Open>,
    /// A burst went on for too long. The next one begins after it has ended.
    goes_on: bool,
}

/// A burst that is not over.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Open {
    begin: i64,
    claims: u32,
    /// So many claims came in a lead time before it.
    usual: f64,
}

/// How long the slots are in which claims are counted, and the lead time, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// A slot.
    pub slot: f64,
    /// The lead time.
    pub lead: f64,
}

impl Watch {
    /// So many claims came in a slot that ends now; lately `usual` came within a lead time. Returns a burst that is over.
    pub fn pass(&mut self, now: i64, claims: u32, usual: f64, lengths: Lengths) -> Option<Burst> {
        if claims > 0 {
            self.recent.push_back((now, claims));
        }
        let lead = lengths.lead as i64;
        while self.recent.front().is_some_and(|(at, _)| *at <= now - lead) {
            self.recent.pop_front();
        }
        if let Some(open) = &mut self.open {
            open.claims = open.claims.saturating_add(claims);
            return self.end(now, lead);
        }
        let sum = self.since(i64::MIN);
        let least = LEAST.max(ABOVE.0 * usual).max(ABOVE.1.mul_add(usual.sqrt(), usual));
        let is_burst = f64::from(sum) >= least;
        if is_burst && !self.goes_on {
            let begin = self.first_after(sum / BEFORE).unwrap_or(now);
            self.open = Some(Open { begin: begin - lengths.slot as i64, claims: self.since(begin), usual });
        }
        // A load that goes on becomes the usual one, and until then chance takes it a little above and below what makes a burst.
        self.goes_on = self.goes_on && f64::from(sum) >= least * ENDED;
        None
    }

    /// Whether a burst is not over.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether a burst goes on that is likely to become a load.
    pub fn is_long(&self, now: i64, lead: f64) -> bool {
        self.open.is_some_and(|open| (now - open.begin) as f64 >= LONG * lead)
    }

    /// Nobody watches for a while.
    pub fn interrupt(&mut self) {
        *self = Self::default();
    }

    /// Ends the burst that is open, if it is over now.
    fn end(&mut self, now: i64, lead: i64) -> Option<Burst> {
        let open = self.open?;
        let half = now - lead / 2;
        let tail = self.since(half + 1);
        let elapsed = (now - open.begin) as f64;
        // What comes as usual goes on.
        let as_usual = |time: f64| open.usual * time / lead.max(1) as f64;
        let mean = (f64::from(open.claims) - as_usual(elapsed)) * (now - half) as f64 / elapsed.max(1.0);
        let fades = open.begin < half && f64::from(tail) - as_usual((now - half) as f64) <= FADED * mean;
        let too_long = elapsed >= LONGEST * lead as f64;
        if !fades && !too_long {
            return None;
        }
        (self.open, self.goes_on) = (None, !fades);
        if fades {
            self.recent.clear();
        }
        let (end, claims) = if fades { (half, open.claims - tail) } else { (now, open.claims) };
        let claims = claims.saturating_sub(as_usual((end - open.begin) as f64) as u32).max(1);
        // A record has whole seconds.
        let (begin, end) = (open.begin.div_euclid(1_000) * 1_000, (end + 999).div_euclid(1_000) * 1_000);
        Some(Burst { begin, end, claims, held: false })
    }

    /// Claims of the last lead time that came from this moment on.
    fn since(&self, from: i64) -> u32 {
        self.recent.iter().filter(|(at, _)| *at >= from).fold(0, |sum, (_, claims)| sum.saturating_add(*claims))
    }

    /// When the first claim came after so many others.
    fn first_after(&self, others: u32) -> Option<i64> {
        let mut sum = 0_u32;
        self.recent
            .iter()
            .find(|(_, claims)| {
                sum = sum.saturating_add(*claims);
                sum > others
            })
            .map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: Lengths = Lengths { slot: 5_000.0, lead: 95_000.0 };

    /// The bursts among claims at these seconds of an hour.
    fn found(claims: &[(i64, u32)], usual: f64) -> Vec<(i64, i64, u32)> {
        let mut watch = Watch::default();
        (1..=720)
            .filter_map(|slot| {
                let came =
                    claims.iter().filter(|(at, _)| (slot * 5 - 5..slot * 5).contains(at)).map(|(_, count)| count).sum();
                watch.pass(slot * 5_000, came, usual, LENGTHS)
            })
            .map(|burst| (burst.begin / 1_000, burst.end / 1_000, burst.claims))
            .collect()
    }

    #[test]
    fn a_burst_begins_with_its_claims_and_not_with_others_before_it() {
        let found = found(&[(20, 1), (85, 1), (100, 30), (112, 40), (400, 1)], 0.5);
        assert!(matches!(found[..], [(100, 113..=165, 70)]), "{found:?}");
    }

    #[test]
    fn what_is_no_more_than_usual_is_no_burst() {
        let steady: Vec<(i64, u32)> = (0..720).map(|slot| (slot * 5, 2)).collect();
        assert_eq!(found(&steady, 38.0), []);
        assert_eq!(found(&[(10, 7)], 0.5), [], "seven are few");
        assert!(matches!(found(&[(10, 90)], 20.0)[..], [(10, _, 80..=90)]));
        assert_eq!(found(&[(10, 70)], 20.0), []);
    }

    #[test]
    fn a_load_that_rises_and_stays_is_one_burst_of_eight_lead_times() {
        let rise: Vec<(i64, u32)> = (0..600).map(|slot| (600 + slot * 5, 3)).collect();
        let found = found(&rise, 1.0);
        assert!(matches!(found[..], [(600, 1_355..=1_365, 448..=457)]), "{found:?}");
    }

    #[test]
    fn a_load_that_goes_on_is_no_second_burst_while_it_becomes_the_usual_one() {
        let (mut watch, mut state, mut usual, mut found) = (Watch::default(), 7_u64, 0.0, 0);
        for slot in 1..=2_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // One or three in a slot.
            let claims = 1 + 2 * u32::from((state >> 40) % 2 == 0);
            found += usize::from(watch.pass(slot * 5_000, claims, usual, LENGTHS).is_some());
            usual += (f64::from(claims) * 19.0 - usual) / (40.0 * 19.0);
        }
        assert_eq!(found, 1);
    }
}

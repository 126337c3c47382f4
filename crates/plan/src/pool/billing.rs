//! When the paid time of a machine ends, of clouds that bill whole hours or other units.

use jiff::{SignedDuration, Timestamp};

/// A machine that is billed in whole units from its launch, or from its start if it was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Billing {
    /// When the first unit began.
    pub launched: Timestamp,
    /// The length of a unit; more than zero.
    pub unit: SignedDuration,
}

/// A machine is given up this long before the end of a unit, so that the terminate call arrives before the next one
/// begins: a call may wait for its turn, and be sent again.
const BEFORE_THE_END: SignedDuration = SignedDuration::from_secs(60);

impl Billing {
    /// The first time from `due` on at which giving the machine up wastes no paid time: shortly before a unit ends. Of a
    /// short unit, its last tenth counts.
    pub fn paid_until(self, due: Timestamp) -> Timestamp {
        let unit = self.unit.as_millis().max(1);
        let before = BEFORE_THE_END.as_millis().min(unit / 10);
        let used = due.duration_since(self.launched).as_millis().max(0);
        let rest = unit - used % unit;
        let wait = i64::try_from((rest - before).max(0)).unwrap_or(i64::MAX);
        due.checked_add(SignedDuration::from_millis(wait)).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn hourly() -> Billing {
        Billing { launched: at(1_000), unit: SignedDuration::from_hours(1) }
    }

    #[test]
    fn a_machine_is_given_up_a_minute_before_its_hour_ends() {
        assert_eq!(hourly().paid_until(at(1_010)), at(1_000 + 3_540));
        assert_eq!(hourly().paid_until(at(1_000 + 3_539)), at(1_000 + 3_540));
        let in_the_last_minute = at(1_000 + 3_570);
        assert_eq!(hourly().paid_until(in_the_last_minute), in_the_last_minute);
        assert_eq!(hourly().paid_until(at(1_000 + 3_600)), at(1_000 + 7_140), "the next hour has begun");
    }

    proptest! {
        #[test]
        fn a_machine_stays_for_less_than_a_unit_longer_and_goes_before_a_unit_ends(
            unit in 1_i64..100_000, launched in 0_i64..1_000_000, after in 0_i64..1_000_000,
        ) {
            let billing = Billing { launched: at(launched), unit: SignedDuration::from_secs(unit) };
            let due = at(launched + after);
            let until = billing.paid_until(due);
            prop_assert!(until >= due && until.duration_since(due) < billing.unit);
            let into = until.duration_since(billing.launched).as_millis() % billing.unit.as_millis();
            prop_assert!(into >= billing.unit.as_millis() - billing.unit.as_millis() / 10 - 60_000 || until == due);
            prop_assert!(billing.unit.as_millis() - into <= 60_000, "the paid time is used but for a minute");
            prop_assert_eq!(billing.paid_until(until), until, "it is given up when the time has come");
        }
    }
}

//! Machines that the schedules of a pool ask for. Whatever size was found, the pool has them, so what they serve is no reason for
//! others at other times.

use std::sync::Arc;

use bullpen_api::PoolSchedule;
use jiff::Timestamp;

use crate::pool::schedule::Timetable;

/// The highest schedule that is on, as time goes on.
#[derive(Clone, Debug)]
pub struct Floors {
    timetable: Arc<Timetable>,
    floor: u16,
    /// The seconds in which it is that.
    span: (i64, i64),
}

impl Floors {
    /// Those of these schedules.
    pub fn new(schedules: &[PoolSchedule]) -> Self {
        Self { timetable: Arc::new(Timetable::read(schedules)), floor: 0, span: (0, i64::MIN) }
    }

    /// What the schedules ask for at this second since 1970.
    pub fn at(&mut self, second: i64) -> u16 {
        if second < self.span.0 || second >= self.span.1 {
            let (target, until) = Timestamp::from_second(second).map_or((None, None), |now| self.timetable.at(now));
            self.floor = target.map_or(0, |target| u16::try_from(target.max(0)).unwrap_or(u16::MAX));
            self.span = (second, until.map_or(i64::MAX, Timestamp::as_second));
        }
        self.floor
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_floor_is_that_of_the_highest_schedule_that_is_on_also_when_time_goes_back() {
        let schedule = |name: &str, cron: &str, seconds: i64, size: i64| json!({ "name": name, "cron": cron, "durationSeconds": seconds, "targetSize": size });
        let schedules = json!([schedule("day", "0 8 * * *", 36_000, 5), schedule("noon", "0 12 * * *", 3_600, 40)]);
        let schedules: Vec<PoolSchedule> = serde_json::from_value(schedules).unwrap();
        let mut floors = Floors::new(&schedules);
        let hours = [0, 8, 12, 13, 18, 24 + 12, 12, 7];
        assert_eq!(hours.map(|hour| floors.at(hour * 3_600)), [0, 5, 40, 5, 0, 40, 40, 0]);
        assert_eq!(Floors::new(&[]).at(i64::MAX), 0);
    }
}

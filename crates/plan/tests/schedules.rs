//! How long it takes to read schedules. It stands here because the crate itself has no clock, not even in its tests.

use std::time::Instant;

use bullpen_api::PoolSchedule;
use bullpen_plan::pool::schedule::scheduled;
use jiff::Zoned;

fn rare(cron: &str) -> PoolSchedule {
    PoolSchedule {
        name: "rare".into(),
        cron: cron.into(),
        time_zone: "Europe/Berlin".into(),
        duration_seconds: 744 * 3_600,
        target_size: 5,
    }
}

/// All of it happens while other passes wait, so it has to be quick also for what never comes.
#[test]
fn what_never_comes_is_found_as_soon_as_what_comes_every_four_years() {
    let now: Zoned = "2026-11-27T08:30[UTC]".parse().expect("a moment");
    let reads = |cron| {
        let given = vec![rare(cron); 16];
        let once = || {
            let began = Instant::now();
            let said = scheduled(&given, 9, now.timestamp());
            (said.problems.len(), began.elapsed())
        };
        // Whatever else this computer does makes it slower, and not faster.
        (0..5).map(|_| once()).min_by_key(|(_, took)| *took).expect("five times")
    };
    let (problems, leap_days) = reads("0 0 29 2 *");
    assert_eq!(problems, 0);
    for never in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *"] {
        let (problems, took) = reads(never);
        assert!(problems == 16 && took < 5 * leap_days, "{never}: {problems}, {took:?} against {leap_days:?}");
    }
    assert_eq!(reads("0 0 29 2 0#5").0, 0, "a fifth Sunday of February comes every 28 years");
}

use proptest::prelude::*;

use super::*;

fn schedule(name: &str, cron: &str, zone: &str, hours: i32, target_size: i32) -> PoolSchedule {
    PoolSchedule {
        name: name.into(),
        cron: cron.into(),
        time_zone: zone.into(),
        duration_seconds: hours * 3_600,
        target_size,
    }
}

/// A moment by the clock of a zone, such as `2026-03-29T02:30[Europe/Berlin]`.
fn at(text: &str) -> Timestamp {
    text.parse::<Zoned>().expect(text).timestamp()
}

fn on(schedules: &[PoolSchedule], moment: &str) -> Option<String> {
    scheduled(schedules, 0, at(moment)).on.map(|(name, _)| name)
}

#[test]
fn a_schedule_is_on_from_its_begin_to_before_its_end() {
    let work = [schedule("work", "0 8 * * 1-5", "Europe/Berlin", 10, 20)];
    for (moment, is_on) in [
        ("2026-11-27T07:59:59", false),
        ("2026-11-27T08:00", true),
        ("2026-11-27T17:59:59", true),
        ("2026-11-27T18:00", false),
        ("2026-11-28T12:00", false),
    ] {
        assert_eq!(on(&work, &format!("{moment}[Europe/Berlin]")).is_some(), is_on, "{moment}");
    }
}

#[test]
fn the_highest_of_those_that_are_on_wins_and_the_next_change_is_told() {
    let both = [schedule("day", "0 6 * * *", "Etc/UTC", 12, 10), schedule("peak", "0 9 * * *", "Etc/UTC", 2, 30)];
    let now = scheduled(&both, 4, at("2026-11-27T09:30[UTC]"));
    assert_eq!(now.on, Some(("peak".into(), 30)));
    assert_eq!(now.next, Some((at("2026-11-27T11:00[UTC]"), 10)));
    let night = scheduled(&both, 4, at("2026-11-27T20:00[UTC]"));
    assert_eq!((night.on, night.next), (None, Some((at("2026-11-28T06:00[UTC]"), 10))));
}

#[test]
fn what_schedules_said_last_is_what_they_say_also_when_time_goes_back_or_the_pool_changes() {
    let mut pool: InstancePoolSpec =
        serde_json::from_value(serde_json::json!({ "targetSize": 4, "maxSize": 40, "launchConfigs": [] })).unwrap();
    pool.schedules = vec![schedule("day", "0 6 * * *", "Etc/UTC", 12, 10)];
    let mut last = LastScheduled::default();
    for (generation, hour) in [(1, 5), (1, 6), (1, 17), (1, 18), (1, 7), (2, 8)] {
        if generation == 2 {
            pool.schedules[0].target_size = 20;
        }
        let now = at(&format!("2026-11-27T{hour:02}:00[UTC]"));
        let fresh = scheduled(&pool.schedules, pool.target_size, now);
        assert_eq!(last.at(&pool, Some(generation), now), fresh, "{generation} {hour}");
    }
    pool.schedules.clear();
    assert_eq!(last.at(&pool, Some(3), at("2026-11-27T08:00[UTC]")), Scheduled::default());
}

#[test]
fn a_schedule_below_the_target_size_changes_nothing() {
    let low = [schedule("low", "0 6 * * *", "Etc/UTC", 12, 3)];
    assert_eq!(scheduled(&low, 5, at("2026-11-27T05:00[UTC]")).next, None);
}

#[test]
fn day_seven_is_sunday_as_day_zero_is() {
    for day in ["0", "7", "SUN", "sun"] {
        let sunday = [schedule("sunday", &format!("0 0 * * {day}"), "Etc/UTC", 24, 1)];
        assert!(on(&sunday, "2026-11-29T12:00[UTC]").is_some(), "{day} on a Sunday");
        assert!(on(&sunday, "2026-11-28T12:00[UTC]").is_none(), "{day} on a Saturday");
        assert!(on(&sunday, "2026-11-30T00:00[UTC]").is_none(), "{day} on a Monday");
    }
}

#[test]
fn a_night_is_on_over_midnight() {
    let night = [schedule("night", "0 22 * * *", "Europe/Berlin", 8, 5)];
    for hour in ["22:00", "23:59:59.999"] {
        assert!(on(&night, &format!("2026-11-27T{hour}[Europe/Berlin]")).is_some(), "{hour}");
    }
    for (hour, is_on) in [("00:00", true), ("05:59:59", true), ("06:00", false)] {
        assert_eq!(on(&night, &format!("2026-11-28T{hour}[Europe/Berlin]")).is_some(), is_on, "{hour}");
    }
}

#[test]
fn a_daily_schedule_of_24_hours_has_no_gap_also_where_the_clock_changes() {
    let always = [schedule("always", "0 0 * * *", "Europe/Berlin", 24, 5)];
    for (from, to) in [("2026-03-28", "2026-03-31"), ("2026-10-24", "2026-10-27")] {
        let (mut now, end) = (at(&format!("{from}T00:00[Europe/Berlin]")), at(&format!("{to}T00:00[Europe/Berlin]")));
        while now < end {
            assert!(scheduled(&always, 0, now).on.is_some(), "{now}");
            now += SignedDuration::from_mins(7);
        }
    }
}

#[test]
fn a_night_in_which_the_clock_changes_ends_at_the_same_hour_as_others() {
    let night = [schedule("night", "0 22 * * *", "Europe/Berlin", 8, 5)];
    for day in ["2026-03-29", "2026-10-25"] {
        assert!(on(&night, &format!("{day}T05:59[Europe/Berlin]")).is_some(), "{day}");
        assert!(on(&night, &format!("{day}T06:00[Europe/Berlin]")).is_none(), "{day}");
    }
}

#[test]
fn a_begin_that_the_clock_skips_comes_right_after_and_one_that_it_repeats_comes_once() {
    let early = [schedule("early", "30 2 * * *", "Europe/Berlin", 1, 5)];
    assert!(on(&early, "2026-03-29T03:15[Europe/Berlin]").is_some(), "02:30 does not exist on that day");
    assert!(on(&early, "2026-10-25T02:45+02:00[Europe/Berlin]").is_some());
    let end = scheduled(&early, 0, at("2026-10-25T02:45+02:00[Europe/Berlin]")).until;
    assert_eq!(end, Some(at("2026-10-25T03:30[Europe/Berlin]")));
}

#[test]
fn begins_of_a_list_or_a_step_that_the_clock_skips_come_right_after_too() {
    let begins = |cron: &str, zone: &str, from: &str, hours: i64| -> Vec<String> {
        let schedule = [schedule("list", cron, zone, 1, 5)];
        let read = Schedule::read(&schedule[0]).unwrap();
        let mut now = at(&format!("{from}[{zone}]"));
        let end = now + SignedDuration::from_hours(hours);
        let next = std::iter::from_fn(|| {
            now = read.next_begin(now).filter(|next| *next < end)?;
            Some(now.to_zoned(read.zone.clone()).strftime("%H:%M%z").to_string())
        });
        next.collect()
    };
    for cron in ["0 2 * * *", "0,30 2 * * *", "*/30 2 * * *", "15 2 * * 0,1", "0-45/15 2 29,30 3 *"] {
        let first = begins(cron, "Europe/Berlin", "2026-03-28T12:00", 24);
        assert_eq!(first, ["03:00+0200"], "{cron}");
    }
    assert_eq!(
        begins("0 2,14 * * *", "Europe/Berlin", "2026-03-28T12:00", 36),
        ["14:00+0100", "03:00+0200", "14:00+0200"]
    );
    assert_eq!(
        begins("30 2-4 * * *", "America/New_York", "2026-03-08T00:00", 20),
        ["03:00-0400", "03:30-0400", "04:30-0400"]
    );
    for (cron, expected) in [
        ("30 1 * * *", vec!["01:30-0400"]),
        ("0 1,13 * * *", vec!["01:00-0400", "13:00-0500"]),
        ("30 1,2 * * *", vec!["01:30-0400", "02:30-0500"]),
        ("0,30 1-2 * * *", vec!["01:00-0400", "01:30-0400", "02:00-0500", "02:30-0500"]),
    ] {
        assert_eq!(begins(cron, "America/New_York", "2026-11-01T00:00", 20), expected, "{cron}");
    }
    // Half an hour is repeated there.
    assert_eq!(begins("45 1 * * *", "Australia/Lord_Howe", "2026-04-05T00:00", 24), ["01:45+1100"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_begin_by_the_clock_comes_once_also_where_the_clock_changes(
        minutes in proptest::collection::btree_set(0..60_i8, 1..4),
        hours in proptest::collection::btree_set(0..24_i8, 1..6),
        zone in prop_oneof![
            Just("Europe/Berlin"), Just("America/New_York"), Just("Australia/Lord_Howe"), Just("Asia/Kathmandu"),
            Just("America/Santiago"),
        ],
        autumn in any::<bool>(),
    ) {
        let list = |numbers: &std::collections::BTreeSet<i8>| {
            numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        let schedule = [schedule("list", &format!("{} {} * * *", list(&minutes), list(&hours)), zone, 1, 5)];
        let read = Schedule::read(&schedule[0]).unwrap();
        // All clocks that change do so within these weeks.
        let months = if autumn { [(2026, 9, 1), (2026, 11, 10)] } else { [(2026, 3, 1), (2026, 4, 20)] };
        let [first, last] = months.map(|(year, month, day)| Date::new(year, month, day).unwrap());
        let mut expected = std::collections::BTreeSet::new();
        let mut day = first;
        while day < last {
            for (hour, minute) in hours.iter().flat_map(|hour| minutes.iter().map(move |minute| (*hour, *minute))) {
                let wanted = day.at(hour, minute, 0, 0);
                let mut begin = wanted.to_zoned(read.zone.clone()).unwrap();
                // What is skipped comes later by the clock: it is to come as soon as the clock is beyond it.
                while begin.datetime() > wanted {
                    let before = begin.checked_sub(SignedDuration::from_mins(1)).unwrap();
                    if before.datetime() < wanted { break; }
                    begin = before;
                }
                expected.insert(begin.timestamp());
            }
            day = day.tomorrow().unwrap();
        }
        let (mut now, mut found) = (first.to_zoned(read.zone.clone()).unwrap().timestamp() - SignedDuration::from_secs(1), vec![]);
        let end = last.to_zoned(read.zone.clone()).unwrap().timestamp();
        while let Some(next) = read.next_begin(now).filter(|next| *next < end) {
            prop_assert!(read.end_if_on(next).is_some());
            let previous = read.begin_before(next).map(|begin| begin.timestamp());
            prop_assert_eq!(previous, Some(next));
            let just_before = read.begin_before(next - SignedDuration::from_secs(1)).map(|begin| begin.timestamp());
            prop_assert!(found.is_empty() || just_before == found.last().copied());
            found.push(next);
            now = next;
        }
        prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn what_cannot_be_read_is_named_and_the_others_count() {
    let mixed = [
        schedule("typo", "0 25 * * *", "Etc/UTC", 1, 9),
        schedule("never", "0 0 30 2 *", "Etc/UTC", 1, 9),
        schedule("nowhere", "0 8 * * *", "Europe/Atlantis", 1, 9),
        schedule("good", "0 0 * * *", "Etc/UTC", 24, 3),
    ];
    let now = scheduled(&mixed, 0, at("2026-11-27T08:30[UTC]"));
    assert_eq!(now.on, Some(("good".into(), 3)));
    assert_eq!(now.problems.len(), 3, "{:?}", now.problems);
    assert!(now.problems[0].starts_with("spec.schedules[name=typo].cron: \"0 25 * * *\""), "{:?}", now.problems);
    assert!(now.problems[1].contains("never comes"), "{:?}", now.problems);
    assert!(now.problems[2].starts_with("spec.schedules[name=nowhere].timeZone: "), "{:?}", now.problems);
}

#[test]
fn what_is_wrong_with_a_cron_expression_is_told_with_field_value_and_bounds_or_what_to_write() {
    for (cron, told) in [
        ("0 25 * * *", "has hour 25: 0 to 23"),
        ("60 8 * * *", "has minute 60: 0 to 59"),
        ("0 8 0 * *", "has day of the month 0: 1 to 31, or L for the last"),
        ("0 8 32W * *", "has day of the month 32W: 1 to 31, or L for the last"),
        ("0 8 * 13 *", "has month 13: 1 to 12, or JAN to DEC"),
        ("0 8 * * 8", "has day of the week 8: 0 to 7 (0 and 7 are Sunday), or SUN to SAT"),
        ("0 8 * * MONDAY", "has day of the week MONDAY: 0 to 7 (0 and 7 are Sunday), or SUN to SAT"),
        ("0 8 * * 1#6", "has day of the week 1#6: # is followed by 1 to 5, which of them in the month"),
        ("0 MON * * *", "has hour MON: 0 to 23"),
        ("*/0 * * * *", "has minute */0: a step after / is a number from 1 to 9999"),
        ("*/x * * * *", "has minute */x: a step after / is a number from 1 to 9999"),
        ("5/15 * * * *", "has minute 5/15: a step is of * or of a range; write 5-59/15"),
        ("/15 * * * *", "has minute /15: a step is of * or of a range; write */15"),
        ("0 22-6 * * *", "has hour 22-6: a range goes upwards; write 22-23,0-6"),
        ("0 8 * * FRI-MON", "has day of the week FRI-MON: a range goes upwards; write 5-6,0-1"),
        ("0 8 * NOV-JAN *", "has month NOV-JAN: a range goes upwards; write 11-12,1"),
        ("0 8 * * 7-2", "has day of the week 7-2: a range goes upwards; write 0-2"),
        ("0 8 * * 7-0", "has day of the week 7-0: a range goes upwards; write 0"),
        ("0 8 * * 1/2", "has day of the week 1/2: a step is of * or of a range; write 1-6/2"),
        ("0 22-6/2 * * *", "has hour 22-6/2: a range goes upwards; write two, one to 23 and one from 0"),
        ("0 8-25 * * *", "has hour 8-25: 0 to 23"),
        ("0 8- * * *", "has hour 8-: 0 to 23"),
        ("0 8 * * 1,,3", "has day of the week 1,,3: an item of the list is empty"),
        ("0 8, * * *", "has hour 8,: an item of the list is empty"),
        ("@daily", "has @daily is not known: write 0 0 * * *"),
        (
            "0 8 * *",
            "has 4 fields instead of five: minute, hour, day of the month, month, day of the week, such as 0 7 * * 1-5",
        ),
        ("60 25 * 13 *", "has minute 60: 0 to 59; hour 25: 0 to 23; month 13: 1 to 12, or JAN to DEC"),
        ("0 0 30 2 *", "never comes"),
    ] {
        let problems = scheduled(&[schedule("a", cron, "Etc/UTC", 1, 9)], 0, at("2026-11-27T08:30[UTC]")).problems;
        assert_eq!(problems, [format!("spec.schedules[name=a].cron: {cron:?} {told}")]);
    }
}

#[test]
fn each_problem_of_a_schedule_is_told() {
    let both =
        [schedule("both", "0 25 * * *", "Europe/Atlantis", 1, 9), schedule("other", "61 8 * * *", "Etc/UTC", 1, 9)];
    let problems = scheduled(&both, 0, at("2026-11-27T08:30[UTC]")).problems;
    let fields: Vec<_> = problems.iter().map(|problem| problem.split(": ").next().unwrap_or_default()).collect();
    let expected = ["both].cron", "both].timeZone", "other].cron"].map(|end| format!("spec.schedules[name={end}"));
    assert_eq!(fields, expected);
}

proptest! {
    /// What is said to hold until a moment holds until then: the answer never changes unannounced.
    #[test]
    fn nothing_changes_before_the_time_that_is_told(
        schedules in proptest::collection::vec(
            (0..60_u8, 0..24_u8, proptest::option::of(0..8_u8), 1..200_i32, 0..10_i32, any::<bool>()), 0..4),
        minute in 0..525_600_i64,
        part in 0.0..1.0_f64,
    ) {
        let schedules: Vec<_> = schedules.into_iter().enumerate().map(|(n, (minute, hour, day, hours, target, berlin))| {
            let day = day.map_or("*".to_owned(), |day| day.to_string());
            let zone = if berlin { "Europe/Berlin" } else { "America/Sao_Paulo" };
            schedule(&format!("s{n}"), &format!("{minute} {hour} * * {day}"), zone, hours, target)
        }).collect();
        let now = at("2026-01-01T00:00[UTC]") + SignedDuration::from_mins(minute);
        let told = scheduled(&schedules, 2, now);
        prop_assert!(told.problems.is_empty(), "{:?}", told.problems);
        let Some(until) = told.until else { prop_assert!(schedules.is_empty()); return Ok(()) };
        prop_assert!(until > now);
        let later = now + until.duration_since(now).mul_f64(part);
        if later < until {
            prop_assert_eq!(scheduled(&schedules, 2, later).on, told.on);
        }
        if let Some((at, size)) = told.next {
            prop_assert_eq!(scheduled(&schedules, 2, at).on.map_or(2, |(_, size)| size.max(2)), size);
        }
    }
}

/// What the schema of `cron` lets through, part of it near to what cron understands.
fn any_cron() -> impl Strategy<Value = String> {
    let part =
        prop_oneof!["[0-9A-Za-z*/,#-]{1,6}", "\\*/[0-9]{1,10}", "[0-9]{1,2}-[0-9]{1,2}", "[0-9]{1,2}(L|W|#[0-9])"];
    proptest::collection::vec(part, 5).prop_map(|parts| parts.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_the_schema_lets_through_is_read_or_named(
        cron in any_cron(),
        zone in prop_oneof![Just("Etc/UTC"), Just("Europe/Berlin"), Just("America/Sao_Paulo"), Just("a//b")],
        hours in 1..744_i32,
        second in 0..4_000_000_000_i64,
    ) {
        let given = [schedule("any", &cron, zone, hours, 5)];
        let said = scheduled(&given, 0, Timestamp::from_second(second).unwrap());
        prop_assert!(said.problems.len() <= 2);
        let unnamed = said.problems.iter().find(|problem| problem.contains("is no cron expression"));
        prop_assert!(unnamed.is_none(), "{:?} names no field", unnamed);
        prop_assert!(said.problems.is_empty() != (said.on.is_none() && said.until.is_none()));
    }
}

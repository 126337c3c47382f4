//! Bursts by the clock that are not as the clock says: late, longer, larger, beside others, and not seen by anybody.

use super::forecaster::rates::Rates;
use super::forecaster::recurring::{ByClock, Lengths, Recurring};

/// A Thursday.
const BEGIN: i64 = 1_767_225_600_000;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;
const SLOTS: f64 = 19.0;

/// Numbers from 0 to 1, which are always the same.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Claims at milliseconds since the begin, in order.
#[derive(Default)]
struct Load(Vec<(i64, u32)>);

impl Load {
    /// So many claims from here on, in so many milliseconds.
    fn burst(&mut self, at: i64, claims: u32, lasts: i64) {
        self.0.extend((0..i64::from(claims)).map(|number| (at + number * lasts / i64::from(claims), 1)));
    }

    /// One claim in so many milliseconds.
    fn steady(&mut self, until: i64, every: i64) {
        self.0.extend((0..until / every).map(|number| (number * every, 1)));
    }

    fn sorted(mut self) -> Self {
        self.0.sort_by_key(|(at, _)| *at);
        self
    }
}

/// Tells what is known of bursts, and what comes else, slot by slot.
struct Player {
    lead: f64,
    recurring: Recurring,
    rates: Rates,
    next: usize,
    slot: i64,
}

impl Player {
    fn new(lead: i64) -> Self {
        Self { lead: lead as f64, recurring: Recurring::default(), rates: Rates::new(SLOTS), next: 0, slot: 0 }
    }

    /// Plays until so many milliseconds after the begin; returns what came by the clock. `look` sees each slot.
    fn play(&mut self, load: &Load, until: i64, mut look: impl FnMut(i64, &Recurring, u32)) -> ByClock {
        let mut sum = ByClock::default();
        let lengths = Lengths { slot: self.lead / SLOTS, lead: self.lead };
        loop {
            let end = ((self.slot + 1) as f64 * lengths.slot) as i64;
            if end > until {
                return sum;
            }
            let mut came = 0;
            while let Some((_, claims)) = load.0.get(self.next).filter(|(at, _)| *at < end) {
                came += claims;
                self.next += 1;
            }
            let usual = self.rates.mean(7) * SLOTS;
            let by_clock = self.recurring.pass(BEGIN + end, came, usual, lengths, None, 10_000);
            self.rates.add(f64::from(came - by_clock.claims));
            sum = ByClock { claims: sum.claims + by_clock.claims, hits: sum.hits + by_clock.hits };
            look(end, &self.recurring, came);
            self.slot += 1;
        }
    }

    /// All is learnt again, as after a lesson.
    fn learn_again(&mut self, load: &Load) -> ByClock {
        self.learn_again_from(load, 0)
    }

    /// The same, of a busy pool whose history begins so late.
    fn learn_again_from(&mut self, load: &Load, begins: i64) -> ByClock {
        self.learn_with_lead(load, begins, self.lead as i64)
    }

    /// The same, of machines that take so long now.
    fn learn_with_lead(&mut self, load: &Load, begins: i64, takes: i64) -> ByClock {
        let now = (self.slot as f64 * self.lead / SLOTS) as i64;
        self.recurring = std::mem::take(&mut self.recurring).to_learn_again(BEGIN + begins, BEGIN + now);
        self.lead = takes as f64;
        self.next = load.0.partition_point(|(at, _)| *at < begins);
        (self.rates, self.slot) = (Rates::new(SLOTS), (begins as f64 / (self.lead / SLOTS)) as i64);
        let by_clock = self.play(load, now, |_, _, _| {});
        self.recurring.learnt_again();
        by_clock
    }

    /// Plays, and learns again when a series was found.
    fn live(&mut self, load: &Load, until: i64) -> ByClock {
        let mut sum = ByClock::default();
        let from = (self.slot as f64 * self.lead / SLOTS) as i64;
        for end in (from..until).step_by(600_000).skip(1).chain([until]) {
            let came = self.play(load, end, |_, _, _| {});
            sum = ByClock { claims: sum.claims + came.claims, hits: sum.hits + came.hits };
            if self.recurring.is_new() {
                self.learn_again(load);
            }
        }
        sum
    }

    fn wanted(&mut self, load: &Load, at: i64) -> u32 {
        self.live(load, at);
        self.recurring.wanted()
    }
}

#[test]
fn a_second_batch_four_minutes_after_the_first_one_is_a_series_of_its_own() {
    let mut load = Load::default();
    for day in 0..4 {
        load.burst(day * DAY + 2 * HOUR, 400, 10 * SECOND);
        load.burst(day * DAY + 2 * HOUR + 240 * SECOND, 400, 10 * SECOND);
    }
    let load = load.sorted();
    let mut player = Player::new(95 * SECOND);
    player.live(&load, 3 * DAY);
    let came = player.live(&load, 4 * DAY);
    assert_eq!((came.claims, came.hits), (800, 800), "{}", player.recurring.write());
}

#[test]
fn learning_again_and_again_over_a_weekend_does_not_forget_the_batch_of_working_days() {
    let mut load = Load::default();
    // The begin is a Thursday.
    for day in (0..14).filter(|day| ![2, 3, 9, 10].contains(day)) {
        load.burst(day * DAY + 2 * HOUR, 400, 10 * SECOND);
    }
    let load = load.sorted();
    let mut player = Player::new(240 * SECOND);
    player.live(&load, 3 * DAY + 12 * HOUR);
    for _ in 0..20 {
        player.learn_again_from(&load, 2 * DAY);
    }
    player.live(&load, 4 * DAY + HOUR);
    let before = player.recurring.write();
    player.live(&load, 5 * DAY + HOUR);
    assert!(player.wanted(&load, 5 * DAY + 2 * HOUR - 20 * SECOND) > 0, "{before}\n{}", player.recurring.write());
    assert!(player.recurring.write().len() > before.len());
}

#[test]
fn a_batch_that_takes_longer_than_ever_has_come() {
    let mut load = Load::default();
    for day in 0..12 {
        load.burst(day * DAY + 2 * HOUR, 400, if day % 2 == 0 { 5 * SECOND } else { 400 * SECOND });
    }
    let load = load.sorted();
    let mut player = Player::new(95 * SECOND);
    player.live(&load, 3 * DAY);
    let came = player.live(&load, 12 * DAY);
    assert!(came.claims == 9 * 400, "{came:?} {:?}", player.recurring);
    assert!(!format!("{:?}", player.recurring).contains("failed: 1"), "{:?}", player.recurring);
}

#[test]
fn a_batch_that_is_three_minutes_late_once_is_no_reason_for_machines_at_other_times() {
    let mut load = Load::default();
    for day in 0..5 {
        load.burst(day * DAY + 2 * HOUR + if day == 3 { 200 * SECOND } else { 0 }, 400, 5 * SECOND);
    }
    let load = load.sorted();
    let mut player = Player::new(95 * SECOND);
    player.live(&load, 3 * DAY);
    let late = player.play(&load, 4 * DAY, |_, _, _| {});
    assert!(late.claims == 400 || player.recurring.is_new(), "{late:?} {:?}", player.recurring);
}

#[test]
fn what_comes_all_the_time_does_not_use_up_what_is_kept_for_a_batch() {
    let mut load = Load::default();
    let mut draw = Draw(3);
    let begins: Vec<i64> =
        (0..6).map(|day| day * DAY + 2 * HOUR + (draw.next() * 400.0 - 200.0) as i64 * SECOND).collect();
    for begin in &begins {
        load.burst(*begin, 400, 10 * SECOND);
    }
    load.steady(6 * DAY, 3 * SECOND);
    let load = load.sorted();
    let mut player = Player::new(95 * SECOND);
    let wanted: Vec<u32> = begins[2..].iter().map(|begin| player.wanted(&load, begin - SECOND)).collect();
    assert!(wanted[1..].iter().all(|wanted| *wanted > 380), "{wanted:?}");
}

#[test]
fn a_batch_of_each_night_is_expected_also_where_others_come_each_hour() {
    let mut load = Load::default();
    for hour in 0..5 * 24 {
        load.burst(hour * HOUR + 30 * SECOND, if hour % 24 == 2 { 460 } else { 60 }, 10 * SECOND);
    }
    let load = load.sorted();
    let mut player = Player::new(95 * SECOND);
    let mut wanted = vec![];
    for hour in 1..5 * 24 {
        wanted.push((hour % 24, player.wanted(&load, hour * HOUR + 20 * SECOND)));
    }
    let nights: Vec<u32> = wanted.iter().filter(|(hour, _)| *hour == 2).map(|(_, wanted)| *wanted).collect();
    let others: Vec<u32> = wanted.iter().filter(|(hour, _)| *hour != 2).map(|(_, wanted)| *wanted).collect();
    assert!(nights[2..].iter().all(|wanted| *wanted >= 440), "{nights:?} {others:?}");
    assert!(others[48..].iter().all(|wanted| (60..=200).contains(wanted)), "{nights:?} {others:?}");
}

#[test]
fn a_night_that_is_ten_times_as_large_ends_no_series() {
    let mut load = Load::default();
    for day in 0..10 {
        load.burst(day * DAY + 2 * HOUR, if day == 4 { 4_000 } else { 400 }, 10 * SECOND);
    }
    let load = load.sorted();
    let mut player = Player::new(95 * SECOND);
    let wanted: Vec<u32> = (0..10).map(|day| player.wanted(&load, day * DAY + 2 * HOUR - SECOND)).collect();
    assert_eq!(wanted[..], [0, 0, 420, 420, 420, 4_063, 4_063, 4_063, 4_063, 4_063][..], "{:?}", player.recurring);
    let mut kept = vec![];
    for day in 10..30 {
        kept.push(player.wanted(&load, day * DAY + 2 * HOUR - SECOND));
    }
    assert!(kept[9..].iter().all(|kept| *kept == 0), "{kept:?}");
}

#[test]
fn a_series_that_drifts_is_followed() {
    for drift in [60, 120, 180, 240] {
        let mut load = Load::default();
        for day in 0..14 {
            load.burst(day * DAY + 2 * HOUR + day * drift * SECOND, 400, 10 * SECOND);
        }
        let load = load.sorted();
        let mut player = Player::new(95 * SECOND);
        let wanted: Vec<u32> =
            (0..14).map(|day| player.wanted(&load, day * DAY + 2 * HOUR + day * drift * SECOND - SECOND)).collect();
        assert!(wanted[3..].iter().all(|wanted| *wanted == 420), "{drift} s a day: {wanted:?}");
    }
}

#[test]
fn a_series_that_moves_by_an_hour_is_expected_from_the_third_night_on() {
    for moves in [HOUR, -HOUR] {
        let mut load = Load::default();
        let at = |day: i64| day * DAY + 5 * HOUR + if day > 6 { moves } else { 0 };
        (0..14).for_each(|day| load.burst(at(day), 400, 10 * SECOND));
        let load = load.sorted();
        let mut player = Player::new(240 * SECOND);
        let wanted: Vec<u32> = (0..14).map(|day| player.wanted(&load, at(day) - SECOND)).collect();
        assert_eq!(wanted, [0, 0, 420, 420, 420, 420, 420, 0, 0, 420, 420, 420, 420, 420], "{moves}");
    }
}

#[test]
fn a_batch_of_each_night_is_expected_also_where_small_ones_come_every_few_minutes() {
    let mut load = Load::default();
    // As many series of an hour as are followed at most, and one more.
    for hour in 0..2 * 24 + 3 {
        (0..17).for_each(|number| load.burst(hour * HOUR + number * 210 * SECOND, 20, SECOND));
    }
    (0..3).for_each(|day| load.burst(day * DAY + 2 * HOUR + 100 * SECOND, 900, 5 * SECOND));
    let load = load.sorted();
    let mut player = Player::new(40 * SECOND);
    let (mut most, mut before) = (0, 0);
    player.play(&load, 2 * DAY + 3 * HOUR, |at, recurring, _| {
        most = most.max(recurring.wanted());
        if at <= 2 * DAY + 2 * HOUR + 99 * SECOND {
            before = recurring.wanted();
        }
    });
    assert!(before >= 850 && most < 1_000, "{before} before it, {most} at most");
    assert!(player.recurring.write().len() <= 4_096);
}

#[test]
fn random_bursts_are_seldom_taken_for_a_series() {
    for a_day in [1.0, 4.0, 12.0, 48.0] {
        let (mut held, mut slots) = (0, 0);
        for seed in 0..4 {
            let mut draw = Draw(seed * 77 + 1);
            let mut load = Load::default();
            let mut at = 0.0;
            while at < (14 * DAY) as f64 {
                at += -(1.0 - draw.next()).ln() * DAY as f64 / a_day;
                load.burst(
                    at as i64,
                    10 + (draw.next() * draw.next() * 400.0) as u32,
                    1 + (draw.next() * 60_000.0) as i64,
                );
            }
            let load = load.sorted();
            let mut player = Player::new(120 * SECOND);
            player.play(&load, 14 * DAY, |_, recurring, _| {
                (held, slots) = (held + i32::from(recurring.wanted() > 0), slots + 1);
            });
        }
        assert!(held * 500 < slots, "{a_day} a day: machines are kept in {held} of {slots} slots");
    }
}

#[test]
fn machines_that_take_a_third_of_an_hour_are_not_kept_for_each_hour() {
    let mut load = Load::default();
    (0..30).for_each(|hour| load.burst(hour * HOUR, 100, 10 * SECOND));
    let load = load.sorted();
    let mut player = Player::new(120 * SECOND);
    assert!(player.wanted(&load, 8 * HOUR - SECOND) > 0);
    player.learn_with_lead(&load, 0, 1_200 * SECOND);
    player.play(&load, 20 * HOUR, |at, recurring, _| assert_eq!(recurring.wanted(), 0, "{at}"));
}

//! The targets of a pool by the clock: which of its schedules are on, and when that changes.
//!
//! A schedule is on from each moment that its cron expression names until its duration has passed on the clock of its
//! time zone. If that moment comes again before, the later end counts, so daily schedules of 24 hours have no gap, also
//! on the days on which the clock changes.

mod cron;

use bullpen_api::{InstancePoolSpec, PoolSchedule};
use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, YEAR_UPPER_LIMIT};
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

/// So many changes are looked at for one that changes the target. More follow each other only where schedules of
/// equal or lower targets come and go beneath a higher one.
const CHANGES: usize = 64;

/// The days of the week of a 29th of February come again after 28 years, if no leap year is left out.
const YEARS: i16 = 40;

/// What the schedules of a pool say at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduled {
    /// The highest of those that are on, by name and target. Of equal ones the first in the list.
    pub on: Option<(String, i32)>,
    /// Until then all of this stays the same. `None`: for good.
    pub until: Option<Timestamp>,
    /// When the highest target next changes, and to what. It is 0 where none is on.
    pub next: Option<(Timestamp, i32)>,
    /// Why schedules are ignored, each with its field. A schedule may have several.
    pub problems: Vec<String>,
}

/// What these schedules say at `now`, for a pool whose `spec.targetSize` is `base`.
pub fn scheduled(schedules: &[PoolSchedule], base: i32, now: Timestamp) -> Scheduled {
    let mut read = Vec::new();
    let mut problems = Vec::new();
    for schedule in schedules {
        match Schedule::read(schedule) {
            Ok(schedule) => read.push(schedule),
            Err(of_schedule) => problems.extend(of_schedule),
        }
    }
    let until = next_change(&read, now);
    let wanted = |at| highest(&read, at).map_or(base, |schedule| schedule.target_size.max(base));
    let (present, mut change, mut next) = (wanted(now), until, None);
    for _ in 0..CHANGES {
        let Some(at) = change else { break };
        if wanted(at) != present {
            next = Some((at, wanted(at)));
            break;
        }
        change = next_change(&read, at);
    }
    let on = highest(&read, now).map(|schedule| (schedule.name.to_owned(), schedule.target_size));
    Scheduled { on, until, next, problems }
}

/// What the schedules of a pool said last. They are read again only when that changes, because a pass comes far more often.
#[derive(Clone, Debug, Default)]
pub struct LastScheduled(Option<Said>);

/// What the schedules of a generation of the pool said at a time.
#[derive(Clone, Debug)]
struct Said {
    generation: Option<i64>,
    since: Timestamp,
    scheduled: Scheduled,
}

impl LastScheduled {
    /// What the schedules of this generation of the pool say at `now`.
    pub fn at(&mut self, pool: &InstancePoolSpec, generation: Option<i64>, now: Timestamp) -> Scheduled {
        if pool.schedules.is_empty() {
            return Scheduled::default();
        }
        let holds = |said: &Said| {
            let ends = said.scheduled.until;
            said.generation == generation && said.since <= now && ends.is_none_or(|ends| now < ends)
        };
        if let Some(said) = self.0.as_ref().filter(|said| holds(said)) {
            return said.scheduled.clone();
        }
        let scheduled = scheduled(&pool.schedules, pool.target_size, now);
        self.0 = Some(Said { generation, since: now, scheduled: scheduled.clone() });
        scheduled
    }
}

/// The schedules of a pool, read once. Those that cannot be read are left out.
#[derive(Clone, Debug)]
pub struct Timetable(Vec<Schedule<'static>>);

impl Timetable {
    /// Reads these schedules.
    pub fn read(schedules: &[PoolSchedule]) -> Self {
        let nameless = |read: Schedule<'_>| Schedule { name: "", ..read };
        Self(schedules.iter().filter_map(|schedule| Schedule::read(schedule).ok()).map(nameless).collect())
    }

    /// The highest target of those that are on at `now`, and until when that holds; `None`: for good.
    pub fn at(&self, now: Timestamp) -> (Option<i32>, Option<Timestamp>) {
        (highest(&self.0, now).map(|schedule| schedule.target_size), next_change(&self.0, now))
    }
}

fn highest<'a, 'b>(schedules: &'b [Schedule<'a>], at: Timestamp) -> Option<&'b Schedule<'a>> {
    let on = schedules.iter().filter(|schedule| schedule.end_if_on(at).is_some());
    // `max_by_key` takes the last of equal ones.
    on.rev().max_by_key(|schedule| schedule.target_size)
}

/// The first moment after `now` at which one of the schedules begins or ends.
fn next_change(schedules: &[Schedule<'_>], now: Timestamp) -> Option<Timestamp> {
    let ends = schedules.iter().filter_map(|schedule| schedule.end_if_on(now));
    let begins = schedules.iter().filter_map(|schedule| schedule.next_begin(now));
    ends.chain(begins).filter(|at| *at > now).min()
}

/// One schedule that can be read.
#[derive(Clone, Debug)]
struct Schedule<'a> {
    name: &'a str,
    cron: Cron,
    zone: TimeZone,
    duration: SignedDuration,
    target_size: i32,
}

impl<'a> Schedule<'a> {
    fn read(schedule: &'a PoolSchedule) -> Result<Self, Vec<String>> {
        let field = |field, problem: String| format!("spec.schedules[name={}].{field}: {problem}", schedule.name);
        let of_zone = |_| {
            let zone = &schedule.time_zone;
            field(
                "timeZone",
                format!("{zone:?} is no name of the IANA time zone database, such as Europe/Berlin or Etc/UTC"),
            )
        };
        match (Self::cron(schedule), TimeZone::get(&schedule.time_zone).map_err(of_zone)) {
            (Ok(cron), Ok(zone)) => {
                let duration = SignedDuration::from_secs(i64::from(schedule.duration_seconds));
                Ok(Self { name: &schedule.name, cron, zone, duration, target_size: schedule.target_size })
            }
            (cron, zone) => {
                let of_cron = cron.err().map(|problem| field("cron", problem));
                Err(of_cron.into_iter().chain(zone.err()).collect())
            }
        }
    }

    /// Its cron expression, or what is wrong with it.
    fn cron(schedule: &PoolSchedule) -> Result<Cron, String> {
        let text = &schedule.cron;
        let problems = cron::problems(text);
        if !problems.is_empty() {
            return Err(format!("{text:?} has {}", problems.join("; ")));
        }
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).dom_and_dow(false).build();
        let cron = parser
            .parse(text)
            .map_err(|error| format!("{text:?} is no cron expression of five fields, such as 0 7 * * 1-5: {error}"))?;
        if comes(&cron) { Ok(cron) } else { Err(format!("{text:?} never comes")) }
    }

    /// When it ends, if it is on at `now`.
    fn end_if_on(&self, now: Timestamp) -> Option<Timestamp> {
        let begin = self.begin_before(now)?;
        let end = self.end(&begin);
        (begin.timestamp() <= now && now < end).then_some(end)
    }

    /// Its last begin until `now`.
    fn begin_before(&self, now: Timestamp) -> Option<Zoned> {
        let (clock, is_repeated) = self.clock(now);
        let begin = self.cron.find_previous_occurrence(&clock.to_zoned(TimeZone::UTC).ok()?, !is_repeated).ok()?;
        Some(self.first_shown(begin.datetime())?.to_zoned(self.zone.clone()))
    }

    /// Its next begin after `now`.
    fn next_begin(&self, now: Timestamp) -> Option<Timestamp> {
        let (clock, is_repeated) = self.clock(now);
        let next = self.cron.find_next_occurrence(&clock.to_zoned(TimeZone::UTC).ok()?, is_repeated).ok()?;
        self.first_shown(next.datetime()).filter(|next| *next > now)
    }

    /// The time on the clock of its time zone up to which all begins have come at `now`, and whether that one itself has not. It is what
    /// the clock shows; while the clock repeats times, all of them came the first time, so it is the time that follows them.
    fn clock(&self, now: Timestamp) -> (DateTime, bool) {
        let shown = now.to_zoned(self.zone.clone());
        if let AmbiguousOffset::Fold { before, after } = self.zone.to_ambiguous_timestamp(shown.datetime()).offset()
            && shown.offset() == after
            && let Some(change) = self.last_change(now)
        {
            return (before.to_datetime(change), true);
        }
        (shown.datetime(), false)
    }

    /// When its clock first shows this time, or a later one if it skips it.
    fn first_shown(&self, clock: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(clock).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(clock).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(clock).ok(),
            AmbiguousOffset::Gap { before, .. } => self.last_change(before.to_timestamp(clock).ok()?),
        }
    }

    /// When its clock was last put forward or back, until this moment.
    fn last_change(&self, until: Timestamp) -> Option<Timestamp> {
        let after = until.checked_add(SignedDuration::from_secs(1)).ok()?;
        self.zone.preceding(after).next().map(|change| change.timestamp())
    }

    /// The end by the clock of the time zone. In an hour that the clock repeats, that may lie before the begin; then the
    /// duration is as long as it says.
    fn end(&self, begin: &Zoned) -> Timestamp {
        let by_clock = begin.datetime().checked_add(self.duration).and_then(|end| end.to_zoned(self.zone.clone()));
        let begin = begin.timestamp();
        let elapsed = begin.checked_add(self.duration).unwrap_or(Timestamp::MAX);
        by_clock.map_or(elapsed, |end| if end.timestamp() > begin { end.timestamp() } else { elapsed })
    }
}

/// Whether it ever begins, which the 30th of February does not. A search that finds nothing goes on to croner's last
/// year, so it starts shortly before. In these years every date is on every day of the week.
fn comes(cron: &Cron) -> bool {
    let before = i16::try_from(YEAR_UPPER_LIMIT).unwrap_or(i16::MAX).saturating_sub(YEARS);
    let start = Date::new(before, 1, 1).and_then(|date| date.to_zoned(TimeZone::UTC));
    start.is_ok_and(|start| cron.find_next_occurrence(&start, true).is_ok())
}

#[cfg(test)]
mod tests;
